"""A twin of NUS-WIDE: data of its shape, for measuring speed and memory at full size.

Nothing in it was ever photographed, so no accuracy may be quoted from it. The paper's
set has 190,253 images, 81 labels and 4096 features an image; tags are drawn from 50,000
words by a flattened Zipf law, of which the paper's 5,000 most frequent get ids. Labels
draw tags, features and word vectors after them, so that neighbours by tags share labels.

Everything is drawn block by block from seeds of its own, so that nothing is held that
is not needed, and the first images of a large twin are those of a small one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

IMAGES = 190_253
SIZES = ".578178,.210246,.211576"  # 110,000, 40,000 and 40,253 of them
NAME = "twin (speed and memory only)"
NOTE = "the twin is made up: for speed and memory only, no accuracy may be quoted from it"
LABELS = 81
WORDS = 50_000
FEATURES = 4096
VECTORS = 300
BLOCK = 4096  # images drawn from one seed

LABELS_PER_IMAGE = 2.4  # of the labelled images of NUS-WIDE
TAGS_PER_IMAGE = 10
FLATTENING = 5  # of Zipf's law: the most frequent tag is carried by a tenth of the images
OWN_TAGS = 0.4  # share of an image's tags that come from its labels
WORDS_PER_LABEL = 200
# Each kind of thing is drawn from a stream of its own: [stream, block].
IMAGE_STREAM, FEATURE_STREAM, LABEL_STREAM, VECTOR_STREAM = range(4)

LABEL_NAMES = tuple(f"label{label:02d}" for label in range(LABELS))
WORD_NAMES = tuple(f"tag{word:05d}" for word in range(WORDS))


def rows(num_images: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the manifest's rows, numbered from 1.

    Args:
        num_images: how many.
    """
    for first in range(0, num_images, BLOCK):
        labels, tags = _draw_block(first // BLOCK)
        for row in range(first, min(first + BLOCK, num_images)):
            yield (
                row + 1,
                {
                    "image_id": f"twin{row:07d}",
                    "tags": [WORD_NAMES[word] for word in tags[row - first]],
                    "labels": [LABEL_NAMES[label] for label in np.flatnonzero(labels[row - first])],
                },
            )


def feature_blocks(
    num_images: int, first: int = 0, last: int | None = None
) -> Iterator[np.ndarray]:
    """Φ in blocks, float32 [n_i, 4096]: the labels' own directions and noise, negatives cut off.

    Args:
        num_images: how many there are.
        first: the first that is wanted.
        last: where the wanted ones end; at the last of all unless told otherwise.
    """
    last = num_images if last is None else last
    directions = _normal(LABEL_STREAM, 0, [LABELS, FEATURES])
    for start in range(first - first % BLOCK, last, BLOCK):
        count = min(BLOCK, last - start)
        labels, _ = _draw_block(start // BLOCK)
        phi = _normal(FEATURE_STREAM, start // BLOCK, [count, FEATURES])
        # A sparse row adds its labels' directions one after the other, whereas the last bits of a
        # dense product depend on its size and on the number of threads.
        phi += sparse.csr_array(labels[:count].astype(np.float32)) @ directions
        phi -= 1  # leaves about a third of them positive, as in a ReLU layer
        np.maximum(phi, 0, out=phi)
        yield phi[max(first - start, 0) :]


def word_vectors(size: int = VECTORS) -> tuple[list[str], np.ndarray]:
    """Words and their vectors, float32 [number of words, size]; every tenth word has none."""
    vectors = _normal(VECTOR_STREAM, 0, [WORDS, size])
    topics = _normal(VECTOR_STREAM, 1, [LABELS, size])
    for label, words in enumerate(_words_of_labels()):
        vectors[words] += topics[label]
    known = np.flatnonzero(np.arange(WORDS) % 10 != 9)
    return [WORD_NAMES[word] for word in known], vectors[known]


def _normal(stream: int, block: int, shape: list[int]) -> np.ndarray:
    return np.random.default_rng([stream, block]).standard_normal(shape, np.float32)


def _words_of_labels() -> np.ndarray:
    """The words that go with each label: [LABELS, WORDS_PER_LABEL], some of them shared."""
    rng = np.random.default_rng([LABEL_STREAM, 1])
    return rng.integers(WORDS // 10, size=[LABELS, WORDS_PER_LABEL])


def _draw_block(block: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels, bool [BLOCK, LABELS], and the tags' numbers of a block of images."""
    rng = np.random.default_rng([IMAGE_STREAM, block])
    frequencies = 1 / (np.arange(LABELS) + 2)
    labels = rng.random([BLOCK, LABELS]) < frequencies / frequencies.sum() * LABELS_PER_IMAGE
    labels[np.arange(BLOCK), rng.integers(LABELS, size=BLOCK)] |= ~labels.any(axis=1)
    counts = 1 + rng.poisson(TAGS_PER_IMAGE - 1, BLOCK)
    image = np.repeat(np.arange(BLOCK), counts)
    zipf = np.cumsum(1 / (np.arange(WORDS) + 1 + FLATTENING))
    words = np.searchsorted(zipf, rng.random(len(image)) * zipf[-1])
    # Some give way to a word of one of the image's labels.
    keys = rng.random([BLOCK, LABELS]) * labels
    label = np.argmax(keys, axis=1)[image]
    own = _words_of_labels()[label, rng.integers(WORDS_PER_LABEL, size=len(image))]
    words = np.where(rng.random(len(image)) < OWN_TAGS, own, words)
    return labels, np.split(words, np.cumsum(counts)[:-1])
