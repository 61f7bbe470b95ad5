"""s(x, θ) of eq. 2 over a whole set: the mean of f over the neighbourhoods of each image.

Everything before the pooling depends on one image alone. The graph is cut there:
the fully-connected layers run once per image, what follows once per neighbourhood.
"""

import itertools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.dataset import Part
from tagnet.data.tables import ROWS, Lookups, gather_inputs
from tagnet.evaluation.heads import head_of
from tagnet.models.parts import Parts, is_order_sensitive, outputs
from tagnet.settings import ScoringSettings
from tagnet.system.console import progress

ENCODE_BATCH = 1024
HEAD_BATCH = 2560  # neighbourhoods
WIDE_BLOCK = 4096  # images whose neighbours' projected vectors are in memory together


class Scorer:
    """Scores sets of images with a model, sharing its weights.

    Args:
        core: a graph of `architectures.build`.
        lookups: the tables, wherever they are, see `tables.lookup_tables`.
        settings: how to average.
        by_xla: whether XLA compiles the steps of LSTMs in one piece; what sorts it always does.
    """

    def __init__(
        self,
        core: keras.Model,
        lookups: Lookups,
        settings: ScoringSettings,
        by_xla: bool = False,
    ) -> None:
        self._settings = settings
        self._sampled = is_order_sensitive(core) or not settings.exact
        parts = Parts.of(core)
        self._reads_neighbours = bool(parts.neighbour)
        if not self._reads_neighbours:
            self._encode_image = _encoder(core, lookups, "x", [core.output])
        else:
            self._encode_image = _encoder(core, lookups, "x", outputs(core, parts.image))
            self._encode_neighbour = _encoder(core, lookups, "z", outputs(core, parts.neighbour))
            self._head = head_of(core, parts, by_xla)
            self._make_tables, self._score = self._head.tables, self._score_batch
            # TensorFlow never frees the copy of a compiled function that it makes for every
            # graph with a call of it; a copy of the one that sorts is large.
            if not self._head.sorts:
                self._make_tables = tf.function(self._make_tables, reduce_retracing=True)
                self._score = tf.function(self._score, reduce_retracing=True)

    def __call__(self, part: Part, seed: int = 0) -> np.ndarray:
        """Scores the images of `part`.

        Args:
            part: n images with their M nearest.
            seed: seed of the drawn neighbourhoods.

        Returns:
            Logits, float32 [n, L].
        """
        if not self._reads_neighbours:
            return _encoded(self._encode_image, part.rows)[0].numpy()
        # One image's neighbours are many images': each is encoded once.
        needed, places = np.unique(part.neighbours, return_inverse=True)
        places = places.reshape(part.neighbours.shape)
        # What sorts the tables is compiled for their size.
        spare = _rounded(len(needed)) - len(needed) if self._head.sorts else 0
        encoded = _encoded(self._encode_neighbour, needed, spare)
        subsets = self._subsets(part, seed)
        scores = []
        block = WIDE_BLOCK if self._head.widens else len(part.rows)
        with progress(None, "scoring", total=len(part.rows)) as bar:
            for images in _batches(np.arange(len(part.rows)), block):
                tables, within = self._tables_of(encoded, places[images])
                chosen = np.take_along_axis(within[:, None], subsets[images], axis=2)
                scores.append(self._score_block(part.rows[images], tables, chosen, bar.update))
        return np.concatenate(scores)

    def _subsets(self, part: Part, seed: int) -> np.ndarray:
        """Positions among the M nearest [n, S, K]: all M at once, or S drawn m-subsets."""
        count, max_rank = part.neighbours.shape
        if not self._sampled:
            return np.broadcast_to(np.arange(max_rank), (count, 1, max_rank))
        return draw_subsets(count, max_rank, self._settings.m, self._settings.samples, seed)

    def _tables_of(
        self, encoded: list[tf.Tensor], places: np.ndarray
    ) -> tuple[list[tf.Tensor], np.ndarray]:
        """The head's tables and the `places` in them; wide tables hold only these places."""
        if not self._head.widens:
            return self._make_tables(encoded), places
        used, within = np.unique(places, return_inverse=True)
        tables = self._make_tables([tf.gather(vectors, used) for vectors in encoded])
        return tables, within.reshape(places.shape)

    def _score_block(
        self,
        rows: np.ndarray,
        tables: list[tf.Tensor],
        chosen: np.ndarray,
        done: Callable[[int], object],
    ) -> np.ndarray:
        """Averages f over the neighbourhoods `chosen` [n, S, K] of the images `rows` [n]."""
        count, samples, size = chosen.shape
        # XLA compiles for one size of batch: the last one repeats an image to fill up.
        batch = min(count, max(1, HEAD_BATCH // samples))
        scores = []
        for first in range(0, count, batch):
            images = np.minimum(np.arange(first, first + batch), count - 1)
            columns = chosen[images].reshape(batch * samples, size).T.astype(np.int32)
            scores.append(self._score(rows[images].astype(np.int32), tables, list(columns)))
            done(min(batch, count - first))
        return np.concatenate(scores)[:count]

    def _score_batch(
        self, rows: tf.Tensor, tables: list[tf.Tensor], columns: list[tf.Tensor]
    ) -> tf.Tensor:
        scores = self._head(self._encode_image(rows), tables, columns)  # [B S, L]
        scores = tf.reshape(scores, [tf.shape(rows)[0], -1, scores.shape[1]])
        if self._settings.average == "logits":
            return tf.reduce_mean(scores, axis=1)
        scores = tf.cast(scores, tf.float64)
        # Of large scores 1 less the mean would be 0.
        yes, no = (tf.reduce_mean(tf.sigmoid(part), axis=1) for part in (scores, -scores))
        return tf.cast(tf.math.log(yes) - tf.math.log(no), tf.float32)


def _encoder(
    core: keras.Model, lookups: Lookups, side: str, outputs: list[keras.KerasTensor]
) -> tf.types.experimental.PolymorphicFunction:
    """Row numbers [R] → the hidden vectors [R, h] of the layers on one side, x or z."""
    inputs = [tensor for tensor in core.inputs if tensor.name.endswith(f"_{side}")]
    names = [tensor.name for tensor in inputs]
    layers = keras.Model(dict(zip(names, inputs, strict=True)), dict(enumerate(outputs)))

    def encode(rows: tf.Tensor) -> list[tf.Tensor]:
        # On the neighbours' side the R images are the neighbours of one.
        given = {ROWS[side]: rows if side == "x" else rows[None]}
        vectors = layers(gather_inputs(names, given, lookups))
        return [vectors[i] if side == "x" else vectors[i][0] for i in range(len(outputs))]

    return tf.function(encode, input_signature=[tf.TensorSpec([None], tf.int32)])


def _encoded(
    encode: Callable[[tf.Tensor], list[tf.Tensor]], rows: np.ndarray, spare: int = 0
) -> list[tf.Tensor]:
    """The images `rows` [R] after each of the encoder's layers: [R + spare, h]; zeros come last.

    A block at a time.
    """
    parts = [encode(tf.constant(batch, tf.int32)) for batch in _batches(rows, ENCODE_BATCH)]
    parts.append([tf.zeros([spare, vectors.shape[1]], vectors.dtype) for vectors in parts[0]])
    return [tf.concat(vectors, axis=0) for vectors in zip(*parts, strict=True)]


def _rounded(count: int) -> int:
    """The next of 16 sizes between powers of two.

    XLA compiles anew for every size, and TensorFlow never frees what it compiled.

    >>> [_rounded(count) for count in (1, 31, 33, 1000, 165_337)]
    [1, 31, 34, 1024, 172032]
    """
    step = max(1, 2 ** (count.bit_length() - 5))
    return math.ceil(count / step) * step


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
