"""PNG chunks: where they stand in a file, and the text and profiles inside them.

PNG 3, sections 5 and 11.3.3. Checksums are not compared: whoever decodes the pixels does so.
"""

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE = b"Raw profile type "  # how ImageMagick's keyword for foreign metadata begins
PROFILE_HEADER = r"^\s*\S+\s+\S+\s+"  # a name and the length; then hexadecimal digits


class Chunk(NamedTuple):
    """One chunk: its kind, and where its content begins and ends in the file."""

    kind: bytes
    start: int
    end: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a PNG, up to the end of the file or of the image, whichever is first."""
    at = len(SIGNATURE)
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = Chunk(head[4:], at + 8, at + 8 + int.from_bytes(head[:4], "big"))
        yield chunk
        if chunk.kind == b"IEND":
            return
        at = chunk.end + 4  # the checksum


def text(kind: bytes, content: bytes, most: int) -> tuple[bytes, bytes]:
    """The keyword and the text of a `tEXt`, `zTXt` or `iTXt` chunk, both undecoded.

    Args:
        kind: of the chunk.
        content: of the chunk.
        most: how many bytes the text may have; a few bytes may inflate a thousandfold.

    Raises:
        ValueError: it is damaged, or has more.
    """
    keyword, _, rest = content.partition(b"\0")
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]  # the method
    elif kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
    if compressed:
        try:
            rest = zlib.decompressobj().decompress(rest, most + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    if len(rest) > most:
        raise ValueError(f"text of more than {most:,} bytes")
    return keyword, rest


def profile(value: bytes) -> bytes:
    """Decodes ImageMagick's raw profile: a name, a length, and hexadecimal digits.

    Raises:
        ValueError: it is none.
    """
    return bytes.fromhex(re.sub(PROFILE_HEADER.encode(), b"", value).decode("ascii"))
