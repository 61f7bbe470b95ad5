"""IPTC keywords: the datasets of IIM 4.2, and Photoshop's resources, which hold them.

Both are walked past damage: what stands before a fault and behind it is kept.
"""

import re
from collections.abc import Iterator

KEYWORD = b"\x02\x19"  # dataset 2:25
MARKER = 0x1C  # of a dataset
EXTENDED = 0x8000  # bit of a length that says how many bytes the real length has
NEXT = re.compile(rb"\x1c[\x01-\x09]")  # a marker and a record number
SIGNATURES = (b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa")  # of a resource
IPTC, XMP, EXIF = 0x0404, 0x0424, 0x0422  # resources: Adobe Photoshop File Formats, 2019


def keywords(block: bytes) -> list[str]:
    """The keywords in a block of datasets, without empty ones and those that are cut off."""
    return [_decoded(value) for value in _datasets(block) if value]


def _datasets(block: bytes) -> Iterator[bytes]:
    """The contents of the datasets that are keywords."""
    at = 0
    while (found := NEXT.search(block, at)) is not None:
        start = found.start() + 5
        length = int.from_bytes(block[start - 2 : start], "big")
        if length & EXTENDED:
            digits = length - EXTENDED
            length = int.from_bytes(block[start : start + digits], "big")
            start += digits
        if start + length > len(block):  # garbage, or cut off by its container
            at = found.start() + 1
            continue
        if block[found.start() + 1 : found.start() + 3] == KEYWORD:
            yield block[start : start + length]
        at = start + length


def _decoded(value: bytes) -> str:
    """Dataset 1:90, which names the letters, is left out: UTF-8 is hardly ever mistaken."""
    try:
        return value.decode()
    except UnicodeDecodeError:  # older programs wrote their system's letters
        return value.decode("cp1252", "replace")


def resources(contents: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the contents of each Photoshop resource."""
    at = 0
    while at + 12 <= len(contents):
        if contents[at : at + 4] not in SIGNATURES:
            if (at := contents.find(SIGNATURES[0], at)) < 0:
                return
            continue
        number = int.from_bytes(contents[at + 4 : at + 6], "big")
        start = at + 6 + (contents[at + 6] // 2 + 1) * 2  # behind the name, of an even size
        size = int.from_bytes(contents[start : start + 4], "big")
        yield number, contents[start + 4 : start + 4 + size]
        at = start + 4 + size
        if contents[at : at + 4] not in SIGNATURES:
            at += size % 2  # some programs leave the even size out


def blocks(contents: bytes) -> list[bytes]:
    """The blocks of datasets in what is either Photoshop's resources or such a block itself."""
    contents = contents.removeprefix(b"Photoshop 3.0\0")
    if contents[:4] in SIGNATURES:
        return [content for number, content in resources(contents) if number == IPTC]
    return [contents]
