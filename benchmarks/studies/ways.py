"""Ways to run a training step that were tried and left: what each of them would give.

    python -m benchmarks.studies.ways [--arch=v_only,ltn] [--data=DIR ...]
    TF_NUM_INTEROP_THREADS=1 python -m benchmarks.studies.ways

Several steps in one call (`steps_per_execution`), in alternating rounds at the sizes of
`workload.py`; threads are chosen from outside. And, of the training batches of prepared
directories, the share of neighbours that are distinct: what is left of the neighbours'
products where each image of a batch is projected once.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import machine, workload
from benchmarks.speed import loading, steps
from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import JOINT

TOGETHER = (1, 4, 16)  # steps in one call
STEPS = 32  # of each kind in a round


def step_seconds(contest: steps.Contest, together: int) -> float:
    """The median seconds of a step of ours where so many are run in one call."""
    model = contest.ours
    model.compile(model.optimizer, model.loss, steps_per_execution=together)
    ends = contest.fit_ours(together + STEPS)  # the first call traces
    return float(np.median(ends)) / together


def show_together(arch: str, repeats: int) -> None:
    """Prints the milliseconds of a step for each of `TOGETHER`."""
    contest = steps.Contest(arch, "w2v" if arch in JOINT else "", workload.Sizes())
    rounds = [[step_seconds(contest, together) for together in TOGETHER] for _ in range(repeats)]
    for together, values in zip(TOGETHER, 1e3 * np.array(rounds).T, strict=True):
        print(
            f"{arch}, {together} steps in a call: {np.median(values):.1f} ms a step "
            f"({values.min():.1f} to {values.max():.1f})",
            flush=True,
        )


def show_distinct(directory: Path) -> None:
    """Prints the share of distinct images among the neighbours of a batch."""
    dataset = PreparedDataset(directory)
    batches = loading.one_epoch(dataset, ["neighbours"])
    rows = [given["neighbours"].numpy() for given, _ in batches.take(200)]
    shares = [len(np.unique(batch)) / batch.size for batch in rows]
    print(f"{dataset.name}: {np.mean(shares):.1%} of a batch's neighbours are distinct")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="v_only,ltn", help="graphs")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="prepared directories")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for arch in filter(None, options.arch.split(",")):
        show_together(arch, options.repeats)
    for directory in options.data:
        show_distinct(directory)
    print(f"{machine.described('tensorflow', 'keras')}; median of {options.repeats}")


if __name__ == "__main__":
    main()
