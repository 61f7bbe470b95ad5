"""The images that a deployed model takes neighbours from, searched exactly in TensorFlow.

What `neighbours.py` does for a whole data set is here part of a graph, so that a
SavedModel has it too. Both find the same neighbours; a test compares them.

Shapes: C images in the corpus, B in a batch, M neighbours, D features, n the width of β.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tagnet.data.dataset import PreparedDataset
from tagnet.data.records import empty_table
from tagnet.data.tables import as_tensor
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search.rounding import ROUNDING, SLACK

# Numbers of the corpus that are compared at a time. Blocks of 8 MB stay in use from one to the
# next; from 32 MB on the system would give and clear new memory for every block.
BLOCK = 2**21


@dataclasses.dataclass(frozen=True, eq=False)
class TaggedImages:
    """C tagged images.

    Attributes:
        image_ids: their names.
        phi: Φ, float16 [C, D].
        tags: ids of their tags.
        labels: ids of their labels; empty lists where there are none.
    """

    image_ids: Sequence[str]
    phi: np.ndarray
    tags: TagLists
    labels: TagLists

    @classmethod
    def of(cls, dataset: PreparedDataset, rows: np.ndarray) -> "TaggedImages":
        """The images `rows` of a prepared data set."""
        features = dataset.features
        phi = empty_table((len(rows), features.shape[1]), features.dtype)
        np.take(features, rows, axis=0, out=phi, mode="clip")  # "raise" would copy it
        return cls(
            [dataset.image_ids[row] for row in rows],
            phi,
            dataset.tags.select(rows),
            TagLists.from_lists([np.flatnonzero(dataset.labels[row]) for row in rows]),
        )


class Lists(tf.Module):
    """`TagLists` as variables."""

    def __init__(self, lists: TagLists) -> None:
        super().__init__()
        self.ids = tf.Variable(lists.ids, trainable=False)
        self.offsets = tf.Variable(lists.offsets, trainable=False)

    def ragged(self) -> tf.RaggedTensor:
        """int32 [C, (T)]."""
        return tf.RaggedTensor.from_row_splits(self.ids, self.offsets, validate=False)

    def numpy(self) -> TagLists:
        """The lists as NumPy arrays."""
        return TagLists(self.ids.numpy(), self.offsets.numpy())


class Vectors(tf.Module):
    """A table of vectors with their lengths: Φ or ρ of the corpus.

    Variables are read as a whole before rows are taken. A gather from a variable itself
    would have TensorFlow copy the variable whenever it is read from then on: one
    search among 110,000 images copied 280 MB for every block.
    """

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        lengths = _norms(table)
        if not np.isfinite(lengths).all():
            row = int(np.argmin(np.isfinite(lengths)))
            raise InputError(f"corpus: vectors must be finite; row {row} is not")
        # As a tensor, which the variable takes over; it would copy an array twice.
        self.table = tf.Variable(as_tensor(table), trainable=False)
        self.norms = tf.Variable(lengths, trainable=False)

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows of the table in float32: [...] → [..., n]."""
        return tf.cast(tf.gather(self.table.value(), rows), tf.float32)

    def nearest(self, queries: tf.Tensor, M: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The M nearest by cosine distance (eq. 7), as `neighbours.cosine` finds them.

        Similarities in float32 serve to find those that can be among the nearest;
        these are then compared in float64, rounded, ties decided by row.

        Args:
            queries: float32 [B, n], none of them zero.
            M: how many.

        Returns:
            Rows int32 [B, M] and distances float32 [B, M].
        """
        similarity = self._similarity(queries)
        products = queries.shape[1] + 8  # bounds the error, see neighbours._products
        error = products * 2.0**-24 / (1 - products * 2.0**-24)

        def refine(one: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            query, similar = one
            least = tf.math.top_k(similar, M).values[-1] - (2 * error + SLACK)
            rows = tf.cast(tf.where(similar >= least)[:, 0], tf.int32)  # ascending
            distances = self._distances(query, rows)
            order = tf.argsort(distances, stable=True)[:M]
            return tf.gather(rows, order), tf.cast(tf.gather(distances, order), tf.float32)

        return tf.map_fn(
            refine,
            (queries, similarity),
            fn_output_signature=(tf.TensorSpec([M], tf.int32), tf.TensorSpec([M], tf.float32)),
        )

    def _similarity(self, queries: tf.Tensor) -> tf.Tensor:
        """Cosine similarities in float32: [B, C]."""
        units = tf.math.l2_normalize(queries, axis=1)
        count, width = self.table.shape
        size = max(1, BLOCK // width)
        blocks = -(-count // size)

        def one_block(i: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            part = slice(i * size, (i + 1) * size)
            lengths = tf.cast(self.norms[part], tf.float32)[:, None]
            table = tf.cast(self.table[part], tf.float32)
            similarity = tf.math.divide_no_nan(tf.matmul(table, units, transpose_b=True), lengths)
            return i + 1, found.write(i, similarity)

        found = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, None])
        _, found = tf.while_loop(
            lambda i, _: i < blocks, one_block, (0, found), parallel_iterations=1
        )
        return tf.ensure_shape(tf.transpose(found.concat()), [None, count])

    def _distances(self, query: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """1 − x·z / (|x| |z|) of one query [n] and some rows: float64, rounded."""
        x = tf.cast(query, tf.float64)
        z = tf.cast(tf.gather(self.table.value(), rows), tf.float64)
        lengths = tf.gather(self.norms.value(), rows) * tf.norm(x)
        distances = 1 - tf.math.divide_no_nan(tf.linalg.matvec(z, x), lengths)
        scale = 10.0**ROUNDING
        return tf.round(tf.clip_by_value(distances, 0, 2) * scale) / scale


class Corpus(tf.Module):
    """The images that neighbours are taken from.

    Args:
        images: at least as many as there are neighbours to find.
        words: the vocabulary of their tags.
        rho: ρ of their tags, float32 [C, n], for each of `w2v` and `wnet` that is needed.
    """

    def __init__(
        self, images: TaggedImages, words: Sequence[str], rho: Mapping[str, np.ndarray]
    ) -> None:
        super().__init__()
        self.words = tf.Variable(list(words), trainable=False, dtype=tf.string)
        self.image_ids = tf.Variable(list(images.image_ids), trainable=False, dtype=tf.string)
        self.tags = Lists(images.tags)
        self.labels = Lists(images.labels)
        self.carriers = Lists(_carriers(images.tags, len(words)))
        self.phi = Vectors(images.phi)
        self.rho = {name: Vectors(table) for name, table in rho.items()}

    def __len__(self) -> int:
        return int(self.image_ids.shape[0])

    def nearest_by_tags(self, ids: tf.RaggedTensor, M: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The M nearest by Jaccard distance (eq. 5), equal distances by row.

        Args:
            ids: int32 [B, (T)], tag ids, each once an image.
            M: how many.

        Returns:
            Rows int32 [B, M] and distances float32 [B, M].
        """
        count = tf.shape(ids.row_splits, tf.int64)[0] - 1
        carrying = tf.gather(self.carriers.ragged(), ids).merge_dims(1, 2)  # rows, [B, (·)]
        cells = tf.cast(carrying.values, tf.int64) + carrying.value_rowids() * len(self)
        shared = tf.math.unsorted_segment_sum(
            tf.ones_like(cells, tf.float64), cells, count * len(self)
        )
        shared = tf.reshape(shared, [count, len(self)])
        sizes = tf.cast(self.tags.offsets[1:] - self.tags.offsets[:-1], tf.float64)
        united = tf.cast(ids.row_lengths(), tf.float64)[:, None] + sizes - shared
        # Equal fractions are equal in float64, and top_k decides ties by row.
        nearest = tf.math.top_k(tf.math.divide_no_nan(shared, united), M)
        return nearest.indices, tf.cast(1 - nearest.values, tf.float32)


def _norms(table: np.ndarray) -> np.ndarray:
    """|x| of the rows in float64, without a copy of the whole table in it.

    By NumPy, since numba takes most of a second to load.
    """
    size = max(1, BLOCK // table.shape[1])
    blocks = (table[first : first + size] for first in range(0, len(table), size))
    return np.concatenate([np.linalg.norm(block.astype(np.float64), axis=1) for block in blocks])


def _carriers(tags: TagLists, num_tags: int) -> TagLists:
    """For each tag, the images that carry it, ascending."""
    rows = np.repeat(np.arange(len(tags), dtype=np.int32), tags.lengths)
    order = np.argsort(tags.ids, kind="stable")
    counts = np.bincount(tags.ids, minlength=num_tags)
    return TagLists(rows[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
