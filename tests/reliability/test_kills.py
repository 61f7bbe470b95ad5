"""Commands that are killed, or several at once: started again, they end with the same files."""

import pytest

from reliability import matrix, page
from reliability.commands import COMMANDS, Command, contents
from reliability.matrix import BY_CLOCK, BY_OPERATION, Kill, Lab, row


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("prepare", Kill(BY_OPERATION, (0.3, 0.6))),  # goes on from its stages
        ("run", Kill(BY_OPERATION, (0.7,))),  # from a checkpoint
        ("annotate", Kill(BY_OPERATION, (0.6,))),  # from the answers that are there
    ],
)
def test_it_goes_on(call, lab: Lab, name: str, case: Kill) -> None:
    found = call(row, lab, COMMANDS[name], case)
    assert found.outcome == "same files", found.said


@pytest.mark.large
def test_all_go_on(lab: Lab) -> None:
    found = list(matrix.rows(lab, matrix.kills))
    print(page.counted(found))
    assert [one for one in found if one.outcome == "wrong"] == []


@pytest.mark.parametrize("kind", [BY_OPERATION, BY_CLOCK])
def test_a_command_that_does_not_go_on_is_wrong(call, tmp_path, kind: str) -> None:
    """One that appends to its file, whatever stood there."""
    inputs = tmp_path / "made" / "inputs"
    inputs.mkdir(parents=True)
    (inputs / "appends.py").write_text(
        "import sys, time\n"
        "for _ in range(3):\n"
        "    open(sys.argv[1], 'a').write('line\\n')\n"
        "    time.sleep(0.1)\n"
    )
    command = Command("appends", "appends", ("file",))
    found = call(row, Lab(tmp_path), command, Kill(kind, (0.9,)))
    assert found.outcome == "wrong"
    assert "other files: file" in found.said


def test_seconds_are_no_difference(tmp_path) -> None:
    before = {}
    for loss, seconds in ((0.5, 1), (0.5, 2), (0.6, 2)):
        (tmp_path / "metrics.json").write_text(f'{{"test": {loss}, "seconds": {seconds}}}')
        (tmp_path / "history.csv").write_text(f"epoch,loss,seconds\n1,{loss},{seconds}\n")
        found = contents(tmp_path, COMMANDS["run"])
        same = [name for name in found if found[name] == before.get(name)]
        assert len(same) == (2 if (loss, seconds) == (0.5, 2) else 0)
        before = found
