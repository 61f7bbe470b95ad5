"""Commands that meet kills, damaged files and full disks: one line, and then the same files.

All in one file, so that one process tries them in one lab.
"""

import dataclasses

import h5py
import numpy as np
import pytest

from reliability import matrix, page
from reliability.commands import COMMANDS, Command, contents
from reliability.matrix import BY_OPERATION, Damage, Disk, Ended, Kill, Lab, may_mount, row

IMAGES = "data/images-00000-of-00004.tfrecord"
VARIABLES = "run/saved_model/1/variables/variables.index"


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("run", Kill(BY_OPERATION, (0.7,))),  # from a checkpoint
        # From its stages, and from the answers that are there; test_prepare and test_annotate
        # stop them within one process.
        pytest.param("prepare", Kill(BY_OPERATION, (0.3, 0.6)), marks=pytest.mark.large),
        pytest.param("annotate", Kill(BY_OPERATION, (0.6,)), marks=pytest.mark.large),
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


@pytest.mark.parametrize(
    ("name", "case", "outcome"),
    [
        ("prepare again", Damage("bit flipped", "data/vocabulary.txt", 0.5), "rebuilt"),
        ("run with tags", Damage("bit flipped", IMAGES, 0.5), "detected"),
        ("annotate", Damage("bit flipped", VARIABLES, 0.5), "detected"),
    ],
)
def test_it_is_noticed(call, lab: Lab, name: str, case: Damage, outcome: str) -> None:
    found = call(row, lab, COMMANDS[name], case)
    assert found.outcome == outcome, found.said


@pytest.mark.large
def test_all_of_it_is_noticed(lab: Lab) -> None:
    found = list(matrix.rows(lab, matrix.damages))
    print(page.counted(found))
    assert [one for one in found if one.outcome == "wrong"] == []


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ("raise ValueError", "wrong"),  # it stops with a traceback
        ("open('out', 'w').write(text)", "wrong"),
        ("sys.exit('error: the file is damaged')", "wrong"),
        ("print('error: a.txt: is damaged', file=sys.stderr); sys.exit(2)", "detected"),
        ("open('a.txt', 'w').write('whole')", "rebuilt"),
        ("pass", "harmless"),
    ],
)
def test_each_outcome_is_told(call, tmp_path, lines: str, outcome: str) -> None:
    inputs = tmp_path / "made" / "inputs"
    inputs.mkdir(parents=True)
    (inputs / "a.txt").write_text("whole")
    (inputs / "reads.py").write_text(f"""import sys
text = open("a.txt").read()
if text != "whole":
    {lines}
""")
    case = Damage("truncated", "a.txt", 0.5)
    found = call(row, Lab(tmp_path), Command("reads", "reads", ()), case)
    assert found.outcome == outcome, found.said


@pytest.fixture
def disks(call) -> None:
    if not call(may_mount):
        pytest.skip("mounts are not allowed here")


@pytest.mark.parametrize(("name", "share"), [("prepare", 0.4), ("prepare", None)])
def test_it_is_refused_in_a_line(call, disks, lab: Lab, name: str, share: float | None) -> None:
    found = call(row, lab, COMMANDS[name], Disk(share))
    assert found.outcome == "detected", found.said


@pytest.mark.large
def test_all_refuse_it(disks, lab: Lab) -> None:
    found = list(matrix.rows(lab, matrix.disks))
    print(page.counted(found))
    assert [one for one in found if one.outcome == "wrong"] == []


def ended(lab: Lab, command: Command) -> Ended:
    lab.begin(command)
    return lab.end(lab.start(command))


@pytest.mark.parametrize("name", ["run", "sweep", "search"])
def test_a_folder_that_cannot_be_written(call, lab: Lab, name: str) -> None:
    """That of the system's devices refuses whoever it is."""
    if name == "search":
        pytest.importorskip("optuna", reason="needs the extra search")
    command = COMMANDS[name]
    found = call(ended, lab, dataclasses.replace(command, flags=(*command.flags, "--out=/sys/out")))
    assert found.refused, found.said
    assert "/sys/out" in found.line and "cannot be written" in found.line
