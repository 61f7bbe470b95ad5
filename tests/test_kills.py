"""Commands that are killed and started again: the whole kill matrix, and that it sees faults."""

import kills
import pytest
from kill_subjects import Subject, made, subjects


def test_the_harness_sees_what_differs_and_not_what_time_it_took(tmp_path):
    (tmp_path / "metrics.json").write_text('{"test": 0.5, "seconds": 1.0}')
    (tmp_path / "history.csv").write_text("epoch,loss,seconds\n1,0.5,2.0\n")
    before = made(tmp_path)
    (tmp_path / "metrics.json").write_text('{"test": 0.5, "seconds": 3.0}')
    (tmp_path / "history.csv").write_text("epoch,loss,seconds\n1,0.5,4.0\n")
    assert made(tmp_path) == before
    (tmp_path / "metrics.json").write_text('{"test": 0.6, "seconds": 3.0}')
    (tmp_path / "history.csv").write_text("epoch,loss,seconds\n1,0.7,4.0\n")
    (tmp_path / "more").touch()
    after = made(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {*before, "more"}


def test_the_harness_sees_a_command_that_does_not_go_on(tmp_path, monkeypatch):
    """A command that appends to its file, whatever stood there."""
    (tmp_path / "appends.py").write_text(
        "import sys\n"
        "if __name__ == '__main__':\n"
        "    for _ in range(3):\n"
        "        open(sys.argv[1], 'a').write('line\\n')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    subject = Subject(
        "appends", "appends", lambda place: [f"{place}/file"], lambda place: place.mkdir()
    )
    found = kills.outcome(subject, 1, lambda line: None)
    assert (found.by_operation, found.same, len(found.wrong)) == (1, 0, 1)
    assert "other files: file" in found.wrong[0]


@pytest.mark.large
def test_every_command_goes_on(tmp_path):
    outcomes = {
        subject.name: kills.outcome(subject, kills.KILLS, lambda line: None)
        for subject in subjects(tmp_path)
    }
    print(kills.counted(outcomes))
    assert [line for one in outcomes.values() for line in one.wrong] == []
