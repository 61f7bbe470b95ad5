"""Which bytes of a photo are metadata: XMP packets, IPTC datasets, EXIF.

JPEG, PNG, TIFF, WebP and GIF are walked here, pixels skipped; of HEIF and AVIF it is what Pillow
and pillow-heif give. Damage in one place does not hide what stands in another.

XMP: ISO 16684-1 and Adobe's XMP Specification, part 3 (where packets stand in files).
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from tagnet.errors import reason_of
from tagnet.photos import iptc, png
from tagnet.photos.images import EXIF, EXIF_HEADERS, FORMATS

MOST = 2**24  # bytes of one piece of metadata
PIECES = 4096  # of metadata in a file, at most
PACKET = b"http://ns.adobe.com/xap/1.0/\0"  # APP1 of a JPEG
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"  # a GUID, the whole length, the offset
PHOTOSHOP = b"Photoshop 3.0\0"  # APP13
PNG_XMP = b"XML:com.adobe.xmp"
GIF_XMP = b"XMP DataXMP"

# TIFF 6.0 and its later fields; types and their bytes.
TIFF_XMP, TIFF_IPTC, TIFF_PHOTOSHOP, XP_KEYWORDS = 700, 33723, 34377, 0x9C9E
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8}
LONG = 4


@dataclass
class Metadata:
    """What a file says about its photo.

    Attributes:
        xmp: the packets, the most important first.
        extended: what a packet of a JPEG had no room for, by the GUID that the packet names.
        iptc: the blocks of datasets.
        xp_keywords: the keywords that Windows wrote into the EXIF, separated by `;`.
        damaged: why something could not be read.
    """

    xmp: list[bytes] = field(default_factory=list)
    extended: dict[bytes, bytes] = field(default_factory=dict)
    iptc: list[bytes] = field(default_factory=list)
    xp_keywords: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def add_exif(self, exif: bytes) -> None:
        """Adds what stands in EXIF, which is a small TIFF."""
        self.add_tiff(io.BytesIO(re.sub(EXIF_HEADERS.encode(), b"", exif)))

    def add_photoshop(self, contents: bytes) -> None:
        """Adds what stands in Photoshop's resources."""
        for number, content in iptc.resources(contents):
            if number == iptc.IPTC:
                self.iptc.append(content)
            elif number == iptc.XMP:
                self.xmp.append(content)
            elif number == iptc.EXIF:
                self.add_exif(content)

    def add_tiff(self, file: BinaryIO) -> None:
        """Adds what stands in the first directory of a TIFF."""
        for tag, value in _tiff(file):
            if tag == TIFF_XMP:
                self.xmp.append(value)
            elif tag == TIFF_IPTC:
                self.iptc.append(value)
            elif tag == TIFF_PHOTOSHOP:
                self.add_photoshop(value)
            elif tag == XP_KEYWORDS:
                self.xp_keywords.append(value.decode("utf-16-le", "ignore").rstrip("\0"))


def read_metadata(path: Path) -> Metadata:
    """Reads the metadata of a photo, whatever its name says it is.

    A file that is no photo has none.

    Raises:
        OSError: it cannot be read.
        MemoryError: there is too little memory.
    """
    found = Metadata()
    with open(path, "rb") as file:
        head = file.read(16)
        for is_of, read in READERS:
            if is_of(head):
                try:
                    read(file, found)
                except MemoryError:
                    raise
                except Exception as error:  # Pillow's readers can raise anything
                    found.damaged.append(reason_of(error))
                break
    return found


def _part(file: BinaryIO, start: int, size: int) -> bytes:
    """A piece of metadata, empty if it is unreasonably long."""
    if size > MOST:
        return b""
    file.seek(start)
    return file.read(size)


# --- JPEG -------------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO, found: Metadata) -> None:
    extensions: dict[bytes, dict[int, bytes]] = {}
    photoshop = []
    for marker, segment in _segments(file):
        if marker == 0xED and segment.startswith(PHOTOSHOP):
            photoshop.append(segment[len(PHOTOSHOP) :])
        elif marker == 0xE1 and segment.startswith(EXIF):
            found.add_exif(segment)
        elif marker == 0xE1 and segment.startswith(EXTENSION):
            at = len(EXTENSION)
            pieces = extensions.setdefault(segment[at : at + 32], {})
            start = int.from_bytes(segment[at + 36 : at + 40], "big")
            pieces[start] = segment[at + 40 :]
        elif marker == 0xE1 and (segment.startswith(PACKET) or b"rdf:RDF" in segment):
            found.xmp.append(segment.removeprefix(PACKET))
    # A resource may go on in the next segment.
    found.add_photoshop(b"".join(photoshop))
    for guid, pieces in extensions.items():
        if not any(guid in packet for packet in found.xmp):  # of an earlier packet
            continue
        whole = b""
        for start, piece in sorted(pieces.items()):
            if start != len(whole):
                found.damaged.append("a part of its extended XMP is missing")
                break
            whole += piece
        else:
            found.extended[guid] = whole


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the pixels that may hold metadata."""
    at = 2
    for _ in range(PIECES):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return
        if head[1] == 0xFF:  # a fill byte
            at += 1
            continue
        size = int.from_bytes(head[2:], "big")
        if head[1] in (0xE1, 0xED):
            yield head[1], file.read(max(size - 2, 0))
        at += 2 + size


# --- PNG --------------------------------------------------------------------------------


def _read_png(file: BinaryIO, found: Metadata) -> None:
    left = MOST  # of inflated text
    for kind, start, end in png.chunks(file):
        if kind == b"eXIf":
            found.add_exif(_part(file, start, end - start))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            content = _part(file, start, end - start)
            if not content.startswith((PNG_XMP, png.PROFILE)):
                continue
            try:
                keyword, text = png.text(kind, content, left)
                left -= len(text)
                if keyword == PNG_XMP:
                    found.xmp.insert(0, text)
                else:
                    _add_profile(keyword.removeprefix(png.PROFILE), png.profile(text), found)
            except ValueError as error:
                found.damaged.append(f"a text chunk of the PNG: {error}")


def _add_profile(name: bytes, profile: bytes, found: Metadata) -> None:
    if profile.startswith(EXIF) or name == b"exif":
        found.add_exif(profile)
    elif name in (b"iptc", b"8bim"):
        found.iptc += iptc.blocks(profile)
    elif name in (b"xmp", b"APP1", b"app1"):
        found.xmp.append(profile.removeprefix(PACKET))


# --- TIFF, and the EXIF of other formats ------------------------------------------------


def _tiff(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Tag and value of the first directory's fields that hold metadata."""
    head = _part(file, 0, 16)
    if head[:2] not in (b"II", b"MM"):
        return

    def number(content: bytes) -> int:
        return int.from_bytes(content, "little" if head[:2] == b"II" else "big")

    is_big = number(head[2:4]) == 43  # BigTIFF
    word, width = (8, 20) if is_big else (4, 12)
    first = number(head[8:16] if is_big else head[4:8])
    counted = 8 if is_big else 2
    count = number(_part(file, first, counted))
    directory = _part(file, first + counted, min(count, PIECES) * width)
    for at in range(0, len(directory) - width + 1, width):
        entry = directory[at : at + width]
        tag, kind = number(entry[:2]), number(entry[2:4])
        if tag not in (TIFF_XMP, TIFF_IPTC, TIFF_PHOTOSHOP, XP_KEYWORDS):
            continue
        size = number(entry[4 : 4 + word]) * SIZES.get(kind, 1)
        inline = entry[4 + word :]
        value = inline[:size] if size <= word else _part(file, number(inline), size)
        if tag == TIFF_IPTC and kind == LONG and value[:1] != b"\x1c" == value[3:4]:
            # libtiff turns the bytes of LONGs round, ImageMagick does not turn them back.
            value = b"".join(value[i : i + 4][::-1] for i in range(0, len(value), 4))
        yield tag, value


# --- Other formats ----------------------------------------------------------------------


def _read_webp(file: BinaryIO, found: Metadata) -> None:
    at = 12
    for _ in range(PIECES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"XMP ":
            found.xmp.append(_part(file, at + 8, size))
        elif head[:4] == b"EXIF":
            found.add_exif(_part(file, at + 8, size))
        at += 8 + size + size % 2


def _read_gif(file: BinaryIO, found: Metadata) -> None:
    """Adds the packet, which is not cut into sub-blocks: each byte is the length of a jump."""
    contents = _part(file, 0, MOST)
    at = contents.find(b"\x21\xff\x0b" + GIF_XMP)
    if at >= 0:
        start = at + 3 + len(GIF_XMP)
        end = contents.find(b"\x01\xff\xfe", start)  # how the 258 bytes behind it begin
        found.xmp.append(contents[start : end if end >= 0 else len(contents)])


def _read_by_pillow(file: BinaryIO, found: Metadata) -> None:
    with Image.open(file, formats=FORMATS) as image:
        if image.info.get("xmp"):
            found.xmp.append(image.info["xmp"])
        if image.info.get("exif"):
            found.add_exif(image.info["exif"])


READERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, Metadata], None]], ...] = (
    (lambda head: head.startswith(b"\xff\xd8"), _read_jpeg),
    (lambda head: head.startswith(png.SIGNATURE), _read_png),
    (lambda head: head.startswith((b"II", b"MM")), lambda file, found: found.add_tiff(file)),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _read_webp),
    (lambda head: head.startswith(b"GIF8"), _read_gif),
    (lambda head: head[4:8] == b"ftyp", _read_by_pillow),
)
"""Whether a file begins like one of a format, and what reads its metadata."""
