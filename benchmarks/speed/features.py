"""Images a second of `tagnet.backbones.features.extract`, against the plain loop of Keras.

    python -m benchmarks.speed.features [--photos=FOLDER] [--backbone=NAME] [--images=N]

The plain loop reads and prepares a batch of 32 (Keras' own default), then calls
`model.predict`, one batch after the other. Both use the same graph and preparation, so that
they give the same features (the script checks that); `extract` has its default batches.
Without --photos the credited photographs of examples/ are taken, 320 pixels wide; those of
cameras are larger, and reading them counts for more.
"""

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import machine
from tagnet.backbones.features import BACKBONES, extract
from tagnet.photos.images import read_image

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
BATCH = 32  # of the plain loop


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """The seconds that `work` takes, and what it gives."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Times both in turn and prints images a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="folder of .jpg files")
    parser.add_argument("--backbone", default="efficientnet_lite0", choices=BACKBONES)
    parser.add_argument("--weights", type=Path, help="of the backbone, where it needs a file")
    parser.add_argument("--images", type=int, default=512, help="files are repeated up to that")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    files = sorted(flags.photos.rglob("*.jpg"))
    if not files:
        parser.error(f"{flags.photos} holds no .jpg file")
    photos = list(itertools.islice(itertools.cycle(files), flags.images))
    backbone = dataclasses.replace(BACKBONES[flags.backbone], weights=flags.weights)
    model = backbone.build(flags.weights)

    def plain_loop() -> np.ndarray:
        found = []
        for first in range(0, len(photos), BATCH):
            batch = [backbone.prepare(read_image(photo)) for photo in photos[first : first + BATCH]]
            found.append(model.predict(np.stack(batch), verbose=0))
        return np.concatenate(found)

    def ours() -> np.ndarray:
        return extract(backbone, photos)

    difference = np.abs(plain_loop() - ours()).max()  # also the first calls, which compile
    assert difference < 1e-3, difference
    seconds: dict[str, list[float]] = {"plain loop": [], "extract": []}
    for _ in range(flags.rounds):
        seconds["plain loop"].append(timed(plain_loop)[0])
        seconds["extract"].append(timed(ours)[0])
    for name, spent in seconds.items():
        print(
            f"{name:10} {len(photos) / statistics.median(spent):7.1f} images/s "
            f"(median of {flags.rounds}; {len(photos) / max(spent):.1f} to "
            f"{len(photos) / min(spent):.1f})"
        )
    ratios = [a / b for a, b in zip(seconds["plain loop"], seconds["extract"], strict=True)]
    print(f"ratio      {statistics.median(ratios):7.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{backbone.name}, {len(photos)} images of {len(files)} files")
    print(machine.described("tensorflow", "keras", "pillow"))


if __name__ == "__main__":
    main()
