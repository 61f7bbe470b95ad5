"""Readers of files that come from elsewhere: whatever the bytes, an answer or one line."""

from pathlib import Path

import pytest

from reliability import fuzz
from reliability.fuzz import READERS
from tagnet.errors import InputError

FEW, MANY = 5, 100_000  # inputs for each reader, of 0.1 to 20 ms: more than an hour for all


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_an_answer_or_one_line(name: str, tmp_path: Path) -> None:
    assert fuzz.try_out(READERS[name], tmp_path / "files", FEW).wrong == []


@pytest.mark.large
@pytest.mark.parametrize("name", READERS)
def test_very_many_damaged_files(name: str, tmp_path: Path) -> None:
    found = fuzz.try_out(READERS[name], tmp_path / "files", MANY)
    print(f"{found.accepted:,} accepted, {found.refused:,} refused; {found.megabytes:.0f} MB more")
    assert found.wrong[:3] == []
    assert found.megabytes < fuzz.LARGE


def test_what_is_wrong_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A careful reader, one that trusts its file, two that take for ever."""

    def careful(path: Path) -> None:
        if path.read_bytes() != b"whole":
            raise InputError("it must be whole")

    def trusting(path: Path) -> None:
        assert path.read_bytes() == b"whole"

    def endless(path: Path) -> None:
        whole = path.read_bytes() == b"whole"
        while not whole:
            pass

    def catching(path: Path) -> None:
        try:
            endless(path)
        except Exception as error:
            raise InputError("it is damaged") from error

    monkeypatch.setattr(fuzz, "LONG", 0.05)
    outcomes = []
    for read in (careful, trusting, endless, catching):
        reader = fuzz.reader("x", read, fuzz.as_written(b"whole"))
        found = fuzz.try_out(reader, tmp_path / read.__name__, 5)
        outcomes.append((found.refused, len(found.wrong)))
    assert outcomes == [(5, 0), (0, 5), (0, 5), (0, 5)]
