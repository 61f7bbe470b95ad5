"""Φ: an image → a CNN vector (φ_x and φ_z of section 3 of the paper).

A `Backbone` says how a photograph becomes the network's input and builds the
network; `BACKBONES` lists those that exist; `extract` runs one over many images.
"""

import functools
import io
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tagnet.backbones.caffenet import caffenet, prepare_caffenet
from tagnet.backbones.catalogue import KERAS_MODELS
from tagnet.backbones.efficientnet import efficientnet_lite0, prepare_lite0
from tagnet.backbones.keras_models import keras_model, prepare_keras
from tagnet.errors import InputError
from tagnet.system.console import progress

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""An image: a file's path, a file's bytes, a PIL image, or a uint8 array [height, width, 3]."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained CNN and the preparation that its images need.

    Attributes:
        name: its key in `BACKBONES`.
        image_size: height and width of the network's input, in pixels.
        dim: length D of a feature vector.
        build: file of weights, or None → the Keras graph
            [B, image_size, image_size, 3] → [B, D].
        prepare: RGB image → float32 [image_size, image_size, 3].
        weights: the file of weights; None takes those that the network gets by itself.
    """

    name: str
    image_size: int
    dim: int
    build: Callable[[Path | None], keras.Model]
    prepare: Callable[[Image.Image], np.ndarray]
    weights: Path | None = None


# --- From a source to RGB ---------------------------------------------------------------

try:
    import pillow_heif
except ImportError:
    _HEIF = False
else:
    _HEIF = True
    pillow_heif.register_heif_opener()
# PostScript and the rarer formats are left out: some of Pillow's readers start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(["HEIF"] if _HEIF else []))
_READ = ", ".join(FORMATS) + ("" if _HEIF else "; HEIC with the package pillow-heif")
_OPENING = threading.Lock()


def read_image(source: ImageSource, reduced_to: int | None = None) -> Image.Image:
    """Reads an image as it is meant to be seen: upright, RGB, transparency over white.

    Args:
        source: path, file contents, PIL image of any mode, or uint8 array [height, width, 3].
            Of several frames the first counts; 16-bit grey is scaled to 8 bits.
        reduced_to: a JPEG's file is decoded to a half, a quarter or an eighth of its size
            where both sides keep so many pixels, which is quicker.

    Returns:
        An RGB image, turned as its EXIF orientation says.

    Raises:
        InputError: it is missing, empty, cut off, of another format, or has more
            pixels than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`).
        MemoryError: there is too little memory to decode it.
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
    return _decoded(lambda: _opened(contents, reduced_to), what)


def _opened(contents: bytes, reduced_to: int | None) -> Image.Image:
    # Filters of warnings belong to the process, so only one thread at a time changes
    # them; opening reads the header alone and is quick.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(contents), formats=FORMATS)
    if reduced_to is not None:
        image.draft("RGB", (reduced_to, reduced_to))
    return image


def _decoded(open_image: Callable[[], Image.Image], what: str) -> Image.Image:
    try:
        return _rgb(ImageOps.exif_transpose(open_image()))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{what}: has more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit; downscale it"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{what}: is not an image ({_READ} are read)") from error
    except MemoryError:
        raise
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
    batch_size: int = 16,
    workers: int = 2,
    on_error: Callable[[int, InputError], None] | None = None,
) -> np.ndarray:
    """Computes the features of `images`; while one batch is in the CNN the next is decoded.

    Args:
        backbone: one of `BACKBONES`.
        images: N sources, see `read_image`.
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
        return cnn(np.stack(inputs)).numpy(), errors

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
def network(backbone: Backbone) -> Callable[[np.ndarray], tf.Tensor]:
    """The CNN as one compiled function of prepared images: [B, size, size, 3] → [B, D]."""
    model = backbone.build(backbone.weights)
    size = backbone.image_size
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
    )


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("efficientnet_lite0", 224, 1280, efficientnet_lite0, prepare_lite0),
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
