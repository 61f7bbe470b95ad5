"""Metadata wherever the formats put it, and what damage leaves of it."""

import zlib
from pathlib import Path

import pytest
from helpers.photographs import extension, iim, jpeg, png_chunk, write, xmp
from PIL import Image

from tagnet.photos import iptc
from tagnet.photos.folders import Photograph
from tagnet.photos.keywords import read_keywords

PACKET = xmp(dc_subject=["sea"])
IPTC = iim(b"sky")
RESOURCES = b"8BIM\x04\x04\0\0" + len(IPTC).to_bytes(4, "big") + IPTC


def keywords(path: Path) -> list[tuple[str, ...]]:
    found, damaged = read_keywords(Photograph(path.name, path))
    assert damaged == []
    return found


def profile(name: bytes, contents: bytes) -> bytes:
    """What ImageMagick writes into a text chunk: hexadecimal digits in lines."""
    digits = contents.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return b"\n%s\n%8d\n%s\n" % (name, len(contents), "\n".join(lines).encode())


CHUNKS = {
    "iTXt": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET, "sea"),
    "iTXt-compressed": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET), "sea"),
    "xmp": (
        b"zTXt",
        b"Raw profile type xmp\0\0" + zlib.compress(profile(b"xmp", PACKET)),
        "sea",
    ),
    "app1": (
        b"tEXt",
        b"Raw profile type APP1\0"
        + profile(b"generic", b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
        "sea",
    ),
    "iptc": (b"tEXt", b"Raw profile type iptc\0" + profile(b"iptc", RESOURCES), "sky"),
    "8bim": (b"tEXt", b"Raw profile type 8bim\0" + profile(b"8bim", RESOURCES), "sky"),
    "iptc-alone": (b"tEXt", b"Raw profile type iptc\0" + profile(b"iptc", IPTC), "sky"),
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("is_behind", [False, True])
def test_chunks_of_png_before_and_behind_the_pixels(
    tmp_path: Path, name: str, is_behind: bool
) -> None:
    kind, content, expected = CHUNKS[name]
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    whole = path.read_bytes()
    at = len(whole) - 12 if is_behind else 33
    path.write_bytes(whole[:at] + png_chunk(kind, content) + whole[at:])
    assert keywords(path) == [(expected,)]


def test_text_of_png_is_not_inflated_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    whole = path.read_bytes()
    bomb = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**25))
    good = b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET
    chunks = png_chunk(b"iTXt", bomb) + png_chunk(b"iTXt", good)
    path.write_bytes(whole[:33] + chunks + whole[33:])
    found, damaged = read_keywords(Photograph("a.png", path))
    assert found == [("sea",)]
    assert damaged == [f"{path}: a text chunk of the PNG: text of more than 16,777,216 bytes"]


def test_extended_xmp(tmp_path: Path) -> None:
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    note = (
        b'<rdf:Description xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="%s"/>' % guid
    )
    main = PACKET.replace(b"</rdf:RDF>", note + b"</rdf:RDF>")
    more = xmp(lr_hierarchicalSubject=["a|b"])

    def piece(start: int, end: int, name: bytes = guid) -> tuple[int, bytes]:
        return extension(name, more, start, end)

    first = 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main
    path = jpeg(tmp_path / "a.jpg", first, piece(300, len(more)), piece(0, 300))
    assert keywords(path) == [("sea",), ("a", "b")]
    # Pieces that an earlier packet left behind are not this one's.
    path = jpeg(tmp_path / "b.jpg", first, piece(0, len(more), guid[::-1]))
    assert keywords(path) == [("sea",)]
    path = jpeg(tmp_path / "c.jpg", first, piece(0, 300))
    found, (damaged,) = read_keywords(Photograph("c.jpg", path))
    assert found == [("sea",)]
    assert damaged.startswith(f"{path}: not XMP (")


def test_photoshops_resources_over_several_segments(tmp_path: Path) -> None:
    head, other = b"Photoshop 3.0\0", b"8BIM\x03\xe8\x03abc\0\0\0\5hello\0"
    whole = other + RESOURCES
    parts = [(0xED, head + whole[:30]), (0xED, head + whole[30:])]
    assert keywords(jpeg(tmp_path / "a.jpg", *parts)) == [("sky",)]


def test_iptc_of_tiff_in_photoshops_resources_and_turned_round(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    padded = IPTC + bytes(-len(IPTC) % 4)
    turned = b"".join(padded[at : at + 4][::-1] for at in range(0, len(padded), 4))
    image = Image.new("RGB", (8, 8))
    image.save(path, tiffinfo={34377: RESOURCES})
    assert keywords(path) == [("sky",)]
    image.save(path, tiffinfo={33723: turned})
    entry = (33723).to_bytes(2, "little") + b"\7\0"  # of bytes
    whole = path.read_bytes()
    at = whole.index(entry)
    longs = entry[:2] + b"\4\0" + (len(turned) // 4).to_bytes(4, "little")
    path.write_bytes(whole[:at] + longs + whole[at + 8 :])
    assert keywords(path) == [("sky",)]
    image.save(path, tiffinfo={33723: IPTC[:-1]})  # cut off: no keyword
    assert keywords(path) == []


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"\x1c\x02\x19\x80\x04\0\0\0\3sea", ["sea"]),  # a length of four bytes
        (iim(b"sea", b"", b"sky"), ["sea", "sky"]),
        (iim(b"sea") + b"\0garbage" + iim(b"sky"), ["sea", "sky"]),
        (iim(b"sea") + b"\x1c\x02\x19\x7f\xff" + iim(b"sky"), ["sea", "sky"]),
        (iim(b"sea") + b"\x1c\x02\x19\0\x08alp", ["sea"]),
        (b"\x1c\x01\x5a\0\3\x1b%G" + iim("é".encode()), ["é"]),
        (iim(b"caf\xe9"), ["café"]),
        (b"\x1c\x02\x19", []),
    ],
)
def test_odd_datasets(block: bytes, expected: list[str]) -> None:
    assert iptc.keywords(block) == expected


def test_gif_webp_and_avif(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.new("P", (8, 8)).save(path)
    whole = path.read_bytes()
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    block = b"\x21\xff\x0bXMP DataXMP" + PACKET + trailer
    path.write_bytes(whole[:-1] + block + b";")
    assert keywords(path) == [("sea",)]
    assert keywords(write(tmp_path / "a.webp", PACKET)) == [("sea",)]
    if Image.registered_extensions().get(".avif"):
        assert keywords(write(tmp_path / "a.avif", PACKET)) == [("sea",)]
