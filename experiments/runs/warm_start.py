"""Begins a training with the weights of a finished run, perhaps of other labels."""

import dataclasses
from pathlib import Path

import keras

from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.models import architectures
from tagnet.serving import export
from tagnet.settings import GraphSettings
from tagnet.system import console


def begin_with(model: keras.Model, run: Path, dataset: PreparedDataset) -> None:
    """Copies weights by the names of the layers, and says which.

    A layer is copied where the run has one of its name and shapes. What depends on the labels or,
    where the model is fed ids, on the vocabulary is only copied if these are the same.

    Args:
        model: of `architectures.build`; it keeps its own weights in the other layers.
        run: a finished run.
        dataset: what the model will be trained on.

    Raises:
        InputError: `run` is no finished run, its features are of another network, or none of its
            layers fits.
    """
    there = export.load(run)
    ours, theirs = dataset.info.get("backbone"), there.settings.backbone
    if ours and theirs and ours != theirs:
        raise InputError(
            f"--from_run={run}: its features must be of the network of {dataset.directory}, "
            f"{ours}; received {theirs}"
        )
    settings: GraphSettings = model.graph_settings
    other = settings
    if tuple(there.settings.labels) != dataset.label_names:
        other = dataclasses.replace(other, num_labels=settings.num_labels + 1)
    if settings.feed == "id" and there.vocabulary.words != dataset.vocabulary.words:
        other = dataclasses.replace(other, tag_dim=settings.tag_dim + 1)
    free = model if other == settings else architectures.build(model.name, other)
    layers = [layer for layer in model.layers if layer.weights]
    sources = {layer.name: layer for layer in there.core.layers}
    kept = [
        layer.name
        for layer in layers
        if layer.name in sources
        and _shapes(layer) == _shapes(sources[layer.name]) == _shapes(free.get_layer(layer.name))
    ]
    if not kept:
        raise InputError(
            f"--from_run={run}: at least one layer must fit {model.name} with {settings.hidden} "
            f"hidden units on {dataset.directory}; received {there.settings.arch} with "
            f"{there.settings.graph.hidden}"
        )
    for name in kept:
        model.get_layer(name).set_weights(sources[name].get_weights())
    new = [layer.name for layer in layers if layer.name not in kept]
    console.say(f"weights from {run}: {', '.join(kept)}; new: {', '.join(new) if new else 'none'}")


def _shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
