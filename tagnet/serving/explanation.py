"""Splits a score into contributions: the image's features, its tags, each neighbour, a constant.

The scores of a max-pool architecture are linear in the vectors that its last layer joins, and a
pooled vector's units are means of the neighbours' activations, weighted by their ranks
(`layers.MaxOverNeighbours`). So a score splits exactly. An LSTM's does not.

Shapes: B images, M neighbours, D features, L labels, h hidden units.
"""

from collections import Counter

import keras
import tensorflow as tf

from tagnet.models.layers import PADDING, subset_max_weights
from tagnet.models.parts import Parts, Path

Shares = dict[str, tf.Tensor]


class Explanation:
    """Splits the scores of a model.

    Args:
        core: a model of `architectures.build` without an LSTM.
        parts: its parts.
        M: how many neighbours an image has.
        m: the size of a neighbourhood.
    """

    def __init__(self, core: keras.Model, parts: Parts, M: int, m: int) -> None:
        self._core = core
        self._parts = parts
        self._M = M
        self._m = m

    def __call__(self, phi: tf.Tensor, vectors: dict[str, tf.Tensor]) -> Shares:
        """Splits scores.

        Args:
            phi: φ_x, [B, D].
            vectors: the outputs of the layers before the cut, by name.

        Returns:
            `picture` and `tags` [B, L], `neighbour_shares` [B, M, L] and `constant` [L], whose
            sum the scores are.
        """
        count = len(self._parts.paths)  # the scores are the mean of the paths'
        found: dict[str, list[tf.Tensor]] = {}
        for path, times in Counter(self._parts.paths).items():
            split = self._of_hidden if path.joined else self._of_image
            for name, share in split(path, phi, vectors).items():
                found.setdefault(name, []).append(share * (times / count))
        return {name: tf.add_n(shares) for name, shares in found.items()}

    def _of_hidden(self, path: Path, phi: tf.Tensor, vectors: dict[str, tf.Tensor]) -> Shares:
        """Splits the logits of a path that joins hidden vectors."""
        kernel, constant = self._weights(path.layer)
        picture = tags = tf.zeros([tf.shape(phi)[0], kernel.shape[1]])
        neighbours = tf.zeros([tf.shape(phi)[0], self._M, kernel.shape[1]])
        for name, part in zip(path.joined, tf.split(kernel, len(path.joined)), strict=True):
            vector = vectors[name]
            if name in self._parts.neighbour:
                neighbours += tf.einsum("bhm,hl->bml", self._pooled_shares(vector), part)
            else:
                pixels = self._share_of_pixels(name, vector, phi)
                picture += pixels @ part
                tags += (vector - pixels) @ part
        shares = {"picture": picture, "tags": tags, "neighbour_shares": neighbours}
        return shares | {"constant": tf.convert_to_tensor(constant)}

    def _of_image(self, path: Path, phi: tf.Tensor, vectors: dict[str, tf.Tensor]) -> Shares:
        """Splits the logits of a path that reads the image alone: φ's is what no tags leave."""
        _, bias = self._weights(path.layer)
        logits = vectors[path.layer]
        inputs = {t.name: t for t in self._core.inputs if t.name in self._parts.reads[path.layer]}
        layer = keras.Model(inputs, self._core.get_layer(path.layer).output)
        without_tags = layer(
            {n: phi if n == "phi_x" else _no_tags(t, phi) for n, t in inputs.items()}
        )
        return {
            "picture": without_tags - bias,
            "tags": logits - without_tags,
            "neighbour_shares": tf.zeros([tf.shape(phi)[0], self._M, logits.shape[1]]),
            "constant": tf.convert_to_tensor(bias),
        }

    def _weights(self, layer: str) -> list[tf.Variable]:
        return [weight.value for weight in self._core.get_layer(layer).weights]

    def _pooled_shares(self, activations: tf.Tensor) -> tf.Tensor:
        """Each neighbour's contribution to each pooled unit: [B, h, M], whose sum over M is it."""
        reached = self._M - self._m + 1  # ranks with a weight
        weights = tf.cast(subset_max_weights(self._M, self._m)[:reached], tf.float32)
        units = tf.transpose(activations, [0, 2, 1])
        first = tf.math.top_k(units, reached).indices  # of equal ones the first is ahead
        count = tf.size(units)
        places = tf.range(0, count, self._M)[:, None] + tf.reshape(first, [-1, reached])
        spread = tf.broadcast_to(weights, tf.shape(places))
        spread = tf.math.unsorted_segment_sum(spread, places, count)
        return units * tf.reshape(spread, tf.shape(units))

    def _share_of_pixels(self, layer: str, vector: tf.Tensor, phi: tf.Tensor) -> tf.Tensor:
        """The contribution of pixels and bias to a hidden layer's units [B, h], linear above 0."""
        reads = self._parts.reads[layer]
        if reads == ("phi_x",):
            return vector
        if reads == ("pi_x",):
            return tf.zeros_like(vector)
        kernel, bias = self._weights(layer)
        return tf.where(vector > 0, phi @ kernel[: phi.shape[1]] + bias, 0)


def _no_tags(pi_x: keras.KerasTensor, phi: tf.Tensor) -> tf.Tensor:
    """The value of the input `pi_x` for images [B, D] without tags."""
    count = tf.shape(phi)[0]
    if pi_x.dtype == "int32":  # ids
        return tf.fill([count, 1], PADDING)
    return tf.zeros([count, pi_x.shape[1]])
