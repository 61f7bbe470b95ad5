"""s(x, θ) of eq. 2 over a whole set: the mean of f over the neighbourhoods of each image.

Everything before the pooling depends on one image alone. The graph is cut there:
the fully-connected layers run once per image, what follows once per neighbourhood.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit, logit

from tagnet.architectures import by_rows, reads_order
from tagnet.console import progress
from tagnet.dataset import Part

IMAGE_LAYERS = ("W_x", "W_xu")
NEIGHBOUR_LAYERS = ("W_z", "W_zu")
ENCODE_BATCH = 1024
HEAD_BATCH = 512  # neighbourhoods


@dataclasses.dataclass(frozen=True)
class ScoringSettings:
    """How the mean over neighbourhoods is taken.

    Attributes:
        m: the size of a neighbourhood.
        exact: max-pool graphs: the mean over all C(M, m) neighbourhoods. LSTM
            graphs, whose mean has no closed form, are sampled either way.
        samples: how many distinct neighbourhoods are drawn where it is sampled.
        average: `logits` averages f as eq. 2 does; `probabilities` averages σ(f).
    """

    m: int
    exact: bool = True
    samples: int = 10
    average: str = "logits"


class Scorer:
    """Scores sets of images with one graph, whose weights it shares.

    Args:
        core: a graph of `architectures.build`.
        lookups: the tables on the device, see `layers.lookups`.
        settings: how to average.
    """

    def __init__(
        self, core: keras.Model, lookups: dict[str, keras.Layer], settings: ScoringSettings
    ) -> None:
        self._settings = settings
        self._whole = by_rows(core, lookups)
        self._sampled = reads_order(core) or not settings.exact
        names = {layer.name for layer in core.layers}
        image = [core.get_layer(name).output for name in IMAGE_LAYERS if name in names]
        neighbour = [core.get_layer(name).output for name in NEIGHBOUR_LAYERS if name in names]
        self._reads_neighbours = bool(neighbour)
        if self._reads_neighbours:
            self._encode_image = self._encoder(core, lookups, "x", image)
            self._encode_neighbour = self._encoder(core, lookups, "z", neighbour)
            head = keras.Model([*image, *neighbour], core.output)
            signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in head.inputs]
            self._head = tf.function(lambda vectors: head(vectors), input_signature=[signature])

    def __call__(self, part: Part, seed: int = 0) -> np.ndarray:
        """Scores the images of `part`.

        Args:
            part: n images with their M nearest.
            seed: of the drawn neighbourhoods.

        Returns:
            Logits, float32 [n, L].
        """
        if not self._reads_neighbours:
            return np.concatenate(
                [self._whole({"row": rows}).numpy() for rows in _batches(part.rows, ENCODE_BATCH)]
            )
        # One image's neighbours are many images': each is encoded once.
        needed, places = np.unique(part.neighbours, return_inverse=True)
        places = places.reshape(part.neighbours.shape)
        encoded = self._encode(self._encode_neighbour, needed)
        subsets = self._subsets(part, seed)
        per_batch = max(1, HEAD_BATCH // subsets.shape[1])
        scores = []
        for batch in progress(list(_batches(np.arange(len(part.rows)), per_batch)), "scoring"):
            chosen = np.take_along_axis(places[batch][:, None], subsets[batch], axis=2)
            scores.append(self._score(part.rows[batch], encoded, chosen))
        return np.concatenate(scores)

    def _subsets(self, part: Part, seed: int) -> np.ndarray:
        """Positions among the M nearest [n, S, K]: all M at once, or S drawn m-subsets."""
        count, max_rank = part.neighbours.shape
        if not self._sampled:
            return np.broadcast_to(np.arange(max_rank), (count, 1, max_rank))
        return draw_subsets(count, max_rank, self._settings.m, self._settings.samples, seed)

    def _score(
        self, rows: np.ndarray, encoded: Sequence[tf.Tensor], chosen: np.ndarray
    ) -> np.ndarray:
        """Averages f over the neighbourhoods `chosen` [B, S, K] of the images `rows` [B]."""
        count, samples, size = chosen.shape
        flat = chosen.reshape(count * samples, size)
        encoded_images = self._encode(self._encode_image, rows)
        images = [tf.repeat(vectors, samples, axis=0) for vectors in encoded_images]
        neighbours = [tf.gather(vectors, flat) for vectors in encoded]
        scores = self._head([*images, *neighbours]).numpy().reshape(count, samples, -1)
        if self._settings.average == "logits":
            return scores.mean(axis=1)
        return logit(expit(scores.astype(np.float64)).mean(axis=1)).astype(np.float32)

    def _encode(self, encoder: tf.types.experimental.PolymorphicFunction, rows: np.ndarray) -> list:
        parts = [encoder(tf.constant(batch, tf.int32)) for batch in _batches(rows, ENCODE_BATCH)]
        return [tf.concat(vectors, axis=0) for vectors in zip(*parts, strict=True)]

    def _encoder(
        self,
        core: keras.Model,
        lookups: dict[str, keras.Layer],
        side: str,
        outputs: list[keras.KerasTensor],
    ) -> tf.types.experimental.PolymorphicFunction:
        """Row numbers [R] → the hidden vectors [R, h] of the layers on one side, x or z."""
        inputs = [tensor for tensor in core.inputs if tensor.name.endswith(f"_{side}")]
        layers = keras.Model(inputs, dict(enumerate(outputs)))

        def encode(rows: tf.Tensor) -> list[tf.Tensor]:
            # On the neighbours' side the R images are the neighbours of one.
            looked_up = [
                lookups[tensor.name[:-2]](rows if side == "x" else rows[None]) for tensor in inputs
            ]
            vectors = layers(looked_up)
            return [vectors[i] if side == "x" else vectors[i][0] for i in range(len(outputs))]

        return tf.function(encode, input_signature=[tf.TensorSpec([None], tf.int32)])


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def draw_subsets(count: int, max_rank: int, m: int, samples: int, seed: int) -> np.ndarray:
    """Draws distinct m-subsets of the ranks 0 … M − 1 for each of `count` images.

    Args:
        count: n.
        max_rank: M.
        m: the size of a subset.
        samples: S; where there are no more than S subsets, all of them are given.
        seed: of the draw.

    Returns:
        int64 [n, S, m], each subset in rising order, those of an image all different.
    """
    if math.comb(max_rank, m) <= samples:
        every = np.array(list(itertools.combinations(range(max_rank), m)))
        return np.broadcast_to(every, (count, *every.shape))
    rng = np.random.default_rng(seed)
    # Subsets are told apart by a sum of random numbers; should two different ones
    # ever share a sum, the image is drawn again, which does no harm.
    codes = rng.integers(2**63, size=max_rank)
    subsets = np.empty((count, samples, m), np.int64)
    open_rows = np.arange(count)
    while len(open_rows):
        keys = rng.random((len(open_rows), samples, max_rank))
        subsets[open_rows] = np.sort(np.argpartition(keys, m - 1, axis=2)[:, :, :m], axis=2)
        sums = np.sort(codes[subsets[open_rows]].sum(axis=2), axis=1)
        open_rows = open_rows[(np.diff(sums, axis=1) == 0).any(axis=1)]
    return subsets
