"""The image backbones of KerasHub as sources of Φ, each with its preset's own `ImageConverter`.

What of a backbone becomes Φ:

- the image's embedding, where text is embedded beside it (CLIP, MetaCLIP, SigLIP),
- the class token of a vision transformer that has one (ViT, DeiT, DINOv2, DINOv3),
- else the mean of its tokens, or of its last feature map (ConvNeXt, ResNet, …).

A graph is float32 whatever the precision policy of the run: features must not depend on it.
"""

import functools
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from tagnet.backbones.catalogue import KERAS_HUB
from tagnet.errors import InputError, reason_of
from tagnet.models.plain import plain_keras

WITH_CLASS_TOKEN = ("ViTBackbone", "DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone")


def preset_of(name: str) -> str:
    """What KerasHub calls it: a folder becomes an absolute path, so that it is found again.

    Args:
        name: `keras_hub:` and a preset's name, a handle such as `kaggle://…`, or a folder.

    Raises:
        InputError: nothing is named.
    """
    preset = name.removeprefix(KERAS_HUB)
    if not preset:
        raise InputError(f"--backbone={KERAS_HUB} must go on with a preset's name or folder")
    return str(Path(preset).absolute()) if Path(preset).is_dir() else preset


@functools.cache
def opened(preset: str) -> tuple[keras.Model, Any]:
    """Opens a preset: the graph [B, size, size, 3] → [B, D], and its `ImageConverter`.

    Raises:
        InputError: KerasHub is not installed, the preset cannot be had, or its backbone does
            not take square images alone.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"--backbone={KERAS_HUB}{preset}: needs KerasHub; run `pip install 'tagnet[keras_hub]'`"
        ) from error
    with plain_keras():
        try:
            backbone = keras_hub.models.Backbone.from_preset(preset, dtype="float32")
            converter = keras_hub.layers.ImageConverter.from_preset(preset, dtype="float32")
        except Exception as error:  # of KerasHub, Kaggle, Hugging Face, or of their connections
            raise InputError(_refusal(preset, error)) from error
        size = converter.image_size
        if size is None or size[0] != size[1]:
            raise InputError(
                f"{KERAS_HUB}{preset}: its ImageConverter must give square images; received {size}"
            )
        inputs = keras.Input((*size, 3), dtype="float32")
        try:
            phi = _pooled(backbone, inputs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{KERAS_HUB}{preset}: {type(backbone).__name__} must give features of images "
                f"alone ({_reason(error)})"
            ) from error
        return keras.Model(inputs, phi, name="keras_hub"), converter


def _refusal(preset: str, error: Exception) -> str:
    reason = _reason(error)
    if Path(preset).is_dir():
        return f"{preset}: must be a preset of a KerasHub image backbone ({reason})"
    return (
        f"{KERAS_HUB}{preset}: cannot be had ({reason}); where there is no connection, download "
        f"the preset elsewhere and give its folder, --backbone={KERAS_HUB}FOLDER, or point "
        "KAGGLEHUB_CACHE (HF_HOME for hf://) at a cache that holds it"
    )


def _reason(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", reason_of(error))[:300]  # Keras prints some words bold


def _pooled(backbone: Any, inputs: keras.KerasTensor) -> keras.KerasTensor:
    if hasattr(backbone, "get_vision_embeddings"):
        found = backbone.get_vision_embeddings(inputs)
    else:
        named = isinstance(backbone.input, dict)
        found = backbone({"images": inputs} if named else inputs)
    kind = type(backbone).__name__
    if len(found.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(data_format="channels_last")(found)
    if len(found.shape) == 3:
        if kind in WITH_CLASS_TOKEN and getattr(backbone, "use_class_token", True):
            return found[:, 0]
        return keras.layers.GlobalAveragePooling1D(data_format="channels_last")(found)
    if len(found.shape) != 2:
        raise ValueError(f"its output is {found.shape}")
    return found


def build(preset: str, weights: Path | None = None) -> keras.Model:
    """The graph of a preset; its weights are its own.

    Raises:
        InputError: see `opened`; or other weights are given.
    """
    if weights is not None:
        raise InputError(
            f"--weights must not be given with --backbone={KERAS_HUB}…, which has its own; "
            f"received {weights}"
        )
    return opened(preset)[0]


def prepare(preset: str, image: Image.Image) -> np.ndarray:
    """What the preset's `ImageConverter` makes of an RGB image: float32 [size, size, 3]."""
    _, converter = opened(preset)
    pixels = np.asarray(image, np.float32)
    return np.asarray(keras.ops.convert_to_numpy(converter(pixels[None]))[0], np.float32)
