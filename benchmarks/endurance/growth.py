"""Measures how the work grows with the number of images, on twins of NUS-WIDE of several sizes.

    python -m benchmarks.endurance.growth --plot=docs/images/growth.png

For each size: all-pairs neighbours by Jaccard, exact scores of `ltn` for the test split (a
fixed share of the images) at (m, M) = (12, 24), and a training step of `ltn` at batch 64.
Prints the times, the exponent of a power law fitted to each, and draws both. Features are
one block of the twin's repeated, as no time depends on their values.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import keras
import matplotlib
import numpy as np

from benchmarks import machine
from data_tools.sources import twin
from tagnet.data.dataset import Part
from tagnet.data.records import empty_table
from tagnet.data.tables import Tables, lookup_tables
from tagnet.data.tags import TagLists, Vocabulary, count_tags
from tagnet.evaluation.scoring import Scorer
from tagnet.models.architectures import build
from tagnet.search.neighbours import jaccard
from tagnet.settings import GraphSettings, ScoringSettings, TrainingSettings
from tagnet.training.loop import compiled

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

M, MAX_RANK, BATCH, TAU = 12, 24, 64, 5000
TEST_SHARE = 0.211576  # of the paper's images
WORK = {"neighbours": "s", "scoring": "s", "training step": "ms"}


def fastest(work: Callable[[], object], repeats: int) -> float:
    """The least seconds of `repeats` calls after a first one, which compiles."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def draw_tags(num_images: int) -> TagLists:
    """The ids of the twin's tags."""
    tags = [row["tags"] for _, row in twin.rows(num_images)]
    return Vocabulary.of_counts(count_tags(tags), TAU).encode_all(tags)


def draw_features(num_images: int) -> np.ndarray:
    """The twin's first block of features, repeated: float16 [N, 4096]."""
    (block,) = twin.feature_blocks(twin.BLOCK)
    table = empty_table([num_images, twin.FEATURES], np.float16)
    for first in range(0, num_images, twin.BLOCK):
        table[first : first + twin.BLOCK] = block[: num_images - first]
    return table


def measure(tags: TagLists, num_images: int, repeats: int) -> dict[str, float]:
    """The time of each kind of work on the first `num_images` images."""
    everyone = np.arange(num_images)
    tags = tags.select(everyone)
    jaccard(tags, everyone[:10], everyone, MAX_RANK)  # compiles
    start = time.perf_counter()
    nearest = jaccard(tags, everyone, everyone, MAX_RANK)
    seconds = time.perf_counter() - start

    keras.utils.set_random_seed(0)
    core = build("ltn", GraphSettings(twin.FEATURES, twin.LABELS, M))
    on_device = lookup_tables(Tables(draw_features(num_images), None, TAU))
    test = everyone[-round(TEST_SHARE * num_images) :]
    part = Part(test, nearest.neighbours[test], nearest.distances[test])
    scorer = Scorer(core, on_device, ScoringSettings(M))
    scoring = fastest(lambda: scorer(part), repeats)

    model = compiled(core, on_device, TrainingSettings(batch_size=BATCH))
    rng = np.random.default_rng(0)
    rows = rng.integers(num_images, size=BATCH).astype(np.int32)
    batch = {"row": rows, "neighbours": nearest.neighbours[rows][:, :M].astype(np.int32)}
    labels = np.zeros([BATCH, twin.LABELS], np.float32)
    step = fastest(lambda: model.train_on_batch(batch, labels), 10 * repeats)
    return {"neighbours": seconds, "scoring": scoring, "training step": 1000 * step}


def draw(sizes: list[int], times: dict[str, list[float]], path: Path) -> None:
    """Plots every kind of work over the number of images, both axes logarithmic."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, values in times.items():
        label = f"{name}, {WORK[name]} (exponent {exponent(sizes, values):.2f})"
        axes.loglog(sizes, values, marker="o", label=label)
    axes.set_xticks(sizes, [f"{size // 1000:,} k" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("images")
    axes.set_ylabel("time")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def exponent(sizes: list[int], values: list[float]) -> float:
    """The k of time ~ imagesᵏ, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=int, nargs="+", default=[50_000, 100_000, 190_000, 400_000]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="where to draw them, a .png")
    options = parser.parse_args()
    print(machine.described("tensorflow", "keras", "numba"))
    tags = draw_tags(max(options.images))
    times: dict[str, list[float]] = {name: [] for name in WORK}
    for size in options.images:
        for name, value in measure(tags, size, options.repeats).items():
            times[name].append(value)
        shown = ", ".join(f"{name} {times[name][-1]:.1f} {unit}" for name, unit in WORK.items())
        print(f"  {size:>9,} images: {shown}", flush=True)
    if len(options.images) > 1:
        fits = ", ".join(f"{name} {exponent(options.images, times[name]):.2f}" for name in WORK)
        print(f"  exponents: {fits}")
    if options.plot:
        draw(options.images, times, options.plot)
    print(twin.NOTE)


if __name__ == "__main__":
    main()
