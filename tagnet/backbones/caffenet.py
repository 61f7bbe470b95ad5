"""CaffeNet and AlexNet up to fc7, the paper's Φ, with Caffe's weights.

A graph is float32 whatever the precision policy of the run: features must not depend on it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tagnet.backbones.weights import read_caffe_weights
from tagnet.errors import InputError

_CAFFE_SIZE = 227
_CAFFE_MEAN = np.array([104.00699, 116.66877, 122.67892], np.float32)  # BGR, of ImageNet
# Layer: stride, groups, whether a pooling follows, whether a normalisation goes with it.
_CAFFE_CONVOLUTIONS = {
    "conv1": (4, 1, True, True),
    "conv2": (1, 2, True, True),
    "conv3": (1, 1, False, False),
    "conv4": (1, 2, False, False),
    "conv5": (1, 2, True, False),
}
CAFFE_SHAPES = {
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
    "conv4": (3, 3, 192, 384),
    "conv5": (3, 3, 192, 256),
    "fc6": (9216, 4096),
    "fc7": (4096, 4096),
}

Layers: TypeAlias = Mapping[str, tuple[np.ndarray, np.ndarray]]  # (kernel, bias) by layer


def caffenet(weights: Path | None, normalise_first: bool = False) -> keras.Model:
    """Builds Caffe's reference network up to fc7, after its ReLU, as the paper uses it.

    Args:
        weights: `.caffemodel` or `.npz`, see `read_caffe_weights`.
        normalise_first: AlexNet of Krizhevsky et al. (2012) normalises before it
            pools; CaffeNet pools first. All else is the same.

    Returns:
        A graph [B, 227, 227, 3] → [B, 4096].

    Raises:
        InputError: there is no file, or it is not of this network.
    """
    if weights is None:
        raise InputError(
            "caffenet and alexnet need --weights=FILE: the published weights as .caffemodel or .npz"
        )
    layers = keras_layout(read_caffe_weights(weights), weights)
    return alexnet_graph(layers, normalise_first)


def keras_layout(
    stored: Layers, where: str | Path, shapes: Mapping[str, tuple[int, ...]] = CAFFE_SHAPES
) -> Layers:
    """Turns stored weights into the layout of Keras.

    Caffe stores kernels as [C', C, k, k], and fc6 reads its input channel by channel;
    converters store [k, k, C, C'] and turn fc6 with it. The kernel of conv1, of which
    two equal sides lie either first or last, tells which a file has.

    Args:
        stored: what `read_caffe_weights` gives; layers of other names are left alone.
        where: what an error line calls it.
        shapes: of each layer's weights in the layout of Keras.

    Raises:
        InputError: a layer is missing or of another shape.
    """
    if missing := [name for name in shapes if name not in stored]:
        found = ", ".join(stored) or "none"
        raise InputError(f"{where}: has no layer {missing[0]}; received {found}")
    caffe = stored["conv1"][0].shape == shapes["conv1"][::-1]
    layers = {}
    for name, shape in shapes.items():
        kernel, bias = stored[name]
        expected = shape[::-1] if caffe else shape
        if kernel.shape != expected or bias.shape != shape[-1:]:
            raise InputError(
                f"{where}: {name} must have weights {list(expected)} and biases "
                f"{list(shape[-1:])}; received {list(kernel.shape)} and {list(bias.shape)}"
            )
        if caffe and name == "fc6":
            channels = shapes["conv5"][-1]
            side = math.isqrt(shape[0] // channels)
            kernel = kernel.reshape(-1, channels, side, side).transpose(2, 3, 1, 0)
            kernel = kernel.reshape(shape)
        elif caffe:
            kernel = kernel.T if kernel.ndim == 2 else kernel.transpose(2, 3, 1, 0)
        layers[name] = kernel, bias
    return layers


def alexnet_graph(layers: Layers, normalise_first: bool) -> keras.Model:
    """Builds the layers of AlexNet (Krizhevsky et al. 2012, section 3.5) in Caffe's arithmetic.

    Args:
        layers: kernels and biases in the layout of Keras; they give the widths.
        normalise_first: whether local normalisation comes before pooling.

    Returns:
        A graph [B, 227, 227, 3] → [B, width of fc7], after the ReLU.
    """
    inputs = x = keras.Input((_CAFFE_SIZE, _CAFFE_SIZE, 3), dtype="float32")
    relu: dict[str, Any] = {"activation": "relu", "dtype": "float32"}
    for name, (stride, groups, pooled, normalised) in _CAFFE_CONVOLUTIONS.items():
        kernel, bias = layers[name]
        padding = "valid" if stride > 1 else "same"
        layer = keras.layers.Conv2D(
            len(bias),
            len(kernel),
            stride,
            padding,
            "channels_last",
            groups=groups,
            name=name,
            **relu,
        )
        x = layer(x)
        layer.set_weights([kernel, bias])
        if normalised and normalise_first:
            x = LocalNormalisation(dtype="float32")(x)
        if pooled:
            x = keras.layers.MaxPooling2D(3, 2, data_format="channels_last", dtype="float32")(x)
        if normalised and not normalise_first:
            x = LocalNormalisation(dtype="float32")(x)
    x = keras.layers.Flatten("channels_last", dtype="float32")(x)  # [B, 6 * 6 * 256]
    for name in ("fc6", "fc7"):
        kernel, bias = layers[name]
        layer = keras.layers.Dense(len(bias), name=name, **relu)
        x = layer(x)
        layer.set_weights([kernel, bias])
    return keras.Model(inputs, x, name="alexnet" if normalise_first else "caffenet")


class LocalNormalisation(keras.layers.Layer):
    """x / (1 + 1e-4 / 5 · Σ of x² over 5 channels) ^ .75: Caffe's LRN, which divides α by n."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises [B, H, W, C] across the channels."""
        return tf.nn.local_response_normalization(
            inputs, depth_radius=2, bias=1, alpha=1e-4 / 5, beta=0.75
        )


def prepare_caffenet(image: Image.Image) -> np.ndarray:
    """The central 227 of 256 pixels, the image squeezed to a square as Caffe's tools do; BGR.

    Args:
        image: RGB, of any size.

    Returns:
        float32 [227, 227, 3], less the mean colour of ImageNet.
    """
    square = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR), np.float32)
    first = (256 - _CAFFE_SIZE) // 2
    pixels = square[first : first + _CAFFE_SIZE, first : first + _CAFFE_SIZE]
    return pixels[..., ::-1] - _CAFFE_MEAN
