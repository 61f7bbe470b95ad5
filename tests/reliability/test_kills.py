"""Commands that are killed, or several at once: started again, they end with the same files."""

import h5py
import numpy as np
import pytest

from reliability import matrix, page
from reliability.commands import COMMANDS, Command, contents
from reliability.matrix import BY_OPERATION, Kill, Lab, row


@pytest.mark.parametrize(
    ("name", "case"),
    [
        # It goes on from its stages; test_prepare stops it within one process.
        pytest.param("prepare", Kill(BY_OPERATION, (0.3, 0.6)), marks=pytest.mark.large),
        ("run", Kill(BY_OPERATION, (0.7,))),  # from a checkpoint
        ("annotate", Kill(BY_OPERATION, (0.6,))),  # from the answers that are there
    ],
)
def test_it_goes_on(call, lab: Lab, name: str, case: Kill) -> None:
    found = call(row, lab, COMMANDS[name], case)
    assert found.outcome == "recovered", found.said


@pytest.mark.large
def test_all_go_on(lab: Lab) -> None:
    found = list(matrix.rows(lab, matrix.kills))
    print(page.counted(found))
    assert [one for one in found if one.outcome == "wrong"] == []


def test_a_command_that_does_not_go_on_is_wrong(call, tmp_path) -> None:
    """One that appends to its file, whatever stood there."""
    inputs = tmp_path / "made" / "inputs"
    inputs.mkdir(parents=True)
    (inputs / "appends.py").write_text(
        "import sys\nfor _ in range(3):\n    open(sys.argv[1], 'a').write('line\\n')\n"
    )
    command = Command("appends", "appends", ("file",))
    found = call(row, Lab(tmp_path), command, Kill(BY_OPERATION, (0.9,)))
    assert found.outcome == "wrong"
    assert "other files: file" in found.said


def test_figures_are_a_difference_and_seconds_are_none(tmp_path) -> None:
    found = []
    for loss, seconds in ((0.5, 1), (0.5, 2), (0.6, 2)):
        (tmp_path / "metrics.json").write_text(f'{{"test": {loss}, "seconds": {seconds}}}')
        (tmp_path / "history.csv").write_text(f"epoch,loss,seconds\n1,{loss},{seconds}\n")
        history = f'[{{"loss": {loss}, "seconds": {seconds}}}]'
        np.savez(tmp_path / "last.npz", weights=1.0, history=history)
        with h5py.File(tmp_path / "best.weights.h5", "w") as file:
            file["layers/dense/kernel"] = loss
        found.append(contents(tmp_path, COMMANDS["run"]))
    assert found[0] == found[1]
    assert not set(found[1].items()) & set(found[2].items())
