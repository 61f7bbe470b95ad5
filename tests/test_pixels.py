"""Images decoded and resampled inside a graph: to the bit what Pillow makes of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from photographs import png_bomb
from PIL import Image
from tagnet.photos.images import read_image

from tagnet.backbones.efficientnet import central_square
from tagnet.serving import pixels

PHOTOS = sorted((Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg"))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_the_credited_photographs():
    """The largest difference over all of them is nothing."""
    assert len(PHOTOS) == 20
    square = tf.function(
        lambda contents: pixels.central_square(pixels.decode(contents), 224),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    for path in PHOTOS:
        expected = central_square(read_image(path), 224)
        np.testing.assert_array_equal(square(path.read_bytes()), expected)


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (40, 9), (64, 64), (301, 200), (200, 301)])
def test_noise_of_any_size(size):
    """Noise overshoots at every edge, so that a rounding or an order that differs shows."""
    image = noise(*size, 3)
    made = pixels.central_square(tf.constant(np.asarray(image)), 32)
    np.testing.assert_array_equal(made, central_square(image, 32))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_png_of_any_kind(mode):
    image = noise(20, 30, 4)
    contents = encoded(Image.fromarray(np.asarray(image)).convert("RGBA").convert(mode))
    np.testing.assert_array_equal(pixels.decode(contents), np.asarray(read_image(contents)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_jpeg_of_any_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    contents = encoded(noise(20, 30, 3).convert(kind), "JPEG", exif=exif)
    np.testing.assert_array_equal(pixels.decode(contents), np.asarray(read_image(contents)))


def test_exif_that_is_cut_off_turns_nothing():
    contents = encoded(noise(20, 30, 3), "JPEG")
    for rest in (b"", b"MM", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"):
        segment = pixels.EXIF + rest
        marker = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
        assert pixels.decode(contents[:2] + marker + contents[2:]).shape == (20, 30, 3)


def as_large_as(contents: bytes, marker: bytes, sides: bytes) -> bytes:
    """The file with the sides that stand so far behind its marker changed."""
    at = contents.index(marker) + 5 - (marker == b"IHDR")
    return contents[:at] + sides + contents[at + len(sides) :]


JPG, ANY_PNG = encoded(noise(20, 30, 3), "JPEG"), encoded(noise(20, 30, 3))


@pytest.mark.parametrize(
    ("contents", "line"),
    [
        (png_bomb(), "must have at most 89478485 pixels.*50000 50000"),
        (as_large_as(ANY_PNG, b"IHDR", b"\xff" * 8), "must have at most 89478485 pixels"),
        (as_large_as(ANY_PNG, b"IHDR", b"\x7f\xff\xff\xff" * 2), "must have at most"),
        (as_large_as(JPG, b"\xff\xc0", b"\xff\xdc" * 2), "must have at most.*65500 65500"),
        (encoded(noise(20, 30, 3), "GIF"), "must be JPEG or PNG; received"),
        (b"", "must be JPEG or PNG"),
        (b"no image", "must be JPEG or PNG"),
        (JPG[:2], "(?i)jpeg"),
        (JPG[:200], "(?i)jpeg"),
        (ANY_PNG[:20], "must be JPEG or PNG"),
        (ANY_PNG[:200], "(?i)png"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused_before_memory_is_taken(contents, line):
    decode = tf.function(pixels.decode, input_signature=[tf.TensorSpec([], tf.string)])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){line}"):
        decode(contents)
