"""The models of `keras.applications` as sources of Φ, each with its own preprocessing.

A graph is float32 whatever the precision policy of the run: features must not depend on it.
"""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tagnet.backbones.efficientnet import central_square
from tagnet.errors import InputError, reason_of
from tagnet.models.plain import plain_keras


def keras_model(name: str, size: int, weights: Path | None) -> keras.Model:
    """Builds a model of `keras.applications` up to the mean over its last feature map.

    VGG16 and VGG19 go up to `fc2`, fc7 of Simonyan and Zisserman (2015).

    Args:
        name: as Keras spells it.
        size: height and width of its images.
        weights: a weight file of Keras for this model, without the top but for VGG;
            None downloads those of ImageNet.

    Returns:
        A graph [B, size, size, 3] → [B, D].

    Raises:
        InputError: the weights cannot be downloaded, or are not of this model.
    """
    if weights is not None and not weights.is_file():
        raise InputError(f"{weights}: cannot be read (No such file)")
    vgg = name.startswith("VGG")
    try:
        with plain_keras():
            model = getattr(keras.applications, name)(
                include_top=vgg,
                weights="imagenet" if weights is None else str(weights),
                input_shape=(size, size, 3),
                pooling=None if vgg else "avg",
            )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = reason_of(error)
        if weights is None:
            raise InputError(
                f"{name}: the weights cannot be downloaded ({reason}); "
                "download them elsewhere and pass --weights=FILE"
            ) from error
        raise InputError(f"{weights}: not a weight file of {name} ({reason})") from error
    return keras.Model(model.inputs, model.get_layer("fc2").output) if vgg else model


def prepare_keras(module: str, size: int, image: Image.Image) -> np.ndarray:
    """The central square after the `preprocess_input` of a module of `keras.applications`.

    Args:
        module: its name.
        size: height and width of the model's images.
        image: RGB, of any size.

    Returns:
        float32 [size, size, 3].
    """
    return getattr(keras.applications, module).preprocess_input(
        central_square(image, size), data_format="channels_last"
    )
