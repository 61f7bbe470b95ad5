"""Photographs with keywords in them, as programs write them, for several tests."""

import io
import zlib
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# What other programs write, so not taken from the code that is tested.
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "tagnet": "urn:tagnet:xmp#",
}


def xmp(**properties: list[str]) -> bytes:
    """An XMP packet; `dc_subject=[...]` and the like, as a bag, digiKam's as a sequence."""
    lines = []
    for name, values in properties.items():
        kind = "Seq" if name.startswith("digiKam") else "Bag"
        items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
        tag = name.replace("_", ":")
        lines.append(f"<{tag}><rdf:{kind}>{items}</rdf:{kind}></{tag}>")
    spaces = " ".join(f'xmlns:{name}="{uri}"' for name, uri in NAMESPACES.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf'
        f'-syntax-ns#"><rdf:Description rdf:about="" {spaces}>{"".join(lines)}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode()


def iim(*keywords: bytes) -> bytes:
    """IPTC's IIM 4.2: the dataset 2:25 of each keyword, length in two bytes."""
    return b"".join(b"\x1c\x02\x19" + len(text).to_bytes(2, "big") + text for text in keywords)


def png_bomb(side: int = 50_000, chunks: bytes = b"") -> bytes:
    """A PNG whose few bytes unpack to the pixels, one bit each, that its header says.

    Args:
        side: width and height, hundreds.
        chunks: what stands before the pixels.
    """
    rows = bytes(100 * (1 + -(-side // 8)))  # of a hundred: the filter, and black
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = pack.compress(rows) + pack.flush(zlib.Z_FULL_FLUSH)  # which may then be repeated
    count = side // 100
    checksum = (count * len(rows) % 65521 << 16 | 1).to_bytes(4, "big")  # Adler-32 of zeros
    pixels = b"\x78\xda" + block * count + b"\x03\0" + checksum
    header = side.to_bytes(4, "big") * 2 + b"\x01\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + chunks
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG: length, kind, content, checksum."""
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + checksum


def jpeg(path: Path, *segments: tuple[int, bytes]) -> Path:
    """Writes a JPEG that begins with segments, each a marker and what it holds."""
    Image.new("RGB", (8, 8)).save(path)
    whole = path.read_bytes()
    added = b"".join(
        bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
        for marker, content in segments
    )
    path.write_bytes(whole[:2] + added + whole[2:])
    return path


def extension(guid: bytes, packet: bytes, start: int, end: int) -> tuple[int, bytes]:
    """The segment of a JPEG that holds a part of an extended XMP packet."""
    head = guid + len(packet).to_bytes(4, "big") + start.to_bytes(4, "big")
    return 0xE1, b"http://ns.adobe.com/xmp/extension/\0" + head + packet[start:end]


def write(path: Path, xmp: bytes = b"", iptc: bytes = b"", colour: Any = "red") -> Path:
    """Writes a photograph of the format that the ending of `path` says, with keywords in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (32, 24), colour)
    suffix = path.suffix.lower()
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(path, pnginfo=info)
    elif suffix in (".tif", ".tiff"):
        tags = ImageFileDirectory_v2()
        for tag, contents in ((700, xmp), (33723, iptc)):
            tags[tag] = contents
            tags.tagtype[tag] = 7  # bytes
        image.save(path, tiffinfo=tags)
    elif suffix == ".jpg" and iptc:
        # Photoshop's segment: resource 0x0404, an empty name, the length, an even size.
        segment = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc
        segment += b"\0" * (len(iptc) % 2)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", xmp=xmp)
        start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
        length = (len(segment) + 2).to_bytes(2, "big")
        path.write_bytes(start + b"\xff\xed" + length + segment + rest)
    else:
        image.save(path, xmp=xmp)
    return path
