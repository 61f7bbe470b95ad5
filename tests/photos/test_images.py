"""Photographs of every kind of source and format, as they are meant to be seen."""

import io

import numpy as np
import pytest
from helpers import pictures
from helpers.photographs import png_chunk
from helpers.pictures import ALPHA, GREY, NOT_TURNED, PALETTE, PNG_KINDS, TURNED, png
from PIL import Image

from tagnet.errors import InputError
from tagnet.photos import images
from tagnet.photos.images import read_image


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    contents = encoded(Image.fromarray(pixels))
    (tmp_path / "photo.png").write_bytes(contents)
    path = tmp_path / "photo.png"
    for source in (pixels, contents, Image.fromarray(pixels), path, str(path)):
        np.testing.assert_array_equal(np.asarray(read_image(source)), pixels)


# Exif 2.3, section 4.6.4: where row 0 and column 0 of the file are meant to be seen.
UPRIGHT = {
    1: [[1, 2], [3, 4]],
    2: [[2, 1], [4, 3]],  # row 0 above, column 0 at the right
    3: [[4, 3], [2, 1]],  # below, right
    4: [[3, 4], [1, 2]],  # below, left
    5: [[1, 3], [2, 4]],  # left, above
    6: [[3, 1], [4, 2]],  # right, above
    7: [[4, 2], [3, 1]],  # right, below
    8: [[2, 4], [1, 3]],  # left, below
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_honoured(orientation):
    samples = np.array(UPRIGHT[1])[:, :, None]
    chunk = png_chunk(b"eXIf", pictures.fields(orientation))
    upright = np.asarray(read_image(png(samples, 8, GREY, chunk)))
    np.testing.assert_array_equal(upright[:, :, 0], UPRIGHT[orientation])


@pytest.mark.parametrize("contents", TURNED.values(), ids=TURNED)
def test_the_orientation_is_found_wherever_programs_write_it(contents):
    upright = np.asarray(read_image(contents))
    assert upright.shape == (16, 8, 3)
    assert upright[:8].max() < 9 and upright[8:].min() > 246  # JPEG loses a little


@pytest.mark.parametrize("contents", NOT_TURNED.values(), ids=NOT_TURNED)
def test_what_gives_no_orientation_turns_nothing_and_refuses_nothing(contents):
    image = np.asarray(read_image(contents))
    assert image.shape == (8, 16, 3)
    assert image[:, :8].max() < 9 and image[:, 8:].min() > 246


def test_a_pil_image_is_turned_by_the_exif_that_it_carries():
    image = Image.open(io.BytesIO(TURNED["two bytes"]))
    assert read_image(image).size == (8, 16)
    assert image.size == (16, 8)


GREY16 = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (1, 1), 7), [(7, 7, 7)]),
        (Image.new("1", (1, 1), 1), [(255, 255, 255)]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [(255, 0, 0)]),
        (Image.new("RGBA", (1, 1), (0, 0, 0, 0)), [(255, 255, 255)]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 255)), [(255, 0, 0)]),
        (Image.new("LA", (1, 1), (0, 51)), [(204, 204, 204)]),  # a fifth of black over white
        (Image.new("RGB", (1, 1), (1, 2, 3)).quantize(2), [(1, 2, 3)]),
        (GREY16, [(0, 0, 0), (1, 1, 1), (255, 255, 255)]),  # the upper bytes
        (Image.new("I", (1, 1), 65535), [(255, 255, 255)]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_becomes_rgb(image, expected):
    rgb = read_image(image)
    assert rgb.mode == "RGB"
    assert [rgb.getpixel((x, 0)) for x in range(rgb.width)] == expected


def test_heic_is_read_where_its_package_is_installed():
    pytest.importorskip("pillow_heif")
    rgb = read_image(encoded(Image.new("RGB", (64, 48), (200, 30, 40)), "HEIF", quality=100))
    assert rgb.size == (64, 48)
    np.testing.assert_allclose(rgb.getpixel((9, 9)), (200, 30, 40), atol=4)  # HEVC is lossy


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((1, 0), 1)
    rgb = read_image(encoded(image, transparency=0))
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (9, 9, 9)]


@pytest.mark.parametrize(
    ("colours", "depth", "transparent"), [kind for kind in PNG_KINDS if kind[0] not in ALPHA]
)
def test_png_of_every_depth(colours, depth, transparent):
    """PNG 3, sections 13.12 and 11.3.1.1: a transparent colour counts in the file's own depth."""
    samples, chunks = pictures.samples(colours, depth, transparent)
    if colours == PALETTE:
        expected = pictures.PALETTE_COLOURS[samples[:, :, 0]]
    else:
        expected = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    if transparent:
        is_clear = (samples == samples[0, 0]).all(axis=2, keepdims=True)
        assert 0 < is_clear.mean() < 1
        expected = np.where(is_clear, 255, expected)
    image = np.asarray(read_image(png(samples, depth, colours, chunks)))
    np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))


def test_damaged_chunks_that_the_pixels_do_not_need_refuse_nothing():
    wrong = png_chunk(b"tEXt", b"Comment\0hello")[:-1] + b"?"
    cut = png_chunk(b"iCCP", b"") + png_chunk(b"acTL", b"") + png_chunk(b"zTXt", b"k\0\x09x")
    samples = np.array([[[1], [2]]])
    image = read_image(png(samples, 8, GREY, wrong + cut, wrong))
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(1, 1, 1), (2, 2, 2)]


PNG = encoded(Image.effect_noise((64, 64), 50))


@pytest.mark.parametrize(
    ("contents", "line"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "not a supported image (JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM"),
        (PNG[: len(PNG) // 2], "damaged or unsupported image (image file is truncated"),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "(floating-point pixels have no fixed range)"),
    ],
    ids=["empty", "not an image", "cut off", "floats"],
)
def test_a_bad_file_gets_one_line_with_its_name(tmp_path, contents, line):
    path = tmp_path / "bad.jpg"
    path.write_bytes(contents)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_get_their_line(tmp_path):
    with pytest.raises(InputError, match="absent.jpg: cannot be read .No such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(InputError, match="cannot be read .Is a directory"):
        read_image(tmp_path)


def test_a_photograph_is_not_damaged_for_want_of_memory(monkeypatch):
    def refused(image):
        raise MemoryError

    monkeypatch.setattr(images, "_rgb", refused)
    with pytest.raises(MemoryError):
        read_image(Image.new("RGB", (1, 1)))


def test_bytes_are_named_by_their_length():
    with pytest.raises(InputError, match="^image of 3 bytes: not a supported image"):
        read_image(b"abc")


# Pillow warns above its limit and refuses above twice the limit: both are refusals here.
@pytest.mark.parametrize("limit", [64 * 64 - 1, 64 * 64 // 2 - 1])
def test_more_pixels_than_pillows_limit_are_refused(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError, match=f"has more than {limit:,} pixels"):
        read_image(PNG)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_of_another_kind_is_refused(array):
    with pytest.raises(InputError, match=r"must be uint8 \[height, width, 3\]; received"):
        read_image(array)
