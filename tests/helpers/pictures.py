"""Small pictures of every kind: PNGs of every depth, and those that EXIF turns."""

import io
import zlib

import numpy as np
from PIL import Image

from helpers.photographs import png_chunk, xmp

# --- PNG ----------------------------------------------------------------------------------

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG's kinds of colours
ALPHA = (GREY_ALPHA, RGB_ALPHA)
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
# All that there are, and whether a colour is transparent.
PNG_KINDS = [
    (colours, depth, transparent)
    for colours, depths in _DEPTHS.items()
    for depth in depths
    for transparent in (False, True)
    if not (transparent and colours in ALPHA)
]


def png(
    samples: np.ndarray, depth: int, colours: int, chunks: bytes = b"", behind: bytes = b""
) -> bytes:
    """A PNG of samples [H, W, C] of `depth` bits; chunks stand before and behind its pixels."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    if depth < 8:
        bits = np.unpackbits(rows[:, :, None], axis=2)[:, :, -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))  # filtered by none
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", sides + bytes([depth, colours, 0, 0, 0]))
        + chunks
        + png_chunk(b"IDAT", pixels)
        + behind
        + png_chunk(b"IEND", b"")
    )


PALETTE_COLOURS = np.random.default_rng(0).integers(0, 255, (256, 3))


def samples(colours: int, depth: int, transparent: bool) -> tuple[np.ndarray, bytes]:
    """Noise [9, 13, C] for `png`, and the chunks that it needs; the first pixel is transparent.

    Of 16 bits there are pixels with its upper bytes that are not transparent.
    """
    rng = np.random.default_rng(depth)
    noise = rng.integers(0, 2**depth, (9, 13, CHANNELS[colours]))
    chunks = b""
    if colours == PALETTE:
        noise[0, 0] = 1
        chunks = png_chunk(b"PLTE", PALETTE_COLOURS[: 2**depth].astype(np.uint8).tobytes())
    noise[1:3] = noise[0, 0]
    if depth == 16:
        noise[2] ^= 1
    key = b"\xff\0" if colours == PALETTE else noise[0, 0].astype(">u2").tobytes()
    return noise, chunks + (png_chunk(b"tRNS", key) if transparent else b"")


# --- Which way is up ----------------------------------------------------------------------

BEGINNING = b"Exif\0\0"


def fields(orientation: int, order: str = "big", kind: int = 3, others: bytes = b"") -> bytes:
    """EXIF fields as a TIFF directory: 12 bytes for each of `others`, then the orientation.

    Args:
        orientation: 1 … 8.
        order: "big" or "little".
        kind: of the number: 3 is of two bytes, 4 of four.
        others: fields before it.
    """

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    value = number(orientation, 2 if kind == 3 else 4).ljust(4, b"\0")
    field = number(0x0112, 2) + number(kind, 2) + number(1, 4) + value
    head = (b"II*\0" if order == "little" else b"MM\0*") + number(8, 4)
    return head + number(len(others) // 12 + 1, 2) + others + field + bytes(4)


def segment(content: bytes, marker: bytes = b"\xe1") -> bytes:
    """A segment of a JPEG, of EXIF or XMP without another marker."""
    return b"\xff" + marker + (len(content) + 2).to_bytes(2, "big") + content


def profile(fields: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a text of a PNG."""
    digits = (BEGINNING + fields).hex().encode()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return b"\n".join([b"", b"exif", b"%8d" % (len(digits) // 2), *lines, b""])


NAME = b"Raw profile type exif\0"
HALVES = np.repeat([[[0], [255]]], 8, axis=1).repeat(8, axis=0)  # black on the left [8, 16, 1]


def _jpeg(*segments: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(HALVES[:, :, 0].astype(np.uint8)).save(buffer, "JPEG")
    return b"\xff\xd8" + b"".join(segments) + buffer.getvalue()[2:]


def _halves_png(chunks: bytes = b"", behind: bytes = b"") -> bytes:
    return png(HALVES, 8, GREY, chunks, behind)


def _xmp_of_orientation() -> bytes:
    return xmp().replace(b'rdf:about=""', b'rdf:about="" tiff:Orientation="6"')


_SIX = fields(6)
_A_RATIONAL_FAR_AWAY = b"\x01\x1a\0\x05\0\0\0\x01\xff\xff\xff\xf0"
_A_NUMBER_OF_NO_KIND = b"\x01\x1b\0\xee\xff\xff\xff\xff\xff\xff\xff\xff"
_BROKEN = fields(6, others=_A_RATIONAL_FAR_AWAY + _A_NUMBER_OF_NO_KIND)
_CHUNK = png_chunk(b"eXIf", _SIX)

TURNED = {  # each says that its left is meant to be above
    "two bytes": _jpeg(segment(BEGINNING + _SIX)),
    "little endian": _jpeg(segment(BEGINNING + fields(6, "little"))),
    "four bytes": _jpeg(segment(BEGINNING + fields(6, kind=4))),
    "four bytes, little endian": _jpeg(segment(BEGINNING + fields(6, "little", kind=4))),
    "the beginning twice": _jpeg(segment(2 * BEGINNING + _SIX)),
    "behind a comment": _jpeg(segment(b"by Exif\0\0", b"\xfe"), segment(BEGINNING + _SIX)),
    "behind XMP": _jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0"), segment(BEGINNING + _SIX)),
    "behind filling": _jpeg(b"\xff" * 5 + segment(BEGINNING + _SIX)),
    "damaged fields": _jpeg(segment(BEGINNING + _BROKEN)),
    "cut off behind it": _jpeg(segment(BEGINNING + _SIX.replace(b"\0\x01\x01", b"\xff\xff\x01"))),
    "a chunk": _halves_png(_CHUNK),
    "a chunk behind the pixels": _halves_png(behind=_CHUNK),
    "a chunk with a beginning": _halves_png(png_chunk(b"eXIf", BEGINNING + _SIX)),
    "a chunk of damaged fields": _halves_png(png_chunk(b"eXIf", _BROKEN)),
    "a chunk of a wrong checksum": _halves_png(_CHUNK[:-1] + b"?"),
    "a text": _halves_png(png_chunk(b"tEXt", NAME + profile(_SIX))),
    "a compressed text": _halves_png(
        png_chunk(b"zTXt", NAME + b"\0" + zlib.compress(profile(_SIX)))
    ),
    "a chunk before a text": _halves_png(_CHUNK + png_chunk(b"tEXt", NAME + profile(fields(3)))),
    "a chunk behind a text": _halves_png(png_chunk(b"tEXt", NAME + profile(fields(3))) + _CHUNK),
}
NOT_TURNED = {
    "no EXIF": _jpeg(),
    "no such orientation": _jpeg(segment(BEGINNING + fields(9))),
    "an orientation of another kind": _jpeg(segment(BEGINNING + fields(6, kind=2))),
    "EXIF in a comment": _jpeg(segment(BEGINNING + _SIX, b"\xfe")),
    "XMP": _jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + _xmp_of_orientation())),
    **{
        f"cut off at {end}": _jpeg(segment(BEGINNING + _SIX[:end]))
        for end in (0, 2, 4, 8, 9, 11, 20, 21)
    },
    "a directory far away": _jpeg(segment(BEGINNING + b"II*\0\xff\xff\xff\xff")),
    "many fields": _jpeg(segment(BEGINNING + b"II*\0\x08\0\0\0\xff\xff")),
    "an empty chunk": _halves_png(png_chunk(b"eXIf", b"")),
    "XMP in a chunk": _halves_png(
        png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + _xmp_of_orientation())
    ),
    "behind the end": _halves_png() + _CHUNK,
    "a text of no digits": _halves_png(png_chunk(b"tEXt", NAME + profile(_SIX) + b"z")),
    "a text of an odd digit": _halves_png(png_chunk(b"tEXt", NAME + profile(_SIX) + b"1")),
    "an empty text": _halves_png(png_chunk(b"tEXt", NAME)),
    "a text of another name": _halves_png(
        png_chunk(b"tEXt", b"Raw profile type xmp\0" + profile(_SIX))
    ),
    "a damaged text": _halves_png(png_chunk(b"zTXt", NAME + b"\0x\x9c?!")),
    "a text cut off": _halves_png(
        png_chunk(b"zTXt", NAME + b"\0" + zlib.compress(profile(_SIX))[:20])
    ),
    "a text that is too long": _halves_png(png_chunk(b"tEXt", NAME + profile(_SIX + bytes(2**17)))),
}
