"""The bare matrix products of a training step, dense, and nothing else.

A step is faster only where it computes a sparse product instead, see `layers.NeighbourDense`.

For every layer the product forward and the product for the gradient of its weights; the
gradient of its inputs only where something trainable lies below. An LSTM needs the
product of all its inputs at once, one small product a step and its transpose on the way
back, and one product for the gradient of the recurrent weights. As no state comes before
the first step, it has one recurrent product less than it has steps.
"""

import dataclasses
from collections.abc import Callable, Iterator

import tensorflow as tf

from tagnet.settings import GraphSettings


@dataclasses.dataclass(frozen=True)
class Product:
    """`times` products of [rows, inner] and [inner, columns], either stored transposed."""

    rows: int
    inner: int
    columns: int
    transpose_a: bool = False
    transpose_b: bool = False
    times: int = 1


def dense(batch: int, inputs: int, units: int, below: bool = False) -> Iterator[Product]:
    """The products of a dense layer; `below`: with the gradient of its inputs."""
    yield Product(batch, inputs, units)
    yield Product(inputs, batch, units, transpose_a=True)
    if below:
        yield Product(batch, units, inputs, transpose_b=True)


def lstm(batch: int, steps: int, inputs: int, units: int) -> Iterator[Product]:
    """The products of an LSTM over `steps` inputs that are trained."""
    yield from dense(batch * steps, inputs, 4 * units, below=True)
    yield Product(batch, units, 4 * units, times=steps - 1)
    yield Product(batch, 4 * units, units, transpose_b=True, times=steps - 1)
    yield Product(units, batch * (steps - 1), 4 * units, transpose_a=True)


def products(
    arch: str, settings: GraphSettings, batch: int, dense_tags: bool = False
) -> list[Product]:
    """The products of a step of a graph.

    Args:
        arch: its name in `tagnet.models.architectures`.
        settings: its sizes.
        batch: B.
        dense_tags: with the products of multi-hot tags; they are sums of a few rows
            and are left out otherwise. A feed of word vectors is always counted.
    """
    h, m = settings.hidden, settings.m
    labels, dim = settings.num_labels, settings.feature_dim
    n = settings.tag_dim if dense_tags or settings.feed != "id" else 0
    if arch == "v_only":
        return list(dense(batch, dim, labels))
    of: list[Product] = []
    of += dense(batch, dim + n if arch.startswith("ltn_") else dim, h)
    of += dense(batch * m, dim + n if arch == "ltn_allvecs" else dim, h)
    twin = arch.startswith(("ltwin", "lzip"))
    if twin and n:
        of += [*dense(batch, n, h), *dense(batch * m, n, h)]
    if arch == "lzip":
        return of + list(lstm(batch, 2 * (m + 1), h, labels))
    for _ in range({"rtn": 1, "ltwin_rnn": 2, "ltwin_2rnn": 2}.get(arch, 0)):
        of += lstm(batch, m, h, h)
    if arch == "ltwin_2rnn":
        return of + list(lstm(batch, 4, h, labels))
    return of + list(dense(batch, (4 if twin else 2) * h, labels, below=True))


def step(of: list[Product], dtype: tf.DType = tf.float32) -> Callable[[], None]:
    """A function that computes the products once, one after another.

    Args:
        of: what to compute.
        dtype: of the matrices.
    """
    pairs = [
        (
            product,
            tf.cast(
                tf.random.normal(_stored(product.rows, product.inner, product.transpose_a)), dtype
            ),
            tf.cast(
                tf.random.normal(_stored(product.inner, product.columns, product.transpose_b)),
                dtype,
            ),
        )
        for product in of
    ]

    def run() -> None:
        for product, a, b in pairs:
            for _ in range(product.times):
                tf.matmul(a, b, product.transpose_a, product.transpose_b)

    return run


def _stored(rows: int, columns: int, transposed: bool) -> list[int]:
    return [columns, rows] if transposed else [rows, columns]
