"""The blocks that architectures are built from: inputs, layers and poolings.

Shapes: B images in a batch, K neighbours of each, D features, n the width of π, h hidden units,
L labels; T tag ids, padded with −1.
"""

from typing import Any

import keras
from keras import KerasTensor, layers

from tagnet.models.dropout import Dropout
from tagnet.models.layers import PADDING, MaxOverNeighbours, MultiHotDense, NeighbourDense, Zip
from tagnet.models.lstm import LinearLSTM
from tagnet.settings import GraphSettings

# Of the kernel path: how alike two images are is PIXEL_SHARE · exp(−‖a − b‖²) of their features and
# TAG_SHARE · the cosine of their tags. Chosen on the validation splits of the demo data set and
# of MIRFLICKR.
PIXEL_SHARE = 8.0
TAG_SHARE = 3.0
LENGTH = 20.0  # of φ after `unit_root`, about that of EfficientNet's; chosen there, too
TINY = 1e-12


class Blocks:
    """The inputs and the blocks of one model; an input is created on first use."""

    neighbour_dense: type[layers.Dense] = NeighbourDense

    def __init__(self, settings: GraphSettings) -> None:
        self.settings = settings
        self.inputs: dict[str, KerasTensor] = {}

    @property
    def phi_x(self) -> KerasTensor:
        """φ_x [B, D]."""
        return self._input("phi_x", (self.settings.feature_dim,))

    @property
    def phi_z(self) -> KerasTensor:
        """φ_z [B, K, D]."""
        return self._input("phi_z", (None, self.settings.feature_dim))

    @property
    def pi_x(self) -> KerasTensor:
        """π_x [B, n]; for `id` the tags' ids, [B, T] padded with −1."""
        return self._tags("pi_x")

    @property
    def pi_z(self) -> KerasTensor:
        """π_z [B, K, n]; for `id` the tags' ids, [B, K, T] padded with −1."""
        return self._tags("pi_z", None)

    def unit_root(self, phi: KerasTensor) -> KerasTensor:
        """Signed square roots of φ [..., D], brought to the length 20.

        Large activations count less and all images alike; zeros stay zeros.
        """
        squared = keras.ops.sum(keras.ops.abs(phi), axis=-1, keepdims=True)
        return _root(phi) * (LENGTH / keras.ops.sqrt(keras.ops.maximum(squared, TINY)))

    def fc(self, weights: str, *inputs: KerasTensor) -> KerasTensor:
        """σ(W [inputs] + b), He-normal; over φ_z or π_z the same W for every neighbour."""
        dense: dict[str, Any] = {
            "activation": "relu",
            "kernel_initializer": "he_normal",
            "kernel_regularizer": self._penalty(),
            "name": weights,
        }
        if inputs[-1].dtype == "int32":  # tag ids
            layer = MultiHotDense(self.settings.hidden, self.settings.tag_dim, **dense)
            return layer(inputs[0] if len(inputs) == 1 else list(inputs))
        joined = _join(inputs)
        wide = joined.shape[-1] > self.settings.hidden  # narrow products gain nothing
        kind = self.neighbour_dense if len(joined.shape) == 3 and wide else layers.Dense
        return kind(self.settings.hidden, **dense)(joined)

    def max(self, neighbours: KerasTensor) -> KerasTensor:
        """Max over i of neighbours [B, K, h]: [B, h]."""
        return MaxOverNeighbours(self.settings.m)(neighbours)

    def rnn(self, weights: str, steps: KerasTensor) -> KerasTensor:
        """RNN(steps [B, K, h]; weights): the last state of a linear LSTM, [B, h]."""
        return self._lstm(self.settings.hidden, weights)(steps)

    def drop(self, vector: KerasTensor) -> KerasTensor:
        """Dropout."""
        return Dropout(self.settings.dropout)(vector)

    def scores(self, weights: str, *vectors: KerasTensor) -> KerasTensor:
        """W [vectors] + b: the logits [B, L], in float32 whatever the policy."""
        layer = layers.Dense(
            self.settings.num_labels,
            kernel_initializer="he_normal",
            kernel_regularizer=self._penalty(),
            dtype="float32",
            name=weights,
        )
        return layer(_join(vectors))

    def kernel_scores(self, weights: str) -> KerasTensor:
        """Logits [B, L] of kernel logistic regression on R labelled reference images.

        W κ + b, where κ [B, R] is how alike the image is to each reference: p exp(−‖a − a_r‖²)
        + t cos(π_x, π_r), with p `PIXEL_SHARE`, t `TAG_SHARE`, and a = (√φ_x − μ) / ‖√φ_x − μ‖.
        `training.references` fits these weights at once; no step of the optimizer changes them.
        """
        root = _root(self.phi_x)
        # The last column is ‖μ‖² − 2 √φ_x · μ, the others are (√φ_x − μ) · a_r.
        products = self._fixed(self.settings.references + 1, f"{weights}x")(root)
        squared = keras.ops.sum(keras.ops.abs(self.phi_x), axis=1, keepdims=True) + products[:, -1:]
        cosine = products[:, :-1] / keras.ops.sqrt(keras.ops.maximum(squared, TINY))
        pixels = keras.ops.exp(2 * (keras.ops.clip(cosine, -1, 1) - 1))
        alike = PIXEL_SHARE * pixels + TAG_SHARE * self._tag_cosines(f"{weights}u")
        return self._fixed(self.settings.num_labels, weights)(alike)

    def _tag_cosines(self, weights: str) -> KerasTensor:
        """The cosines of π_x and the references' tags, [B, R]; 0 for an image without tags."""
        settings = self.settings
        if settings.feed != "id":
            squared = keras.ops.sum(keras.ops.square(self.pi_x), axis=1, keepdims=True)
            unit = self.pi_x / keras.ops.sqrt(keras.ops.maximum(squared, TINY))
            return self._fixed(settings.references, weights, use_bias=False)(unit)
        layer = MultiHotDense(
            settings.references,
            settings.tag_dim,
            kernel_initializer="zeros",
            use_bias=False,
            trainable=False,
            dtype="float32",
            name=weights,
        )
        listed = keras.ops.cast(keras.ops.not_equal(self.pi_x, PADDING), "float32")
        count = keras.ops.sum(listed, axis=1, keepdims=True)
        return layer(self.pi_x) / keras.ops.sqrt(keras.ops.maximum(count, 1))

    def _fixed(self, units: int, weights: str, use_bias: bool = True) -> layers.Dense:
        """A dense layer that training does not change."""
        return layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer="zeros",
            trainable=False,
            dtype="float32",
            name=weights,
        )

    def mean(self, *paths: KerasTensor) -> KerasTensor:
        """The mean of several paths' logits [B, L]; each learns by a loss of its own."""
        return layers.Average(dtype="float32")(list(paths))

    def stack(self, *vectors: KerasTensor) -> KerasTensor:
        """Vectors [B, h] as the steps of an RNN: [B, steps, h]."""
        return keras.ops.stack(vectors, axis=1)

    def zip(self, first: KerasTensor, *neighbours: KerasTensor) -> KerasTensor:
        """The steps `first` [B, s, h], then each neighbour's vectors in turn: [B, s + 2K, h]."""
        return layers.Concatenate(axis=1)([first, Zip()(list(neighbours))])

    def rnn_scores(self, weights: str, steps: KerasTensor) -> KerasTensor:
        """RNN(steps; weights) with L units: its last output is the logits [B, L], in float32."""
        return self._lstm(self.settings.num_labels, weights, dtype="float32")(steps)

    def _lstm(self, units: int, weights: str, dtype: str | None = None) -> LinearLSTM:
        return LinearLSTM(
            units,
            kernel_regularizer=self._penalty(),
            recurrent_regularizer=self._penalty(),
            dtype=dtype,
            name=weights,
        )

    def _penalty(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.settings.l2) if self.settings.l2 else None

    def _tags(self, name: str, *axes: int | None) -> KerasTensor:
        if self.settings.feed == "id":
            return self._input(name, (*axes, None), "int32")
        return self._input(name, (*axes, self.settings.tag_dim))

    def _input(
        self, name: str, shape: tuple[int | None, ...], dtype: str = "float32"
    ) -> KerasTensor:
        if name not in self.inputs:
            self.inputs[name] = keras.Input(shape, name=name, dtype=dtype)
        return self.inputs[name]


def _root(phi: KerasTensor) -> KerasTensor:
    """Signed square roots."""
    return keras.ops.sign(phi) * keras.ops.sqrt(keras.ops.abs(phi))


def _join(vectors: tuple[KerasTensor, ...]) -> KerasTensor:
    return vectors[0] if len(vectors) == 1 else layers.Concatenate()(vectors)
