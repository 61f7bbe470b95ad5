"""Full disks and folders that cannot be written: one line, and afterwards the same files."""

import pytest
from helpers.tables import one_line

from experiments import run, search, sweep
from reliability import matrix, page
from reliability.commands import COMMANDS
from reliability.matrix import Disk, Lab, may_mount, row
from tagnet.system import console


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


@pytest.mark.parametrize(
    ("module", "flags"),
    [
        (run, ["--arch=v_only", "--preset=demo"]),
        (sweep, ["--table=2", "--preset=demo"]),
        (search, ["--arch=v_only", "--preset=demo"]),
    ],
)
def test_a_folder_that_cannot_be_written(prepared, capsys, module, flags) -> None:
    """That of the system's devices refuses whoever it is."""
    if module is search:
        pytest.importorskip("optuna", reason="needs the extra search")
    argv = ["command", f"--data={prepared}", "--out=/sys/out", *flags]
    assert console.execute(module.Options, module.main, module.USAGE, argv) == 2
    assert "/sys/out" in (line := one_line(capsys))
    assert "cannot be written" in line
