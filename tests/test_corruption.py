"""Damage on disk is detected, mended or harmless: a few cases here, the whole matrix if --large."""

from pathlib import Path

import corruption
import corruption_subjects as kinds
import damage
import pytest

from tagnet.errors import InputError


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no case can reach for what lies around."""
    monkeypatch.setenv("TAGNET_CACHE", "/nowhere")


def test_a_few_cases_of_each_artefact(tmp_path: Path) -> None:
    prepared = kinds.prepared_subjects(tmp_path)
    runs = kinds.run_subjects(tmp_path, [prepared[0].folder])
    subjects = [*prepared[:-1], *runs[:1], kinds.model_subject(tmp_path)]
    subjects += [*kinds.photograph_subjects(tmp_path), kinds.answers_subject(tmp_path)]
    counts, wrong = corruption.matrix(subjects, cuts=1, flips=1)
    assert wrong == []
    found = corruption.total(counts)
    assert found["detected"] > found["harmless"]
    assert found["mended"] > 20


def test_the_harness_sees_what_goes_wrong(tmp_path: Path) -> None:
    """A reader that trusts its file, one that tells of nothing, one that names it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("abc")

    def trusting(place: Path) -> str:
        return (place / "a.txt").read_text(errors="replace") if (place / "a.txt").exists() else ""

    def careful(line: str):
        def read(place: Path) -> str:
            if trusting(place) != "abc":
                raise InputError(line)
            return "abc"

        return read

    outcomes = []
    for answer in (
        trusting,
        careful("it is damaged"),
        careful("a.txt: damaged; prepare the data again"),
    ):
        subject = damage.Subject("x", folder, folder, ["a.txt"], answer)
        counts, _ = corruption.matrix([subject], cuts=1, flips=1)
        outcomes.append(dict(corruption.total(counts)))
    assert outcomes == [{"wrong": 4}, {"wrong": 4}, {"detected": 4}]


@pytest.mark.large
def test_the_whole_matrix(tmp_path: Path) -> None:
    counts, wrong = corruption.matrix(kinds.subjects(tmp_path))
    print(corruption.told(counts))
    assert wrong == []
