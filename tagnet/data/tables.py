"""The tables in which row numbers are looked up: where they are and how they are read.

Shapes: B images in a batch, K neighbours of each, N images in all, n numbers an image, T tag ids.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.records import ALIGNMENT, empty_table
from tagnet.data.tags import TagLists
from tagnet.models.layers import PADDING
from tagnet.system.runtime import silence_float16_notice

HOST = "CPU:0"
ROWS = {"x": "row", "z": "neighbours"}  # whose row numbers: an image's, and its neighbours'

Lookups = Mapping[str, Callable[[tf.Tensor], tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Tables:
    """The tables in which row numbers are looked up.

    Attributes:
        phi: Φ, float16 [N, D]; an array, or a tensor that is on the device already.
        pi: encoded tags: float32 [N, n] for a β, the ids themselves for `id`,
            None for a visual model.
        num_tags: τ, the size of the vocabulary.
        on_device: whether the step that reads the rows also looks them up; else they are
            looked up in host memory, on their way to the device.
    """

    phi: np.ndarray | tf.Tensor
    pi: np.ndarray | tf.Tensor | TagLists | None
    num_tags: int
    on_device: bool = True

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self.phi.shape[1])

    @property
    def tag_dim(self) -> int:
        """The width n of a β, τ for ids, 0 without tags."""
        if self.pi is None:
            return 0
        return self.num_tags if isinstance(self.pi, TagLists) else int(self.pi.shape[1])

    @property
    def most_tags(self) -> int:
        """How many tags an image has at most, where tags are ids; otherwise 0."""
        return int(self.pi.lengths.max()) if isinstance(self.pi, TagLists) else 0


# Inlined, the graph optimizer casts once for the rows and once more for their shape alone.
@tf.function(experimental_attributes={"_noinline": True})
def gather_rows(table: tf.Tensor, rows: tf.Tensor, dtype: str | tf.DType) -> tf.Tensor:
    """The `rows` [...] of a table [N, n], cast: [..., n]."""
    return tf.cast(tf.gather(table, rows), dtype)


class RowLookup(keras.layers.Layer):
    """Row numbers → rows of a table that stays where it is: [...] → [..., n].

    The table is no weight: it is neither trained, nor counted, nor saved.

    Args:
        table: [N, n], of any float type; rows come out in the layer's compute type. See
            `as_tensor`.
    """

    def __init__(self, table: np.ndarray | tf.Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._table = as_tensor(table)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """Gathers, then casts: the table's float16 halves what has to be read."""
        return gather_rows(self._table, rows, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """[..., n]."""
        return (*input_shape, int(self._table.shape[1]))


def as_tensor(table: np.ndarray | tf.Tensor) -> tf.Tensor:
    """A table [N, n] as a tensor; one that already is a tensor stays on its device.

    It shares the memory of an array, which `tf.constant` would hold twice more.
    """
    if not isinstance(table, np.ndarray):
        return table
    if table.dtype == np.float16:
        silence_float16_notice()
    if table.ctypes.data % ALIGNMENT or not (table.flags.c_contiguous and table.flags.writeable):
        aligned = empty_table(table.shape, table.dtype)
        aligned[:] = table
        table = aligned
    # Identity moves it to the GPU where there is one, and otherwise does nothing.
    return tf.identity(tf.experimental.dlpack.from_dlpack(table.__dlpack__()))


class TagLookup(keras.layers.Layer):
    """Row numbers → the images' tag ids, padded with −1: [...] → [..., T].

    Args:
        tags: the tag ids of all N images.
        size: T, at least the most tags of an image; None for the batch's longest list. XLA needs
            one size for all batches.
    """

    def __init__(self, tags: TagLists, size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_jit = size is not None
        self._size = size
        self._tags = tf.RaggedTensor.from_row_splits(tags.ids, tags.offsets)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """Gathers lists and pads them."""
        if self._size is not None:
            starts = self._tags.row_splits
            first, end = tf.gather(starts, rows)[..., None], tf.gather(starts, rows + 1)[..., None]
            places = first + tf.range(self._size, dtype=starts.dtype)
            ids = tf.gather(self._tags.values, tf.where(places < end, places, 0))
            return tf.where(places < end, ids, PADDING)
        flat = tf.gather(self._tags, tf.reshape(rows, [-1])).to_tensor(PADDING)
        return tf.reshape(flat, tf.concat([tf.shape(rows), [tf.shape(flat)[1]]], axis=0))

    def compute_output_spec(self, rows: keras.KerasTensor) -> keras.KerasTensor:
        """int32 [..., T]; T is unknown unless it is one for all batches."""
        return keras.KerasTensor((*rows.shape, self._size), "int32")


def gather_inputs(
    names: Sequence[str], rows: Mapping[str, tf.Tensor], lookups: Lookups
) -> dict[str, tf.Tensor]:
    """Looks up a model's inputs in the tables.

    Args:
        names: its inputs: of `phi_x`, `phi_z`, `pi_x`, `pi_z`.
        rows: `row` [B] and, where a name ends with z, `neighbours` [B, K].
        lookups: `phi` and `pi`, from row numbers to what stands there; see `lookups`.
    """
    return {name: lookups[name[:-2]](rows[ROWS[name[-1]]]) for name in names}


def lookup_tables(tables: Tables, one_size: bool = False) -> Lookups:
    """Places the tables on their device: `phi` and, if there are tags, `pi`.

    Args:
        tables: what to look up in.
        one_size: pads the lists of tags to the longest of all images, not of the batch.
    """
    with contextlib.nullcontext() if tables.on_device else tf.device(HOST):
        layers: dict[str, keras.Layer] = {"phi": RowLookup(tables.phi)}
        if isinstance(tables.pi, TagLists):
            layers["pi"] = TagLookup(tables.pi, tables.most_tags if one_size else None)
        elif tables.pi is not None:
            layers["pi"] = RowLookup(tables.pi)
    if tables.on_device:
        return layers
    return {name: functools.partial(_on_host, layer) for name, layer in layers.items()}


def to_device(table: np.ndarray, on_device: bool) -> tf.Tensor:
    """A table [N, n] as a tensor, in the memory of the device or of the host."""
    with contextlib.nullcontext() if on_device else tf.device(HOST):
        return as_tensor(table)


def _on_host(layer: keras.Layer, rows: tf.Tensor) -> tf.Tensor:
    with tf.device(HOST):  # or a step on a GPU would copy the table there
        return layer(rows)


def fed_by_rows(core: keras.Model, lookups: Lookups) -> keras.Model:
    """Wraps a model to take row numbers, which it looks up on the device.

    Args:
        core: a model of `build`, or of `parts.with_path_outputs`.
        lookups: `phi` and, for a joint model, `pi`; see `tables.lookup_tables`.

    Returns:
        A model from `row` [B] and, unless the graph ignores neighbours, `neighbours`
        [B, K] to what the graph gives.
    """
    names = [tensor.name for tensor in core.inputs]
    rows = {ROWS["x"]: keras.Input((), dtype="int32", name=ROWS["x"])}
    if "phi_z" in names:
        rows[ROWS["z"]] = keras.Input((None,), dtype="int32", name=ROWS["z"])
    return keras.Model(rows, core(gather_inputs(names, rows, lookups)))
