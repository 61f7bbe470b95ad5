"""Measures what comes before the steps of a run, and the memory of a whole run.

    python -m data_tools.prepare --source=twin --pools=open --encodings=id,w2v --out=twin
    python benchmarks/loading.py --data=twin

Loading: the time to read the prepared directory into the table, beside `cat` of the same
files, in alternating rounds with the files in the system's cache. Input pipeline: examples
a second with the model taken out, and beside those of a run's epoch. Memory: the peak of
`experiments.run` over one epoch, scores and export included, in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import machine

from tagnet.batches import Neighbourhood, training_batches
from tagnet.dataset import PreparedDataset
from tagnet.layers import RowLookup
from tagnet.records import shard_paths


def timed(work: Callable[[], Any]) -> float:
    """The seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_loading(directory: Path, repeats: int) -> None:
    """Prints the time of the load, of `cat`, and their ratio."""
    command = ["cat", *shard_paths(directory, "images")]

    def cat() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def load() -> None:
        RowLookup(PreparedDataset(directory).features)

    cat()
    load()  # compiles, or reads what was compiled before
    seconds = [(timed(cat), timed(load)) for _ in range(repeats)]
    theirs, ours = ([pair[side] for pair in seconds] for side in (0, 1))
    ratios = [cat / load for cat, load in seconds]
    print(f"loading: {median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f})")
    print(
        f"  cat of the same files: {median(theirs):.2f} s ({min(theirs):.2f} to {max(theirs):.2f})"
        f"; {median(ratios):.0%} of its speed ({min(ratios):.0%} to {max(ratios):.0%})"
    )


def measure_pipeline(directory: Path, repeats: int) -> float:
    """Prints and returns how many training examples a second come without a model."""
    dataset = PreparedDataset(directory)
    batches = training_batches(
        dataset,
        split=0,
        encoding="id",
        pool="open",
        neighbourhood=Neighbourhood(12, dataset.max_rank("id", "open")),
        inputs=["row", "neighbours"],
        batch_size=64,
        seed=0,
        epochs=range(1),
    )
    count = len(dataset.split(0)["train"])
    rates = [count / timed(lambda: list(batches)) for _ in range(repeats)]
    print(
        f"input pipeline: {median(rates):,.0f} examples/s ({min(rates):,.0f} to {max(rates):,.0f})"
    )
    return median(rates)


def measure_run(directory: Path, name: str, rate: float) -> None:
    """Prints the time and the peak memory of a run of `ARCH` or `ARCH-FEED`.

    Args:
        directory: the prepared twin.
        name: which run.
        rate: examples a second of the input pipeline alone.
    """
    arch, _, feed = name.partition("-")
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "experiments.run", f"--arch={arch}", "--max_epochs=1"]
        command += [
            f"--data={directory}",
            f"--out={out}/run",
            *([f"--feed={feed}"] if feed else []),
        ]
        # A child's child: the peak of a process's children is that of the largest so far.
        script = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
            "stdout=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script, *command], check=True, stdout=subprocess.PIPE, text=True
        )
        metrics = json.loads(Path(out, "run", "metrics.json").read_text())
    seconds, peak = time.perf_counter() - start, int(done.stdout) / 2**20
    trained = metrics["images"]["train"] / metrics["seconds_per_epoch"]
    print(
        f"a run of {name}, one epoch: {seconds:.0f} s, peak memory {peak:.2f} GiB; "
        f"{trained:,.0f} examples/s, the pipeline alone {rate / trained:.1f} times that",
        flush=True,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the prepared twin")
    parser.add_argument("--runs", nargs="*", default=["ltn", "ltwin-w2v"], help="ARCH[-FEED]")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine.described("tensorflow", "numpy", "numba"))
    measure_loading(options.data, options.repeats)
    rate = measure_pipeline(options.data, options.repeats)
    for name in options.runs:
        measure_run(options.data, name, rate)


if __name__ == "__main__":
    main()
