"""Opens photos as they are displayed: upright, RGB, transparency over white.

Pillow decodes the pixels. Of the metadata only the orientation is read, so that damage elsewhere in
it does no harm. `pixels` does the same to JPEG and PNG inside a TensorFlow graph; keep both alike.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, features

from tagnet.errors import InputError, reason_of
from tagnet.photos import png

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""An image: a file's path, a file's bytes, a PIL image, or a uint8 array [height, width, 3]."""

try:
    import pillow_heif
except ImportError:
    _HEIF = False
else:
    _HEIF = True
    pillow_heif.register_heif_opener()
_AVIF = features.check("avif")  # a Pillow built from source may lack it
# PostScript and the rarer formats are left out: some of Pillow's readers start other programs.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
FORMATS += (("AVIF",) if _AVIF else ()) + (("HEIF",) if _HEIF else ())
_READ = ", ".join(FORMATS) + ("" if _HEIF else "; HEIC with the package pillow-heif")
_OPENING = threading.Lock()

_PNG_DEPTH = 24  # offset of the bit depth
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # chunks that define the pixels
EXIF = b"Exif\0\0"  # the header of EXIF in a JPEG
EXIF_HEADERS = r"^(Exif\x00\x00)+"  # some programs write it twice
ORIENTATION = 0x0112  # Exif 2.3, section 4.6.4
SHORT, LONG = 3, 4  # field types: 2 and 4 bytes
PROFILE = png.PROFILE + b"exif\0"  # ImageMagick's keyword for EXIF in a PNG's text chunk
PROFILE_BYTES = 2**18  # longer text chunks are ignored: they may inflate a thousandfold
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: ImageSource, reduced_to: int | None = None) -> Image.Image:
    """Reads an image as it is displayed: upright, RGB, transparency over white.

    Args:
        source: path, file contents, PIL image of any mode, or uint8 array [height, width, 3].
            Of several frames the first counts; of 16-bit samples the high byte.
        reduced_to: a JPEG's file is decoded to a half, a quarter or an eighth of its size
            where both sides keep so many pixels, which is quicker.

    Returns:
        An RGB image, turned as its EXIF orientation says.

    Raises:
        InputError: it is missing, empty, cut off, of another format, or has more
            pixels than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`).
        MemoryError: there is too little memory.
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
        raise InputError(f"{what}: is empty")
    return _decoded(lambda: _opened(contents, reduced_to), what)


def _decoded(open_image: Callable[[], Image.Image], what: str) -> Image.Image:
    try:
        image = open_image()
        image.load()
        turn = _TURNS.get(_orientation(image.info.get("exif") or b""))
        if turn is not None:
            image = image.transpose(turn)
        return _rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{what}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels (Pillow's limit); "
            "downscale it"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{what}: not a supported image ({_READ})") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make Pillow's readers raise anything
        reason = reason_of(error)
        raise InputError(f"{what}: damaged or unsupported image ({reason})") from error


def _opened(contents: bytes, reduced_to: int | None) -> Image.Image:
    exif = None
    if contents.startswith(png.SIGNATURE):
        contents, exif = _parts_of_png(contents)
    # Filters of warnings belong to the process, so only one thread at a time changes
    # them; opening reads the header alone and is quick.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(contents), formats=FORMATS)
    if reduced_to is not None:
        image.draft("RGB", (reduced_to, reduced_to))
    if exif is not None:
        image.info["exif"] = exif
        if "transparency" in image.info:
            _scale_transparency(image, contents)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8
        samples = np.clip(np.asarray(image), 0, 65535)
        grey = (samples >> 8).astype(np.uint8)
        grey[samples == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


# --- EXIF -------------------------------------------------------------------------------


def _orientation(exif: bytes) -> int:
    """Reads the orientation (1 to 8) from EXIF; 1 if there is none."""
    exif = re.sub(EXIF_HEADERS.encode(), b"", exif)

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:2] == b"II" else "big")

    first = number(4, 4) + 2
    last = first + 12 * number(first - 2, 2)
    for field in range(first, min(last, len(exif) - 11), 12):
        if number(field, 2) == ORIENTATION:
            return number(field + 8, {SHORT: 2, LONG: 4}.get(number(field + 2, 2), 0))
    return 1


# --- PNG --------------------------------------------------------------------------------


def _parts_of_png(contents: bytes) -> tuple[bytes, bytes]:
    """Splits a PNG into a PNG without metadata, which cannot fail on it, and its EXIF."""
    kept, exif = [png.SIGNATURE], b""
    for kind, start, end in png.chunks(io.BytesIO(contents)):
        if kind in _PNG_PIXELS or kind == b"IEND":
            kept.append(contents[start - 8 : end + 4])
        elif kind == b"eXIf":
            exif = contents[start:end]
        elif kind in (b"tEXt", b"zTXt") and not exif:
            exif = _exif_of_profile(kind, contents[start:end])
    return b"".join(kept), exif


def _exif_of_profile(kind: bytes, content: bytes) -> bytes:
    """Decodes a `tEXt` or `zTXt` chunk; empty if it holds no EXIF."""
    if not content.startswith(PROFILE) or len(content) > PROFILE_BYTES:
        return b""
    try:
        return png.profile(png.text(kind, content, 64 * PROFILE_BYTES)[1])
    except ValueError:
        return b""


def _scale_transparency(image: Image.Image, png: bytes) -> None:
    """Converts the transparent colour from the file's bit depth to that of Pillow's pixels."""
    key, most = image.info["transparency"], 2 ** png[_PNG_DEPTH] - 1
    if image.mode == "L":
        image.info["transparency"] = (key & most) * 255 // most
    elif image.mode == "RGB" and most == 255:
        image.info["transparency"] = tuple(value & most for value in key)
    elif image.mode == "RGB":
        # Pillow keeps the high bytes; read as little endian, the file gives the low ones.
        lower = Image.open(io.BytesIO(png), formats=["PNG"])
        lower.tile = [lower.tile[0]._replace(args="RGB;16L")]
        high, low = np.divmod(key, 256)
        is_key = (np.asarray(image) == high).all(axis=2) & (np.asarray(lower) == low).all(axis=2)
        del image.info["transparency"]
        image.putalpha(Image.fromarray(np.where(is_key, 0, 255).astype(np.uint8)))
