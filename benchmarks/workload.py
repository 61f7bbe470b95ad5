"""What the benchmarks of training and scoring run on: the paper's sizes, on random images.

The images are random, so they serve for speed and for comparing two ways of computing
the same numbers; no accuracy may be quoted from them.
"""

import dataclasses

import numpy as np

from tagnet.data.dataset import Part
from tagnet.data.tables import Tables
from tagnet.data.tags import TagLists
from tagnet.models.architectures import JOINT
from tagnet.settings import GraphSettings


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The paper's sizes for NUS-WIDE.

    Attributes:
        images: how many images the tables hold; what is timed does not depend on it.
        feature_dim: D.
        hidden: h.
        num_labels: L.
        num_tags: τ.
        tags_per_image: mean number of known tags of an image.
        vector_dim: n of a β.
        m: how many neighbours the network sees at once.
        max_rank: M, the number of nearest images that they are drawn from.
        batch_size: images in a batch.
    """

    images: int = 20_000
    feature_dim: int = 4096
    hidden: int = 500
    num_labels: int = 81
    num_tags: int = 5000
    tags_per_image: int = 8
    vector_dim: int = 300
    m: int = 12
    max_rank: int = 24
    batch_size: int = 64

    def graph(self, arch: str, feed: str = "id", dropout: float = 0.5) -> GraphSettings:
        """The settings of a graph; a visual one is fed no tags."""
        return GraphSettings(
            feature_dim=self.feature_dim,
            num_labels=self.num_labels,
            m=self.m,
            feed=feed if arch in JOINT else None,
            tag_dim=(self.num_tags if feed == "id" else self.vector_dim) if arch in JOINT else 0,
            hidden=self.hidden,
            dropout=dropout,
        )


@dataclasses.dataclass(frozen=True)
class Workload:
    """A random data set.

    Attributes:
        tables: Φ and π of all images, as a prepared directory gives them.
        labels: float32 [N, L] of 0 and 1.
        part: all images with their M nearest, who are drawn at random.
    """

    tables: Tables
    labels: np.ndarray
    part: Part


def make(sizes: Sizes, feed: str = "id", seed: int = 0) -> Workload:
    """Draws a random data set.

    Args:
        sizes: of the data set.
        feed: `id` for tag numbers, anything else for a dense π.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    phi = np.maximum(rng.standard_normal([sizes.images, sizes.feature_dim], np.float32) - 1, 0)
    if feed == "id":
        counts = 1 + rng.poisson(sizes.tags_per_image - 1, sizes.images)
        images = np.repeat(np.arange(sizes.images), counts)
        ids = np.sort(images * sizes.num_tags + rng.integers(sizes.num_tags, size=len(images)))
        ids = np.unique(ids)  # an image has a tag once
        offsets = np.searchsorted(ids, np.arange(sizes.images + 1) * sizes.num_tags)
        pi: np.ndarray | TagLists = TagLists((ids % sizes.num_tags).astype(np.int32), offsets)
    else:
        pi = rng.standard_normal([sizes.images, sizes.vector_dim], np.float32)
    labels = (rng.random([sizes.images, sizes.num_labels]) < 0.03).astype(np.float32)
    neighbours = rng.integers(sizes.images, size=[sizes.images, sizes.max_rank])
    distances = np.zeros(neighbours.shape, np.float32)
    return Workload(
        Tables(phi.astype(np.float16), pi, sizes.num_tags),
        labels,
        Part(np.arange(sizes.images), neighbours, distances),
    )


def draws(workload: Workload, sizes: Sizes, steps: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """The images of `steps` batches and their neighbourhoods, for both ways of training alike.

    Returns:
        rows int64 [steps · B], neighbours int64 [steps · B, m] in distance order.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(sizes.images, size=steps * sizes.batch_size)
    keys = rng.random([len(rows), sizes.max_rank])
    ranks = np.sort(np.argsort(keys, axis=1)[:, : sizes.m], axis=1)
    return rows, np.take_along_axis(workload.part.neighbours[rows], ranks, axis=1)
