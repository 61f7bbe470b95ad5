"""Ten images with features, tags and labels, in shards."""

from pathlib import Path

import numpy as np

from tagnet.data import records

PHI = np.random.default_rng(0).random((10, 3)).astype(np.float32)
TAGS = [[1, 4], [], [0]] + [[2]] * 7
LABELS = [[0]] * 9 + [[1, 2]]
IDS = [f"image-{row}" for row in range(10)]


def write(directory: Path) -> int:
    def blocks(first: int, last: int) -> list[np.ndarray]:
        middle = (first + last) // 2
        return [PHI[first:middle], PHI[middle:last]]

    return records.write_images(directory, IDS, blocks, TAGS, LABELS, feature_dim=3)
