"""How many labels an image shares with its nearest by tags, and with an image at random.

    python -m benchmarks.studies.label_agreement --data=DIR

For each image of a prepared directory (the demo set, unless told otherwise) and
each of its k nearest: the labels that both have over the labels that either has,
the mean of all. Neighbours are worth looking at as far as this is above the figure
for pairs drawn at random. An image without labels counts with none.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import machine
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from tagnet.data.dataset import PreparedDataset
from tagnet.settings import PARTS


def shared(labels: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Labels in common over labels in all, for pairs of `rows` and `others` [n] of `labels`."""
    first, second = labels[rows] > 0, labels[others] > 0
    union = (first | second).sum(axis=1)
    return (first & second).sum(axis=1) / np.maximum(union, 1)


def agreement(data: PreparedDataset, encoding: str, pool: str, k: int) -> float:
    """The mean over the images of split 0 and the k nearest of each."""
    means = []
    for part in PARTS:
        stored = data.part(0, encoding, pool, part, max_rank=k)
        pairs = [shared(data.labels, stored.rows, stored.neighbours[:, i]) for i in range(k)]
        means.append(np.mean(pairs, axis=0))
    return float(np.concatenate(means).mean())


def main() -> None:
    """Prints a line for each encoding and pool, with its ratio to pairs drawn at random."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help="a prepared directory [the demo set]")
    parser.add_argument("--k", type=int, default=6)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if flags.data is None:
            prepare(Settings.of(source="demo", M=flags.k), folder)
        data = PreparedDataset(flags.data or folder)
        # Pairs of an image and the one that stands in its place in a shuffled order.
        order = np.random.default_rng(0).permutation(data.num_images)
        random = float(shared(data.labels, order, np.roll(order, 1)).mean())
        print(f"\n| neighbours ({flags.k} nearest, {data.name}) | shared labels | times random |")
        print("|---|---|---|")
        print(f"| pairs at random | {random:.3f} | 1.00 |")
        for encoding in data.encodings:
            for pool in data.pools:
                value = agreement(data, encoding, pool, flags.k)
                print(f"| {encoding}, {pool} | {value:.3f} | {value / random:.2f} |")
    print(f"\n{data.num_images:,} images, {len(data.label_names)} labels")
    print(machine.described("numpy"))


if __name__ == "__main__":
    main()
