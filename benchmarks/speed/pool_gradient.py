"""The gradient of W_z below a max-pool: the dense product, and products that use its zeros.

    python -m benchmarks.speed.pool_gradient [--repeats=9]

The max over m neighbours gives each unit's gradient to one neighbour, so that of δ [B m, h] at most
one entry in m is not zero, and half of these where dropout is 0.5. The gradient is φ_zᵀ δ, [D, h].
Timed are the dense product, the one that `layers.NeighbourDense` computes (δ in compressed rows,
conversion included), one with δ as places and values, and a compiled loop over the images (XLA)
that weighs each unit's own neighbour. Before that, all are compared with the dense one. Sizes are
the paper's.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import machine
from tagnet.models.layers import sparse_product
from tagnet.system import console
from tagnet.system.console import option, say

D, H, M, B = 4096, 500, 12, 64
DROPOUT = 0.5

Product = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    repeats: int = option(9, "how often each is timed; the four alternate")


def dense(phi: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """φᵀ δ as plain Keras computes it: φ [B m, D], δ [B m, h] → [D, h]."""
    return tf.matmul(phi, delta, transpose_a=True)


def places_and_values(phi: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """(δᵀ φ)ᵀ with δᵀ [h, B m] as places and values."""
    transposed = tf.sparse.from_dense(tf.transpose(delta))
    return tf.transpose(tf.sparse.sparse_dense_matmul(transposed, phi))


def by_image(phi: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """A sum over images of each unit's own row of φ times its gradient."""
    of_image = tf.reshape(delta, [B, M, H])
    chosen = tf.argmax(tf.abs(of_image), axis=1)  # [B, h]
    values = tf.reduce_sum(of_image, axis=1)  # [B, h]
    vectors = tf.reshape(phi, [B, M, D])
    total = tf.zeros([H, D])
    for image in tf.range(B):
        total += values[image][:, None] * tf.gather(vectors[image], chosen[image])
    return tf.transpose(total)


PRODUCTS: dict[str, Product] = {
    "dense": tf.function(dense),
    "compressed rows": tf.function(sparse_product),
    "places and values": tf.function(places_and_values),
    "by image, XLA": tf.function(by_image, jit_compile=True),
}


def main(options: Options) -> None:
    """Prints the milliseconds of each."""
    phi, delta = example()
    expected = PRODUCTS["dense"](phi, delta).numpy()
    for name, product in PRODUCTS.items():
        np.testing.assert_allclose(product(phi, delta), expected, atol=1e-3, err_msg=name)
    times: dict[str, list[float]] = {name: [] for name in PRODUCTS}
    for _ in range(options.repeats):
        for name, product in PRODUCTS.items():
            start = time.perf_counter()
            product(phi, delta).numpy()
            times[name].append(1000 * (time.perf_counter() - start))
    for name, values in times.items():
        ratios = [one / other for one, other in zip(values, times["dense"], strict=True)]
        say(
            f"{name:18} {statistics.median(values):6.1f} ms ({min(values):.1f} to "
            f"{max(values):.1f}), {statistics.median(ratios):.2f} times the dense product"
        )
    say(f"\n{machine.described('tensorflow', 'numpy')}; median of {options.repeats}")


def example() -> tuple[tf.Tensor, tf.Tensor]:
    """φ_z [B m, D], and δ [B m, h] below a max-pool and dropout."""
    rng = np.random.default_rng(0)
    delta = np.zeros((B, M, H), np.float32)
    kept = (rng.random((B, H)) >= DROPOUT) * rng.normal(size=(B, H))
    np.put_along_axis(delta, rng.integers(M, size=(B, 1, H)), kept[:, None], axis=1)
    phi = rng.normal(size=(B * M, D)).astype(np.float32)
    return tf.constant(phi), tf.constant(delta.reshape(B * M, H))


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
