"""A preparation that is killed at any moment and started again ends with the same bytes."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Table, make_table

from data_tools.pipeline import prepare

# Runs the command, and kills itself when it is about to open, make, rename or remove what
# lies in the folder for the n-th time.
COMMAND = """
import os, signal, sys
from data_tools import prepare
from tagnet import console

last, out = int(sys.argv[1]), sys.argv[2]
done = 0

def watch(event, arguments):
    global done
    paths = [os.fspath(path) for path in arguments if isinstance(path, (str, os.PathLike))]
    if event.split(".")[0] in ("open", "os") and any(path.startswith(out) for path in paths):
        done += 1
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
status = console.execute(prepare.OPTIONS, prepare.main, "", ["", f"--out={out}", *sys.argv[3:]])
sys.exit(status)
"""
OPERATIONS = 200  # of a preparation with the settings below: 202
SETTINGS: dict[str, Any] = {"pools": ("train",), "splits": 1}


def start(table: Table, out: Path, last: int = 0) -> subprocess.Popen:
    """Starts a preparation in a process of its own; 0: it is not killed."""
    flags = [f"--{name}={getattr(table, name)}" for name in ("raw", "features", "word_vectors")]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMAND, str(last), str(out), *flags]
        + ["--M=6", "--splits=1", "--pools=train"],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a prepared directory, the stages' marks among them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_killed_and_started_again(table: Table, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moments = rng.integers([1, OPERATIONS // 2], [OPERATIONS // 2, OPERATIONS]).tolist()
    killed = {tmp_path / f"killed-{last}": last for last in moments}
    running = [start(table, out, last) for out, last in killed.items()]
    assert [process.wait(120) for process in running] == [-signal.SIGKILL] * len(killed)
    prepare(table.settings(**SETTINGS), tmp_path / "undisturbed")
    for out in killed:
        assert not (out / "dataset.json").exists()
        prepare(table.settings(**SETTINGS), out)
        assert contents(out) == contents(tmp_path / "undisturbed"), out


@pytest.mark.large
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(table: Table, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    out = tmp_path / "out"
    statuses = []
    while 0 not in statuses:
        statuses.append(start(table, out, int(rng.integers(5, OPERATIONS))).wait(120))
    assert set(statuses) <= {0, -signal.SIGKILL}
    prepare(table.settings(**SETTINGS), tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.large
def test_killed_by_the_clock(tmp_path: Path) -> None:
    """So that a kill also falls into computing, and into what TensorFlow writes."""
    table = make_table(tmp_path / "raw", num_images=20_000, dim=256)
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    for _ in range(8):
        process = start(table, out)
        while process.poll() is None and not out.exists():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 6))
        process.kill()
        process.wait()
    prepare(table.settings(**SETTINGS), out)
    prepare(table.settings(**SETTINGS), tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")
