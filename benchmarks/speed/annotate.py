"""Photographs a second of `experiments.annotate`, against the CNN alone on the same machine.

    python -m benchmarks.speed.annotate --model=RUN --photos=FOLDER

The command's own work is timed: keywords read out of the files, photographs decoded, CNN,
neighbours, scores with what each is the sum of, a line of JSON for each. The CNN alone runs on
images that lie decoded and prepared in memory, in the same batches and threads. Loading the
model and the first calls, which compile, are left out of both. The two alternate.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks import machine
from experiments.annotation.batch import Batch, Choice, jobs_of
from tagnet.backbones.features import network
from tagnet.photos.images import read_image
from tagnet.serving.annotator import Annotator
from tagnet.system import console
from tagnet.system.console import option, say

BATCH, WORKERS = 16, 2  # as in `features.extract`
PREPARED = 256  # images in memory, again and again


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    model: Path = option(Path("demo/ltwin_2rnn"), "a run")
    photos: Path = option(Path("examples/photos"), "a folder of photographs with keywords")
    rounds: int = option(3, "how often each is timed")


def main(options: Options) -> None:
    """Prints both, and the ratio."""
    speeds = measured(options.model, options.photos, options.rounds)
    for name, values in speeds.items():
        say(
            f"{name:10} {statistics.median(values):7.1f} photographs/s "
            f"({min(values):.1f} to {max(values):.1f})"
        )
    ratios = [one / other for other, one in zip(*speeds.values(), strict=True)]
    say(f"ratio      {statistics.median(ratios):7.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    count = len(jobs_of([str(options.photos)], None)[0])
    say(
        f"{options.model.name}, {count:,} photographs; "
        f"{machine.described('tensorflow', 'keras', 'pillow')}; median of {options.rounds}"
    )


def measured(model: Path, photos: Path, rounds: int) -> dict[str, list[float]]:
    """The photographs a second of both, in each round."""
    annotator = Annotator.load(model)
    choice = Choice(dict.fromkeys(annotator.labels, 0.0), 5)
    jobs, _ = jobs_of([str(photos)], None)
    backbone = annotator.backbone
    cnn = network(backbone)
    images = [backbone.prepare(read_image(job.path)) for job in jobs[:PREPARED]]
    batches = [np.stack(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    count = sum(map(len, batches))

    def cnn_alone() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(cnn, batches))

    def annotate() -> None:
        with tempfile.TemporaryDirectory() as folder:
            batch = Batch(annotator, choice, Path(folder) / "answers.jsonl")
            batch.run(jobs)
            assert batch.annotated == len(jobs)

    speeds: dict[str, list[float]] = {"CNN alone": [], "annotate": []}
    cnn_alone()  # the first calls compile
    annotate()
    for _ in range(rounds):
        speeds["CNN alone"].append(count / _seconds(cnn_alone))
        speeds["annotate"].append(len(jobs) / _seconds(annotate))
    return speeds


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
