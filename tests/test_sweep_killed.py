"""A sweep that is killed and started again ends with the report of one that ran through."""

import gc
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from experiments import report, sweep
from tagnet.data.dataset import PreparedDataset
from tagnet.system import console

ROOT = Path(__file__).parent.parent
# A sweep to which no process of this machine is one of its own.
ELSEWHERE = """
import runpy
from tagnet import claims

claims.machine = lambda: "elsewhere"
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""
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


def tables_alive(data):
    """How many tensors of the shape of the data set's features there are."""
    dataset = PreparedDataset(data)
    shape = (dataset.num_images, dataset.feature_dim)
    gc.collect()
    # Symbolic tensors have a shape, but no memory behind it.
    tensors = [o for o in gc.get_objects() if isinstance(o, tf.Tensor) and hasattr(o, "numpy")]
    return sum(tensor.shape.rank == 2 and tuple(tensor.shape) == shape for tensor in tensors)


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """A sweep that ran through: its report, the seconds it took, the tables that it left."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    before = tables_alive(prepared)
    seconds = sweep_here(prepared, out)
    return files_of_the_report(out), seconds, tables_alive(prepared) - before


def test_several_runs_leave_one_table_of_features(undisturbed):
    assert undisturbed[2] <= 1


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.large)])
def test_killed_at_random_moments(prepared, tmp_path, undisturbed, kills):
    files, seconds, _ = undisturbed
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


@pytest.mark.large
def test_two_machines_share_a_sweep(prepared, tmp_path, undisturbed):
    """The second makes the run that the first is not making, and waits for the other."""
    out = tmp_path / "out"
    here, elsewhere = (
        [sys.executable, "-u", *how, *flags(prepared, out)]
        for how in (["-m", "experiments.sweep"], ["-c", ELSEWHERE])
    )
    first = subprocess.Popen(here, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    claim = out / "claims" / f"{ROW}-split0.0"
    while not (claim.exists() and claim.read_text()):
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    second = subprocess.Popen(elsewhere, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lines = []
    while not lines or not lines[-1].startswith("waiting for"):
        lines.append(second.stdout.readline())
        assert lines[-1], "it ended without the run that the first is making"
    holder = rf"waiting for {ROW}-split0, which process {first.pid} on \S+ \(since .+\) is making\n"
    assert re.fullmatch(holder, lines[-1])
    assert claim.exists(), "the first was over before it was stopped"
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=300)[0], "".join(lines) + second.communicate(timeout=300)[0]
    assert (first.returncode, second.returncode) == (0, 0)
    made = [re.findall(r"^ltn on manifest: .*; split (\d):", text, re.MULTILINE) for text in said]
    assert made == [["0"], ["1"]]
    assert files_of_the_report(out) == undisturbed[0]
