"""Layers that Keras does not have.

Shapes: B images in a batch, K neighbours of each, D features, T tag ids (padded
with −1), h hidden units.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

PADDING = -1  # stands where a list of tag ids has ended
FEW = 8  # a product is sparse where less than one entry in so many is not zero
MAX_NETWORK = 48  # neighbours sorted by a network; XLA takes 3 s to compile this one

_FOR_XLA: contextvars.ContextVar[bool] = contextvars.ContextVar("for_xla", default=False)


@contextlib.contextmanager
def for_xla() -> Iterator[None]:
    """Has `MultiHotDense`, inside the block, be traced in a way that XLA can compile.

    Lists then cost what the padded ones have, so they should not be much longer than needed.
    """
    token = _FOR_XLA.set(True)
    try:
        yield
    finally:
        _FOR_XLA.reset(token)


@keras.saving.register_keras_serializable("tagnet")
class MultiHotDense(keras.layers.Layer):
    """`Dense` over `o`, or over `[φ; o]`, with the multi-hot `o` given as tag ids.

    Equal to `keras.layers.Dense` on the multi-hot vector (eq. 4), whose product
    with the kernel is the sum of the kernel's rows of those tags. The cost grows
    with the tags that an image has, not with the vocabulary.

    Called on ids, int32 [..., T] padded with −1, or on `[phi, ids]` with phi
    [..., D]; gives [..., units]. The kernel is [τ, units] or [D + τ, units].

    Args:
        units: width of the output.
        num_tags: τ; ids run from 0 to τ − 1, each at most once an image.
        activation, kernel_initializer, kernel_regularizer, use_bias: as in `Dense`.
    """

    def __init__(
        self,
        units: int,
        num_tags: int,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False  # XLA needs to know how many tags there are: see `for_xla`
        self.units = units
        self.num_tags = num_tags
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.use_bias = use_bias
        self.bias = None

    def build(self, input_shape: Any) -> None:
        """Creates the kernel and the bias."""
        feature_dim = input_shape[0][-1] if isinstance(input_shape[0], (tuple, list)) else 0
        self.kernel = self.add_weight(
            shape=(feature_dim + self.num_tags, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> tf.Tensor:
        """Multiplies without building `o`."""
        kernel = tf.convert_to_tensor(self.kernel)
        if isinstance(inputs, (tuple, list)):
            phi, ids = inputs
            # The gradient of a split is one copy; that of two slices, five.
            of_phi, of_ids = tf.split(kernel, [phi.shape[-1], self.num_tags])
            product = _times(phi, of_phi) + _sum_rows(of_ids, ids)
        else:
            product = _sum_rows(kernel, inputs)
        return _activated(self, product)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """[..., units]."""
        ids_shape = input_shape[-1] if isinstance(input_shape[0], (tuple, list)) else input_shape
        return (*ids_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "units": self.units,
            "num_tags": self.num_tags,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable("tagnet")
class NeighbourDense(keras.layers.Dense):
    """`Dense` over neighbours' features, quicker to train below a max-pool.

    A max over m neighbours gives the gradient of each unit to one of them, so that of all
    gradients [B, K, h] few entries are not zero. The kernel's is then a sparse product. Where many
    are not zero, as below an LSTM, it is the dense product of `Dense`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.supports_jit = False  # XLA has no sparse product: see `for_xla`

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Multiplies [B, K, D] by the kernel."""
        return _activated(self, _times(inputs, tf.convert_to_tensor(self.kernel)))


def _activated(layer: keras.layers.Layer, product: tf.Tensor) -> tf.Tensor:
    """A dense layer's output: its bias is added to the product, then its activation acts."""
    if layer.bias is not None:
        product = tf.nn.bias_add(product, tf.convert_to_tensor(layer.bias))
    return layer.activation(product)


def _times(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Features of images [B, D] or of neighbours [B, K, D] times a kernel: [B, h] or [B, K, h]."""
    if len(inputs.shape) < 3 or _FOR_XLA.get() or _on_gpu() or kernel.dtype != tf.float32:
        return ops.matmul(inputs, kernel)
    width, units = kernel.shape
    product = _product(width, units)(tf.reshape(inputs, [-1, width]), kernel)
    return tf.reshape(product, tf.concat([tf.shape(inputs)[:-1], [units]], axis=0))


def _on_gpu() -> bool:
    return bool(tf.config.get_visible_devices("GPU"))


@functools.cache  # as `_summed`
def _product(width: int, units: int) -> tf.types.experimental.PolymorphicFunction:
    """Makes the `_product_of_few` for a kernel of this shape."""
    signature = [tf.TensorSpec([None, width]), tf.TensorSpec([width, units])]
    return tf.function(_product_of_few, input_signature=signature)


@tf.custom_gradient
def _product_of_few(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """The product of [n, D] and [D, h], with a gradient that makes use of zeros in [n, h]."""

    def gradient(d_product: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        given = tf.math.count_nonzero(d_product, dtype=tf.int32)
        d_kernel = tf.cond(
            given < tf.size(d_product) // FEW,
            lambda: sparse_product(inputs, d_product),
            lambda: tf.matmul(inputs, d_product, transpose_a=True),
        )
        return tf.matmul(d_product, kernel, transpose_b=True), d_kernel

    return tf.matmul(inputs, kernel), gradient


def sparse_product(inputs: tf.Tensor, few: tf.Tensor) -> tf.Tensor:
    """inputsᵀ few, [D, h], of [n, D] and a [n, h] of which few entries are not zero.

    In compressed rows of `few` transposed: for each unit one, which sums some of the inputs.
    """
    by_unit = tf.transpose(few)
    rows = tf.raw_ops.DenseToCSRSparseMatrix(dense_input=by_unit, indices=tf.where(by_unit != 0))
    return tf.raw_ops.SparseMatrixMatMul(a=rows, b=inputs, transpose_output=True)


def _sum_rows(kernel: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Sums the rows of `kernel` [τ, h] that `ids` [..., T] name: [..., h]."""
    flat = tf.reshape(ids, [-1, tf.shape(ids)[-1]])
    if _FOR_XLA.get():
        sums = _summed_padded(*kernel.shape, kernel.dtype)(kernel, flat)
    else:
        places = tf.where(flat != PADDING)  # [nnz, 2]
        lists = tf.cast(places[:, 0], tf.int32)
        summed = _summed(*kernel.shape, kernel.dtype)
        sums = summed(kernel, tf.gather_nd(flat, places), lists, tf.shape(flat)[0])
    return tf.reshape(sums, tf.concat([tf.shape(ids)[:-1], [kernel.shape[1]]], axis=0))


# TensorFlow keeps for ever what a custom gradient was traced in, so it is not traced anew for
# every model.
@functools.cache
def _summed(
    num_tags: int, units: int, dtype: tf.DType
) -> tf.types.experimental.PolymorphicFunction:
    """Makes the `_segment_sum` for a kernel of this shape."""
    numbers = tf.TensorSpec([None], tf.int32)
    signature = [tf.TensorSpec([num_tags, units], dtype), numbers, numbers]
    return tf.function(_segment_sum, input_signature=[*signature, tf.TensorSpec([], tf.int32)])


@tf.custom_gradient
def _segment_sum(
    kernel: tf.Tensor, ids: tf.Tensor, lists: tf.Tensor, count: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Row l of the result sums the rows `ids` [nnz] of the kernel where `lists` [nnz] is l.

    The gradient is the same sum the other way round, of the lists that have a tag.
    TensorFlow's own goes through the places in the order of the lists, and so writes
    all over the kernel.
    """

    def gradient(d_sums: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        by_id = tf.argsort(ids, stable=True)
        d_kernel = tf.sparse.segment_sum(
            d_sums, tf.gather(lists, by_id), tf.gather(ids, by_id), num_segments=kernel.shape[0]
        )
        return d_kernel, None, None, None

    return tf.sparse.segment_sum(kernel, ids, lists, num_segments=count), gradient


@functools.cache
def _summed_padded(
    num_tags: int, units: int, dtype: tf.DType
) -> tf.types.experimental.PolymorphicFunction:
    """Makes the `_padded_sum` for a kernel of this shape."""
    signature = [tf.TensorSpec([num_tags, units], dtype), tf.TensorSpec([None, None], tf.int32)]
    return tf.function(_padded_sum, input_signature=signature)


@tf.custom_gradient
def _padded_sum(kernel: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Row l of the result sums the rows of the kernel that `ids` [l, T] names, padding aside.

    Nothing has a size that depends on the ids, so XLA compiles it, and stores no gathered row.
    """
    listed = tf.cast(ids != PADDING, kernel.dtype)[..., None]
    rows = tf.gather(kernel, tf.maximum(ids, 0))  # [l, T, h]

    def gradient(d_sums: tf.Tensor) -> tuple[tf.Tensor, None]:
        d_rows = tf.repeat(d_sums, tf.shape(ids)[1], axis=0)  # [l T, h]
        # A negative number is of no segment.
        return tf.math.unsorted_segment_sum(d_rows, tf.reshape(ids, [-1]), kernel.shape[0]), None

    return tf.reduce_sum(listed * rows, axis=1), gradient


@keras.saving.register_keras_serializable("tagnet")
class MaxOverNeighbours(keras.layers.Layer):
    """max over m neighbours; its mean over all m-subsets where more than m are given.

    Called on [B, K, h], K ≥ m, it gives [B, h]. With K = m this is the max-pool of
    eqs. 11 and 16. With K > m it is the average of the max-pool over all C(K, m)
    subsets (eq. 2), exactly: with a unit's K activations sorted,
    a_(1) ≥ a_(2) ≥ …, the k-th is the subset's maximum in C(K − k, m − 1) of them.
    As every layer after it is linear, the scores are then those of eq. 2.

    A K that is known when the graph is traced is sorted by a network, any other by
    `top_k`, ten times as slowly.

    Args:
        m: the size of a neighbourhood.
    """

    def __init__(self, m: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.m = m

    def call(self, activations: tf.Tensor) -> tf.Tensor:
        """Pools [B, K, h] to [B, h]."""
        if activations.shape[1] == self.m:
            return ops.max(activations, axis=1)
        if activations.shape[1] is not None and activations.shape[1] <= MAX_NETWORK:
            return mean_subset_max(tf.unstack(activations, axis=1), self.m)
        by_unit = tf.transpose(activations, [0, 2, 1])  # [B, h, K]
        ranked = tf.math.top_k(by_unit, tf.shape(by_unit)[-1]).values
        weights = subset_max_weights(tf.shape(by_unit)[-1], self.m)
        return tf.linalg.matvec(ranked, tf.cast(weights, ranked.dtype))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """[B, h]."""
        return (input_shape[0], input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {**super().get_config(), "m": self.m}


def mean_subset_max(columns: Sequence[tf.Tensor], m: int) -> tf.Tensor:
    """The elementwise max of m of K tensors, averaged over all C(K, m) choices of them.

    The columns are sorted by a network of elementwise min and max, which XLA fuses
    into one pass; only the K − m + 1 largest have a weight and are brought in order.

    Args:
        columns: K tensors of one shape, K ≥ m.
        m: the size of a subset.
    """
    ranked = list(columns)
    used = len(ranked) - m + 1
    for high, low in selection_network(len(ranked), used):
        pair = ranked[high], ranked[low]
        ranked[high], ranked[low] = tf.maximum(*pair), tf.minimum(*pair)
    weights = tf.cast(subset_max_weights(len(ranked), m), ranked[0].dtype)
    return tf.add_n([ranked[k] * weights[k] for k in range(used)])


def selection_network(width: int, used: int) -> list[tuple[int, int]]:
    """Comparators that bring the `used` largest of `width` values to the front, in order.

    Batcher's merge exchange (Knuth, volume 3, algorithm 5.2.2 M), without the
    comparators on which none of the first `used` places depends.

    Returns:
        Pairs (i, j), i < j: of the values at these places the larger goes to i.
    """
    network = []
    run = 1 << (width - 1).bit_length() >> 1  # the largest power of two below `width`
    largest = run
    while run:
        distance, offset, reach = run, 0, largest
        while True:
            network += [(i, i + distance) for i in range(width - distance) if i & run == offset]
            if reach == run:
                break
            distance, offset, reach = reach - run, run, reach // 2
        run //= 2
    needed = set(range(used))
    kept = []
    for pair in reversed(network):
        if needed & set(pair):
            kept.append(pair)
            needed |= set(pair)
    return kept[::-1]


def subset_max_weights(given: tf.Tensor | int, m: int) -> tf.Tensor:
    """P(the k-th largest of K is the largest of a random m-subset), k = 1 … K.

    w_k = C(K − k, m − 1) / C(K, m), by the recurrence w_1 = m / K and
    w_{k+1} = w_k (K − k − m + 1) / (K − k), which never leaves [0, 1].

    Args:
        given: K, at least m.
        m: the size of a subset.

    Returns:
        float64 [K], which sums to 1.
    """
    count = tf.cast(given, tf.float64)
    k = tf.range(1, count, dtype=tf.float64)  # 1 … K − 1
    ratios = tf.maximum(count - k - (m - 1), 0) / (count - k)
    return tf.math.cumprod(tf.concat([[m / count], ratios], axis=0))


@keras.saving.register_keras_serializable("tagnet")
class Zip(keras.layers.Layer):
    """Interleaves neighbours' two vectors: v, u [B, K, h] → (v_1, u_1, v_2, …) [B, 2K, h]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Stacks the pairs and lays them end to end."""
        pairs = ops.stack(inputs, axis=2)  # [B, K, 2, h]
        shape = ops.shape(pairs)
        return ops.reshape(pairs, (shape[0], 2 * shape[1], pairs.shape[3]))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """[B, 2K, h]."""
        batch, neighbours, width = input_shape[0]
        return (batch, None if neighbours is None else 2 * neighbours, width)
