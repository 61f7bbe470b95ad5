"""Scores the test split of the twin of NUS-WIDE, beside `model.predict` of a plain Keras model.

    python -m data_tools.prepare --source=twin --pools=open --encodings=id,w2v --out=twin
    python -m benchmarks.speed.scoring --data=twin

Max-pool graphs are scored whole and exactly, over all C(24, 12) neighbourhoods of every
test image; LSTM graphs over 10 sampled ones of the first test images. The plain model
(`naive.py`) scores 10 sampled neighbourhoods of fewer images; both are given as seconds
for the whole split, those of a part scaled by the number of images. Rounds alternate.
The scores of both on the same neighbourhoods are compared first.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import machine, naive
from tagnet.data.dataset import Part, PreparedDataset
from tagnet.data.tables import Tables, lookup_tables
from tagnet.data.tags import TagLists
from tagnet.evaluation.scoring import Scorer, draw_subsets
from tagnet.models.architectures import build
from tagnet.models.parts import is_order_sensitive
from tagnet.settings import GraphSettings, ScoringSettings

M, MAX_RANK, SAMPLES = 12, 24, 10
CASES = (
    "ltn", "ltn_vecs-id", "ltn_allvecs-id", "ltwin-id", "ltwin-w2v",
    "rtn", "ltwin_rnn-id", "ltwin_rnn-w2v", "ltwin_2rnn-w2v", "lzip-id", "lzip-w2v",
)  # fmt: skip


def timed(work: Callable[[], Any]) -> float:
    """The seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def first(part: Part, count: int) -> Part:
    """The first `count` images of a part."""
    return Part(part.rows[:count], part.neighbours[:count], part.distances[:count])


def rows_of(tables: Tables, rows: np.ndarray) -> Tables:
    """The tables of the images `rows` alone."""
    pi = tables.pi
    if pi is not None:
        pi = pi.select(rows) if isinstance(pi, TagLists) else tf.gather(pi, rows)
    return Tables(tf.gather(tables.phi, rows), pi, tables.num_tags)


@dataclasses.dataclass(frozen=True)
class Case:
    """One graph, built both ways with the same weights, and the images that each scores."""

    name: str
    scorer: Scorer
    part: Part
    plain: Callable[[], np.ndarray]
    plain_part: Part
    difference: float
    largest: float  # of the plain model's scores, without their sign

    def show(self, repeats: int, test_images: int) -> None:
        """Prints both times in alternating rounds, and their ratio."""
        compiling = timed(lambda: self.scorer(self.part))
        seconds = np.array(
            [(timed(lambda: self.scorer(self.part)), timed(self.plain)) for _ in range(repeats)]
        )
        compiling -= min(seconds[:, 0])
        seconds *= test_images / np.array([len(self.part.rows), len(self.plain_part.rows)])
        ours, theirs = seconds.T
        ratios = theirs / ours
        print(
            f"  {self.name:<16} {median(ours):8.1f} s ({min(ours):.1f} to {max(ours):.1f})"
            f"  naive {median(theirs):8.1f} s ({min(theirs):.1f} to {max(theirs):.1f})"
            f"  ratio {median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            f"  first call {compiling:+.1f} s; scores of up to {self.largest:.0f} differ by "
            f"{self.difference:.0e}",
            flush=True,
        )


def make_case(
    name: str, dataset: PreparedDataset, tables: Tables, part: Part, options: argparse.Namespace
) -> Case:
    """Builds both graphs of `ARCH-FEED` and compares their scores on the same draws."""
    arch, _, feed = name.partition("-")
    settings = GraphSettings(
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        m=M,
        feed=feed or None,
        tag_dim=tables.tag_dim,
        hidden=options.hidden,
    )
    core, on_device = build(arch, settings), lookup_tables(tables)
    scorer = Scorer(core, on_device, ScoringSettings(M, samples=SAMPLES))
    few = first(part, options.naive_images)
    drawn = draw_subsets(len(few.rows), MAX_RANK, M, SAMPLES, seed=0)
    chosen = np.take_along_axis(few.neighbours[:, None], drawn, axis=2)
    # The plain model gets tables of those images alone: every `predict` copies them whole,
    # which would weigh too much once its time is scaled.
    needed = np.unique([*few.rows, *few.neighbours.ravel()])
    model, packer = naive.build(arch, settings), naive.Packer(rows_of(tables, needed))
    naive.copy_weights(core, model)
    rows, neighbours = np.searchsorted(needed, few.rows), np.searchsorted(needed, chosen)

    def plain() -> np.ndarray:
        return naive.score(model, packer, rows, neighbours)

    sampled = Scorer(core, on_device, ScoringSettings(M, exact=False, samples=SAMPLES))
    theirs = plain()
    difference, largest = (np.abs(x).max() for x in (sampled(few, seed=0) - theirs, theirs))
    whole = first(part, options.images if is_order_sensitive(core) else len(part.rows))
    return Case(name, scorer, whole, plain, few, difference, largest)


def main() -> None:
    """Measures one graph after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the prepared twin")
    parser.add_argument("--case", nargs="+", default=CASES, help="ARCH, or ARCH-FEED")
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=8192, help="of LSTM graphs, ours")
    parser.add_argument("--naive_images", type=int, default=256)
    options = parser.parse_args()
    print(machine.described("tensorflow", "keras", "numpy"))
    dataset = PreparedDataset(options.data)
    part = dataset.part(0, "id", "open", "test", MAX_RANK)
    print(f"{len(part.rows):,} test images, their neighbours {len(np.unique(part.neighbours)):,}")
    for name in options.case:
        tables = dataset.tables(name.partition("-")[2] or None)
        make_case(name, dataset, tables, part, options).show(options.repeats, len(part.rows))


if __name__ == "__main__":
    main()
