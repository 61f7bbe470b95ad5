"""The graph of a model in Keras' own layers, which opens wherever Keras does, without tagnet.

Layers keep the paper's names (`W_x`, `W_z`, …) and weights. Tags come in as vectors whatever the
encoding: for `id` the binary o of eq. 4, [B, τ] and [B, K, τ], in place of lists of ids. The
number of neighbours K stays free: m for f of the equations, and a max-pool graph answers more
than m with the average over all m-subsets (eq. 2).
"""

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import keras
from keras import KerasTensor, layers, ops

from tagnet.models.architectures import ARCHITECTURES
from tagnet.models.blocks import Blocks
from tagnet.models.parts import is_order_sensitive
from tagnet.models.plain import plain_keras
from tagnet.serving.model import ServingModel
from tagnet.settings import GraphSettings
from tagnet.system.files import Check, atomic_write

KERAS_FILE, WEIGHTS_FILE = "model.keras", "weights.h5"  # of a run directory


class KerasBlocks(Blocks):
    """The blocks, of layers that Keras itself has."""

    neighbour_dense = layers.Dense

    def max(self, neighbours: KerasTensor) -> KerasTensor:
        """As `MaxOverNeighbours` on neighbours [B, K, h]: [B, h].

        Its weights w_k = C(K − k, m − 1) / C(K, m), from operations whose shapes Keras can infer.
        """
        ones = ops.ones_like(neighbours)
        count, rank = ops.sum(ones, axis=1, keepdims=True), ops.cumsum(ones, axis=1)  # K, k
        m = ops.minimum(count, self.settings.m)
        factors = ops.maximum(count - rank - m + 2, 0) / (count - rank + 1)
        weights = ops.cumprod(factors, axis=1) * m / (count - m + 1)
        ranked = ops.flip(ops.sort(neighbours, axis=1), axis=1)
        return ops.sum(ranked * weights, axis=1)

    def drop(self, vector: KerasTensor) -> KerasTensor:
        """Dropout."""
        return layers.Dropout(self.settings.dropout)(vector)

    def zip(self, first: KerasTensor, *neighbours: KerasTensor) -> KerasTensor:
        """The steps `first` [B, s, h], then each neighbour's vectors in turn: [B, s + 2K, h]."""
        pairs = ops.stack(neighbours, axis=2)  # [B, K, 2, h]
        steps = layers.Reshape((-1, pairs.shape[3]))(pairs)
        return layers.Concatenate(axis=1)([first, steps])

    def _lstm(self, units: int, weights: str, dtype: str | None = None) -> keras.Layer:
        return layers.LSTM(
            units,
            activation="linear",
            kernel_regularizer=self._penalty(),
            recurrent_regularizer=self._penalty(),
            dtype=dtype,
            name=weights,
        )


def vector_fed(settings: GraphSettings) -> GraphSettings:
    """The same sizes for a graph whose tags are vectors: binary ones are fed as any others."""
    return dataclasses.replace(settings, feed="w2v") if settings.feed == "id" else settings


def portable_model(core: keras.Model, blocks: type[Blocks] = KerasBlocks) -> keras.Model:
    """Builds the graph again, in float32, with a copy of its weights.

    Args:
        core: of `architectures.build`.
        blocks: what it is built from.

    Returns:
        A functional model from vectors, by name among `phi_x` [B, D], `phi_z` [B, K, D],
        `pi_x` [B, n] and `pi_z` [B, K, n], to the logits [B, L].
    """
    with plain_keras():
        made = blocks(vector_fed(core.graph_settings))
        scores = ARCHITECTURES[core.name](made)
        model = keras.Model(made.inputs, scores, name=core.name)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(core.get_layer(layer.name).get_weights())
    return model


def write_keras(core: keras.Model, path: Path, check: Check | None = None) -> None:
    """Writes the portable graph as `.keras`, which `keras.saving.load_model` opens.

    Args:
        core: of `architectures.build`.
        path: the file, whose name must end in `.keras`.
        check: see `files.atomic_write`.
    """
    model = portable_model(core)
    with atomic_write(path, check) as temporary:
        model.save(temporary)


def write_weights(core: keras.Model, path: Path, check: Check | None = None) -> None:
    """Writes the weights as HDF5, one data set for each under its layer's name.

    `W_x/kernel` [n, h] and `W_x/bias` [h]; for an LSTM also `W_RNN/recurrent_kernel` [h, 4h], its
    columns in Keras' order: input, forget, candidate, output.

    Args:
        core: of `architectures.build`.
        path: the file.
        check: see `files.atomic_write`.
    """
    with atomic_write(path, check) as temporary, h5py.File(temporary, "w") as file:
        for layer in core.layers:
            for weight in layer.weights:
                file[f"{layer.name}/{weight.name}"] = weight.numpy()


def neighbours_given(deployment: ServingModel) -> int:
    """K of a graph whose number of neighbours is fixed.

    M where it is the mean over all m-subsets, so that scores are those of `annotate`; m where an
    LSTM reads them in turn.
    """
    m = deployment.settings.graph.m
    return m if is_order_sensitive(deployment.core) else deployment.M


def card(deployment: ServingModel) -> dict[str, Any]:
    """What a program needs beside the graph, for JSON.

    Returns:
        `arch`; `backbone`, whose features φ are; `feed`, the encoding of the tags; `neighbours`,
        the encoding by which neighbours are found; `m`; `max_rank`; `slope` and `offset`, of each
        label's probability sigmoid(slope · score + offset); `labels` in the order of the scores;
        and `tags` in the order of the binary vector, where tags are fed as one.
    """
    settings = deployment.settings
    feed = settings.graph.feed
    return {
        "arch": settings.arch,
        "backbone": settings.backbone,
        "feed": feed,
        "neighbours": settings.neighbours if deployment.reads_neighbours else None,
        "m": settings.graph.m,
        "max_rank": settings.max_rank,
        **{name: line.tolist() for name, line in deployment.lines._asdict().items()},
        "labels": list(settings.labels),
        "tags": list(deployment.vocabulary.words) if feed == "id" else None,
    }
