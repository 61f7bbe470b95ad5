"""The part of a model after its fully-connected layers, for many neighbourhoods at once.

The vectors of all neighbours stand in tables [R, ·] and a neighbourhood is K rows of
them, so what depends on one neighbour alone is computed once: an LSTM's product of its
input with its kernel moves into the table, and only the recurrent product is left.
"""

import itertools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tagnet.models.layers import MaxOverNeighbours, mean_subset_max
from tagnet.models.parts import Parts, outputs


class PooledHead:
    """Pools every table over the neighbours, then runs the rest of the graph.

    Args:
        core: a graph of `architectures.build`.
        parts: its parts.
        by_xla: whether XLA compiles the steps of an LSTM in one piece.
    """

    def __init__(self, core: keras.Model, parts: Parts, by_xla: bool = False) -> None:
        self._by_xla = by_xla
        poolings = [name for name in parts.poolings if name is not None]
        self._readers = readers = [core.get_layer(name) for name in poolings]
        self._rest = keras.Model(outputs(core, [*parts.image, *poolings]), core.output)
        # A projected table is four times as wide as what it is made of.
        self.widens = any(isinstance(reader, keras.layers.LSTM) for reader in readers)
        self.sorts = any(isinstance(reader, MaxOverNeighbours) for reader in readers)

    def tables(self, encoded: list[tf.Tensor]) -> list[tf.Tensor]:
        """The tables that `__call__` gathers from, of encoded neighbours [R, h] of each layer."""
        return [
            project(reader, table) if isinstance(reader, keras.layers.LSTM) else table
            for reader, table in zip(self._readers, encoded, strict=True)
        ]

    def __call__(
        self, images: list[tf.Tensor], tables: list[tf.Tensor], columns: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """The logits of neighbourhoods.

        Args:
            images: their encoded vectors [B, h].
            tables: see `tables`.
            columns: K × [B S], the rows of the neighbours of each rank, nearest first,
                in S neighbourhoods for each image, one after another.

        Returns:
            [B S, L].
        """
        pooled = [
            last_state(reader, [tf.gather(table, column) for column in columns], self._by_xla)
            if isinstance(reader, keras.layers.LSTM)
            else _gather_and_pool(table, list(columns), reader.m)
            for reader, table in zip(self._readers, tables, strict=True)
        ]
        return self._rest([*(_for_each(vectors, pooled[0]) for vectors in images), *pooled])


class ZippedHead:
    """One LSTM that reads the image's vectors and then each neighbour's (`lzip`)."""

    widens = sorts = False

    def __init__(self, lstm: keras.layers.LSTM, by_xla: bool = False) -> None:
        self._lstm = lstm
        self._by_xla = by_xla

    def tables(self, encoded: list[tf.Tensor]) -> list[tf.Tensor]:
        """As in `PooledHead`."""
        return [project(self._lstm, table) for table in encoded]

    def __call__(
        self, images: list[tf.Tensor], tables: list[tf.Tensor], columns: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """As in `PooledHead`."""
        pairs = itertools.product(columns, tables)
        rest = [tf.gather(table, column) for column, table in pairs]
        first = [_for_each(project(self._lstm, vectors), rest[0]) for vectors in images]
        return last_state(self._lstm, [*first, *rest], self._by_xla)


def head_of(core: keras.Model, parts: Parts, by_xla: bool = False) -> PooledHead | ZippedHead:
    """The head of a model, after the layers that `parts` names; `by_xla` as in `PooledHead`."""
    if parts.zipped is None:
        return PooledHead(core, parts, by_xla)
    return ZippedHead(core.get_layer(parts.zipped), by_xla)


def _for_each(vectors: tf.Tensor, neighbourhoods: tf.Tensor) -> tf.Tensor:
    """Repeats the vectors [B, h] of images for each of their neighbourhoods [B S, ·]."""
    return tf.repeat(vectors, tf.shape(neighbourhoods)[0] // tf.shape(vectors)[0], axis=0)


@tf.function(jit_compile=True, reduce_retracing=True)
def _gather_and_pool(table: tf.Tensor, columns: list[tf.Tensor], m: int) -> tf.Tensor:
    """Gathers and pools in one pass, without storing the gathered activations."""
    return mean_subset_max([tf.gather(table, column) for column in columns], m)


def project(lstm: keras.layers.LSTM, vectors: tf.Tensor) -> tf.Tensor:
    """What an LSTM's gates get from its inputs, x W + b: [R, h] → [R, 4 units]."""
    kernel, bias = (tf.cast(w, lstm.compute_dtype) for w in (lstm.cell.kernel, lstm.cell.bias))
    return tf.cast(vectors, lstm.compute_dtype) @ kernel + bias


def last_state(
    lstm: keras.layers.LSTM, steps: Sequence[tf.Tensor], by_xla: bool = False
) -> tf.Tensor:
    """The last output [B, units] of a linear LSTM over projected inputs, each [B, 4 units].

    On a processor XLA makes the products slower; on a GPU it saves starting a kernel for each.
    """
    recurrent = tf.cast(lstm.cell.recurrent_kernel, lstm.compute_dtype)
    return (_compiled_last_state if by_xla else _last_state)(recurrent, list(steps))


def _last_state(recurrent: tf.Tensor, steps: list[tf.Tensor]) -> tf.Tensor:
    state, cell = _step(steps[0], None)
    for projected in steps[1:]:
        state, cell = _step(projected + state @ recurrent, cell)
    return state


_compiled_last_state = tf.function(_last_state, jit_compile=True, reduce_retracing=True)


@tf.function(jit_compile=True, reduce_retracing=True)
def _step(gates: tf.Tensor, cell: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Gates [B, 4 units] and the cell before → output and cell; activations are the identity."""
    input_gate, forget_gate, candidate, output_gate = tf.split(gates, 4, axis=1)
    fresh = tf.sigmoid(input_gate) * candidate
    cell = fresh if cell is None else tf.sigmoid(forget_gate) * cell + fresh
    return tf.sigmoid(output_gate) * cell, cell
