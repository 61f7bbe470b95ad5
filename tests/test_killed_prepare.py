"""A preparation that is killed at any moment, or met by another, ends with the same bytes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Table, contents, make_table

from data_tools.pipeline import prepare

ROOT = Path(__file__).parent.parent
OPERATIONS = 200  # of a preparation with the settings below: 219
SETTINGS: dict[str, Any] = {"pools": ("train",), "splits": 1}


def start(
    table: Table, out: Path, when: str = "never", errors: int | None = None
) -> subprocess.Popen:
    """Starts a preparation in a process of its own; `when` it is killed, see killed.py."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "tests/killed.py", str(out), when, "data_tools.prepare"]
        + [*table.flags, "--M=6", "--splits=1", "--pools=train", f"--out={out}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
    )


def test_killed_and_started_again(table: Table, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moments = rng.integers([1, OPERATIONS // 2], [OPERATIONS // 2, OPERATIONS]).tolist()
    killed = {tmp_path / f"killed-{last}": last for last in moments}
    running = [start(table, out, f"operation:{last}") for out, last in killed.items()]
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
        when = f"operation:{rng.integers(5, OPERATIONS)}"
        statuses.append(start(table, out, when).wait(120))
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


def test_a_second_is_refused_while_the_first_goes_on(table: Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(table, out, f"stop:{OPERATIONS // 2}", subprocess.PIPE)
    os.waitid(os.P_PID, first.pid, os.WSTOPPED)
    errors = start(table, out, errors=subprocess.PIPE).communicate(timeout=120)[1]
    first.send_signal(signal.SIGCONT)
    line = rf"error: {out}: process {first.pid} on \S+ \(since .+\) is at work in it; .*\n"
    assert re.fullmatch(line, errors)
    assert first.communicate(timeout=120)[1] == ""
    prepare(table.settings(**SETTINGS), tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.large
def test_several_that_start_at_once(table: Table, tmp_path: Path) -> None:
    """Whoever comes first prepares; the others are refused, or find it done."""
    out = tmp_path / "out"
    running = [start(table, out, errors=subprocess.PIPE) for _ in range(6)]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert 0 in [process.returncode for process in running]
    for process, said in zip(running, errors, strict=True):
        if process.returncode == 0:
            assert said == ""
            continue
        others = "|".join(str(other.pid) for other in running if other is not process)
        line = rf"error: {out}: process ({others}) on \S+ \(since .+\) is at work in it; .*\n"
        assert process.returncode == 2
        assert re.fullmatch(line, said), said
    prepare(table.settings(**SETTINGS), tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")
