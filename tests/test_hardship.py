"""Disks, folders and memory that fail: a few cases in this process, the whole matrix if --large."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Table, contents, one_line

from data_tools import prepare
from data_tools.pipeline import prepare as prepared_by
from experiments import run, search, sweep
from tagnet.errors import Unavailable
from tagnet.system import console
from tagnet.system.files import TEMPORARY, write_text, written_whole
from tagnet.system.locks import held

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("largest", [0, 3_000])
def test_a_disk_without_room(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str], largest: int
) -> None:
    """The largest file that the system allows stands for what is left of a disk."""
    out = tmp_path / "out"
    argv = ["prepare", *table.flags, "--M=6", "--splits=2", f"--out={out}"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        status = console.execute(prepare.OPTIONS, prepare.main, "", argv)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 2
    assert one_line(capsys).endswith("cannot be written (File too large)\n")
    assert not list(out.rglob(f"{TEMPORARY}*"))
    assert console.execute(prepare.OPTIONS, prepare.main, "", argv) == 0
    prepared_by(table.settings(), tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


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


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_is_not_made_again(tmp_path: Path, again: bool) -> None:
    """Also where somebody else makes one in its place."""
    out = tmp_path / "out"
    with pytest.raises(Unavailable, match="out: cannot be written any more; it was removed"):
        with held(out, "run"):
            write_text(out / "a", "")
            shutil.rmtree(out)
            if again:
                out.mkdir()
            write_text(out / "b", "")
    assert not contents(tmp_path)
    with held(out, "run"):
        write_text(out / "b", "")
    assert contents(out).keys() == {"b"}


def test_a_folder_that_is_moved_away_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """TensorFlow makes a folder again, with all above it, to write a model into."""
    out = tmp_path / "out"
    with pytest.raises(Unavailable, match="out: cannot be written any more; it was removed"):
        with held(out, "run"), written_whole(out / "deep" / "model") as temporary:
            out.rename(tmp_path / "moved")
            (temporary / "1").mkdir(parents=True)
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


@pytest.mark.large
def test_the_whole_matrix() -> None:
    ended = subprocess.run(
        [sys.executable, "tests/hardship.py"], cwd=ROOT, capture_output=True, text=True
    )
    if "mounts are not allowed" in ended.stdout:
        pytest.skip("mounts are not allowed here")
    lines = ended.stdout.splitlines()
    print(*lines, sep="\n")
    assert ended.returncode == 0, ended.stderr
    assert any(line.endswith(" 0 wrong") for line in lines)
