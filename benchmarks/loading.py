"""Measures what comes before the steps of a run, and the memory of a whole run.

    python -m data_tools.prepare --source=twin --pools=open --encodings=id,w2v --out=twin
    python benchmarks/loading.py --data=twin

Loading: the time to read the prepared directory into the table, beside `cat` of the same
files, which keeps nothing, and NumPy reading them into new memory, which checks nothing; in
alternating rounds with the files in the system's cache. Input pipeline: examples
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
import numpy as np
import tensorflow as tf

from tagnet.batches import BatchSettings, Neighbourhood, training_batches
from tagnet.dataset import PreparedDataset
from tagnet.layers import RowLookup
from tagnet.records import shard_paths


def timed(work: Callable[[], Any]) -> float:
    """The seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_loading(directory: Path, repeats: int) -> None:
    """Prints the time of the load, of `cat`, of NumPy, and their ratios."""
    paths = shard_paths(directory, "images")
    command = ["cat", *paths]

    def cat() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def numpy() -> None:
        kept = [np.fromfile(path, np.uint8) for path in paths]
        kept.clear()

    def load() -> None:
        RowLookup(PreparedDataset(directory).features)

    ways = {"cat of the same files": cat, "NumPy, into new memory": numpy}
    cat()
    load()
    rounds = [[timed(way) for way in (load, *ways.values())] for _ in range(repeats)]
    ours, *theirs = zip(*rounds, strict=True)
    print(f"loading: {median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f})")
    for name, seconds in zip(ways, theirs, strict=True):
        ratios = [other / own for other, own in zip(seconds, ours, strict=True)]
        print(
            f"  {name}: {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
            f"; {median(ratios):.0%} of its speed ({min(ratios):.0%} to {max(ratios):.0%})"
        )


def one_epoch(dataset: PreparedDataset, inputs: list[str]) -> tf.data.Dataset:
    """The batches of a first epoch with the paper's settings, as far as `inputs` go."""
    neighbourhood = Neighbourhood(12, dataset.max_rank("id", "open"))
    settings = BatchSettings(0, "id", "open", neighbourhood, batch_size=64, seed=0)
    return training_batches(dataset, settings, inputs, range(1))


def measure_pipeline(directory: Path, repeats: int) -> float:
    """Prints and returns how many training examples a second come without a model."""
    dataset = PreparedDataset(directory)
    batches = one_epoch(dataset, ["row", "neighbours"])
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
    print(machine.described("tensorflow", "numpy"))
    measure_loading(options.data, options.repeats)
    rate = measure_pipeline(options.data, options.repeats)
    for name in options.runs:
        measure_run(options.data, name, rate)


if __name__ == "__main__":
    main()
