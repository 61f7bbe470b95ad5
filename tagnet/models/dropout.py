"""Dropout whose masks do not depend on how many replicas share a batch."""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Share(NamedTuple):
    """The rows of a batch that belong to a replica.

    Attributes:
        first: the number of its first row in the batch.
        count: how many rows the batch has, scalar.
        seeds: what each dropout layer draws its mask of the batch from, by the layer's name.
    """

    first: tf.Tensor
    count: tf.Tensor
    seeds: Mapping[str, tf.Tensor]


_SHARE: contextvars.ContextVar[Share | None] = contextvars.ContextVar("share", default=None)


@contextlib.contextmanager
def given(share: Share) -> Iterator[None]:
    """Tells `Dropout`, inside the block, which rows of the batch it gets."""
    token = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(token)


@keras.saving.register_keras_serializable("tagnet")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose mask for a replica's rows is part of the whole batch's mask.

    The mask of the whole batch is drawn, which takes little beside the products, and the
    replica's rows are taken out of it.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops units of [B, …] in training."""
        share = _SHARE.get()
        if share is None or not training or not self.rate:
            return super().call(inputs, training)
        shape = tf.concat([[share.count], tf.shape(inputs)[1:]], axis=0)
        seed = _Drawn(share.seeds[self.name])
        mask = keras.random.dropout(tf.ones(shape, inputs.dtype), self.rate, seed=seed)
        return inputs * mask[share.first : share.first + tf.shape(inputs)[0]]


class _Drawn(keras.random.SeedGenerator):
    """A seed that was drawn already, wrapped as the generator that Keras expects."""

    def __init__(self, seed: tf.Tensor) -> None:
        self._seed = seed

    def next(self, ordered: bool = True) -> Any:
        return self._seed
