"""Φ: an image → a CNN vector (φ_x and φ_z of section 3 of the paper).

A `Backbone` says how a photograph becomes the network's input and builds the
network; `BACKBONES` lists those that have names, `backbone_of` also finds those in files of a
user's own; `extract` runs one over many images.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tagnet.backbones import keras_hub_models, onnx_models
from tagnet.backbones.caffenet import caffenet, prepare_caffenet
from tagnet.backbones.catalogue import KERAS_HUB, KERAS_MODELS, LITE_DIM, LITES, ONNX
from tagnet.backbones.efficientnet import efficientnet_lite, prepare_lite
from tagnet.backbones.keras_models import keras_model, prepare_keras
from tagnet.backbones.onnx_models import OnnxSettings
from tagnet.errors import InputError
from tagnet.photos.images import ImageSource, read_image
from tagnet.system.console import progress

# Prepared images, float32 [B, size, size, 3] → [B, D].
Network: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Backbone:
    """A pretrained CNN and its image preparation.

    Attributes:
        name: its key in `BACKBONES`.
        image_size: height and width of the network's input, in pixels.
        dim: length D of a feature vector.
        build: file of weights, or None → the Keras graph
            [B, image_size, image_size, 3] → [B, D], or another `Network`.
        prepare: RGB image → float32 [image_size, image_size, 3].
        weights: the file of weights; None takes those that the network gets by itself.
        settings: what else Φ depends on where the name does not say it.
    """

    name: str
    image_size: int
    dim: int
    build: Callable[[Path | None], Any]
    prepare: Callable[[Image.Image], np.ndarray]
    weights: Path | None = None
    settings: OnnxSettings | None = None

    @property
    def record(self) -> dict[str, Any] | None:
        """The settings as JSON: what `dataset.json` and a SavedModel say of them."""
        return None if self.settings is None else self.settings.as_json()


# --- From many images to vectors --------------------------------------------------------


def extract(
    backbone: Backbone,
    images: Sequence[ImageSource],
    batch_size: int = 16,
    workers: int = 2,
    on_error: Callable[[int, InputError], None] | None = None,
) -> np.ndarray:
    """Computes the features of `images`, decoding the next batch while the CNN runs.

    Args:
        backbone: one of `BACKBONES`.
        images: N sources, see `images.read_image`.
        batch_size: images that pass through the CNN together.
        workers: threads, each of which takes a batch from its files to its features.
        on_error: called with the position and the error of an image that cannot be
            read, in order; the image then has no row in the result.

    Returns:
        float32 [N, D], in the order of `images`, less those that `on_error` was told of.

    Raises:
        InputError: an image cannot be read and there is no `on_error`; or the
            network's weights cannot be had.
    """
    cnn = network(backbone)

    def one_batch(start: int) -> tuple[np.ndarray, list[tuple[int, InputError]]]:
        inputs, errors = [], []
        for position, image in enumerate(images[start : start + batch_size], start):
            try:
                inputs.append(backbone.prepare(read_image(image)))
            except InputError as error:
                if on_error is None:
                    raise
                errors.append((position, error))
        if not inputs:
            return np.empty((0, backbone.dim), np.float32), errors
        return cnn(np.stack(inputs)), errors

    features = [np.empty((0, backbone.dim), np.float32)]
    starts = range(0, len(images), batch_size)
    with ThreadPoolExecutor(workers) as threads:
        batches = threads.map(one_batch, starts)
        for found, errors in progress(batches, f"Features ({backbone.name})", len(starts)):
            features.append(found)
            for position, error in errors:
                assert on_error is not None  # else the batch would have raised
                on_error(position, error)
    return np.concatenate(features)


@functools.cache  # building takes a second, and an annotator asks for one photo at a time
def network(backbone: Backbone) -> Network:
    """The CNN as one compiled function of prepared images: [B, size, size, 3] → [B, D]."""
    model = backbone.build(backbone.weights)
    if not isinstance(model, keras.Model):
        return model
    size = backbone.image_size
    # Traced here, since the threads that call it first would each trace it.
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
    ).get_concrete_function()
    return lambda images: traced(tf.constant(images)).numpy()


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        *(
            Backbone(
                name,
                lite.size,
                LITE_DIM,
                functools.partial(efficientnet_lite, name),
                functools.partial(prepare_lite, lite.size),
            )
            for name, lite in LITES.items()
        ),
        Backbone("caffenet", 227, 4096, caffenet, prepare_caffenet),
        Backbone(
            "alexnet",
            227,
            4096,
            functools.partial(caffenet, normalise_first=True),
            prepare_caffenet,
        ),
        *(
            Backbone(
                name,
                size,
                dim,
                functools.partial(keras_model, name, size),
                functools.partial(prepare_keras, module, size),
            )
            for name, (module, size, dim) in KERAS_MODELS.items()
        ),
    )
}


def backbone_of(
    name: str, weights: Path | None = None, record: Mapping[str, Any] | None = None
) -> Backbone:
    """The backbone that a model or a data set was made with.

    Args:
        name: a key of `BACKBONES`, or what `--backbone` was.
        weights: the file of its weights, or where its file is now.
        record: `Backbone.record` of then.

    Raises:
        InputError: it cannot be had, or is not the one of then.
    """
    if name in BACKBONES:
        return replace(BACKBONES[name], weights=weights)
    if name.endswith(ONNX) and record is not None:
        return onnx_backbone(onnx_models.recorded(record, weights))
    if name.startswith(KERAS_HUB):
        return _hub_backbone(keras_hub_models.preset_of(name), weights)
    raise InputError(f"backbone {name!r} is not known to this version")


def onnx_backbone(settings: OnnxSettings) -> Backbone:
    """An encoder in an ONNX file.

    Raises:
        InputError: it cannot be run.
    """
    return Backbone(
        settings.file,
        settings.preparation.size,
        onnx_models.dim_of(settings),
        onnx_models.Build(settings),
        settings.preparation,
        Path(settings.file),
        settings,
    )


@functools.cache  # the parts of a new one would not be equal to those of the last
def _hub_backbone(preset: str, weights: Path | None) -> Backbone:
    graph = keras_hub_models.build(preset, weights)
    return Backbone(
        f"{KERAS_HUB}{preset}",
        graph.input_shape[1],
        graph.output_shape[1],
        functools.partial(keras_hub_models.build, preset),
        functools.partial(keras_hub_models.prepare, preset),
    )
