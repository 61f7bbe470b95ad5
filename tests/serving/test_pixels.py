"""Images decoded and resampled inside a graph: to the bit what Pillow makes of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import pictures
from helpers.photographs import png_bomb, png_chunk
from helpers.pictures import NOT_TURNED, PALETTE, PNG_KINDS, TURNED
from PIL import Image

from tagnet.backbones.efficientnet import central_square
from tagnet.photos.images import read_image
from tagnet.serving import pixels

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
decode = tf.function(pixels.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


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


def assert_equal_to_pillow(contents: bytes) -> None:
    np.testing.assert_array_equal(decode(contents), np.asarray(read_image(contents)))


@pytest.mark.parametrize(("colours", "depth", "transparent"), PNG_KINDS)
def test_png_of_every_kind(colours, depth, transparent):
    samples, chunks = pictures.samples(colours, depth, transparent)
    assert_equal_to_pillow(pictures.png(samples, depth, colours, chunks))


def test_a_palette_of_alphas():
    samples, chunks = pictures.samples(PALETTE, 4, False)
    alphas = png_chunk(b"tRNS", bytes([0, 15, 100, 255, 15]))
    assert_equal_to_pillow(pictures.png(samples, 4, PALETTE, chunks + alphas))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_jpeg_of_any_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    assert_equal_to_pillow(encoded(noise(20, 30, 3).convert(kind), "JPEG", exif=exif))


@pytest.mark.parametrize("contents", TURNED.values(), ids=TURNED)
def test_the_orientation_is_found_wherever_programs_write_it(contents):
    assert decode(contents).shape == (16, 8, 3)
    assert_equal_to_pillow(contents)


@pytest.mark.parametrize("contents", NOT_TURNED.values(), ids=NOT_TURNED)
def test_what_gives_no_orientation_turns_nothing_and_refuses_nothing(contents):
    assert decode(contents).shape == (8, 16, 3)
    assert_equal_to_pillow(contents)


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
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){line}"):
        decode(contents)
