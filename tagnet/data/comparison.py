"""The weights by which a kernel path compares images with its references."""

import numpy as np

from tagnet.models.blocks import TINY


def comparison_weights(phi: np.ndarray, tags: np.ndarray) -> dict[str, list[np.ndarray]]:
    """References as the weights of the two layers that compare with them.

    They follow from the references alone, so that a model need not be stored with them.

    Args:
        phi: Φ of the references, [R, D].
        tags: their π, [R, n]; for `id` as binary vectors.

    Returns:
        Under `x` kernel [D, R + 1] and bias [R + 1] of the layer that reads φ, under `u` the
        kernel [n, R] of the one that reads π: the ends of the layers' names, see
        `Blocks.kernel_scores`.
    """
    phi = phi.astype(np.float32)
    root = np.sign(phi) * np.sqrt(np.abs(phi))
    mean = root.mean(axis=0)
    units = _of_length_1(root - mean).T  # [D, R]
    kernel = np.concatenate([units, -2 * mean[:, None]], axis=1)
    bias = np.append(-mean @ units, mean @ mean)
    return {"x": [kernel, bias], "u": [_of_length_1(tags).T]}


def _of_length_1(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, TINY)
