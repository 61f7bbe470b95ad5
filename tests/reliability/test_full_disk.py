"""Full disks and folders that cannot be written: one line, and afterwards the same files."""

import dataclasses

import pytest

from reliability import matrix, page
from reliability.commands import COMMANDS, Command
from reliability.matrix import Disk, Ended, Lab, may_mount, row


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
