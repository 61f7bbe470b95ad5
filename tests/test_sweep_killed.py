"""A sweep that is killed and started again ends with the report of one that ran through."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import report, sweep
from tagnet import console

ROOT = Path(__file__).parent.parent
ROW = "ltn-n_id-m12-M24"


def flags(data, out):
    return [
        *(f"--data={data}", f"--out={out}", "--table=2", f"--only={ROW}"),
        *("--hidden=4", "--max_epochs=2", "--preset=demo"),
    ]


def sweep_here(data, out):
    """The sweep in this process; how long it took."""
    begun = time.monotonic()
    argv = ["sweep", *flags(data, out)]
    assert console.execute(sweep.Options, sweep.main, sweep.USAGE, argv) == 0
    return time.monotonic() - begun


def files_of_the_report(out):
    argv = ["report", str(out)]
    assert console.execute(report.Options, report.main, report.USAGE, argv) == 0
    paths = [path for path in (out / "report").rglob("*") if path.is_file()]
    names = {path.relative_to(out / "report") for path in paths} - {Path("costs.csv")}
    return {name: (out / "report" / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """The report of a sweep that ran through, and the seconds that it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    seconds = sweep_here(prepared, out)
    return files_of_the_report(out), seconds


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.large)])
def test_killed_at_random_moments(prepared, tmp_path, undisturbed, kills):
    files, seconds = undisturbed
    moments = random.Random(kills)
    out = tmp_path / "out"
    for _ in range(kills):
        command = [sys.executable, "-m", "experiments.sweep", *flags(prepared, out)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while not (out / "claims").exists() and process.poll() is None:
            time.sleep(0.05)  # it is starting
        time.sleep(moments.uniform(0, seconds / 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    sweep_here(prepared, out)
    assert files_of_the_report(out) == files
