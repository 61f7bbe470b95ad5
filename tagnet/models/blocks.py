"""The blocks that architectures are built from: inputs, layers and poolings.

Shapes: B images in a batch, K neighbours of each, D features, n the width of π, h hidden units,
L labels; T tag ids, padded with −1.
"""

import keras
from keras import KerasTensor, layers

from tagnet.models.dropout import Dropout
from tagnet.models.layers import MaxOverNeighbours, MultiHotDense, Zip
from tagnet.models.lstm import LinearLSTM
from tagnet.settings import GraphSettings

# Of the linear path of `ltwin_wide`. RMSProp moves every weight about as far in a step, which is
# too little for a path whose weights, one for every tag, must grow to a few units: these factors
# lengthen its steps. Chosen on the validation split of the demo data set.
LINEAR_RATE = 40.0
LINEAR_PIXELS = 2.0  # the length of φ_x beside the binary o_x


class Blocks:
    """The inputs and the blocks of one model; an input is created on first use."""

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

    def fc(self, weights: str, *inputs: KerasTensor) -> KerasTensor:
        """σ(W [inputs] + b), He-normal; over φ_z or π_z the same W for every neighbour."""
        dense = {
            "activation": "relu",
            "kernel_initializer": "he_normal",
            "kernel_regularizer": self._penalty(),
            "name": weights,
        }
        if inputs[-1].dtype == "int32":  # tag ids
            layer = MultiHotDense(self.settings.hidden, self.settings.tag_dim, **dense)
            return layer(inputs[0] if len(inputs) == 1 else list(inputs))
        return layers.Dense(self.settings.hidden, **dense)(_join(inputs))

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

    def linear_scores(self, weights: str) -> KerasTensor:
        """Logits [B, L] of a path without a hidden layer, s (W [p φ_x / ‖φ_x‖; π_x] + b).

        s is `LINEAR_RATE`, p is `LINEAR_PIXELS`; the penalty is on s W.
        """
        settings = self.settings
        phi = layers.UnitNormalization(dtype="float32")(self.phi_x)
        phi = layers.Rescaling(LINEAR_PIXELS, dtype="float32")(phi)
        pi = self.pi_x
        l2 = settings.linear_l2 * LINEAR_RATE**2
        dense = {
            "kernel_initializer": "zeros",
            "kernel_regularizer": keras.regularizers.L2(l2) if l2 else None,
            "dtype": "float32",
            "name": weights,
        }
        if settings.feed == "id":
            layer = MultiHotDense(settings.num_labels, settings.tag_dim, **dense)
            product = layer([phi, pi])
        else:
            product = layers.Dense(settings.num_labels, **dense)(_join((phi, pi)))
        return layers.Rescaling(LINEAR_RATE, dtype="float32")(product)

    def mean(self, *paths: KerasTensor) -> KerasTensor:
        """The mean of several paths' logits [B, L]; in training each has a loss of its own."""
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


def _join(vectors: tuple[KerasTensor, ...]) -> KerasTensor:
    return vectors[0] if len(vectors) == 1 else layers.Concatenate()(vectors)
