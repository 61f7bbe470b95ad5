"""Reads the keywords that people gave their photos, in the files and in sidecars.

Read are IPTC Keywords; of XMP `dc:subject`, `lr:hierarchicalSubject` (Lightroom, darktable),
`digiKam:TagsList`, `MicrosoftPhoto:LastKeywordXMP` and `mediapro:CatalogSets`; of EXIF
`XPKeywords` (Windows). A sidecar that has keywords replaces what stands in the file.

What tagnet recorded as its own and what programs note for themselves are no keywords.
"""

import unicodedata
from collections.abc import Iterable, Iterator

from tagnet.errors import InputError
from tagnet.photos import added, iptc
from tagnet.photos.added import SEPARATORS, Added, Keyword, as_keyword
from tagnet.photos.folders import Photograph
from tagnet.photos.metadata import Metadata, read_metadata
from tagnet.photos.xmp import Packet

INTERNAL = ("darktable", "_Digikam_Internal_Tags_")  # what these programs note for themselves


def read_keywords(photograph: Photograph) -> tuple[list[Keyword], list[str]]:
    """Reads the keywords of a photo and its sidecars.

    Returns:
        The keywords, each once, and a line for each place that is damaged. A file that is no
        image has neither: whoever reads its pixels says so.

    Raises:
        MemoryError: there is too little memory to read them.
    """
    damaged: list[str] = []
    beside: list[Packet] = []
    for path in photograph.sidecars:
        try:
            beside.append(Packet(path.read_bytes(), path))
        except OSError as error:
            damaged.append(f"{path}: cannot be read ({error.strerror})")
        except InputError as error:
            damaged.append(str(error))
    records = [Added(packet) for packet in beside]
    found = _without_notes(
        keyword
        for packet, record in zip(beside, records, strict=True)
        for keyword in _in_packet(packet, record)
    )
    if not found:
        found, problems = embedded_keywords(photograph, records)
        damaged += problems
    return found, damaged


def embedded_keywords(
    photograph: Photograph, beside: Iterable[Added] = ()
) -> tuple[list[Keyword], list[str]]:
    """Reads the keywords in a photo's file.

    Args:
        photograph: the photo.
        beside: what its sidecars record as added; programs write a sidecar's keywords into
            the file, too.

    Returns:
        As `read_keywords`.
    """
    try:
        metadata = read_metadata(photograph.path)
    except OSError:
        metadata = Metadata()
    damaged = [f"{photograph.path}: {reason}" for reason in metadata.damaged]
    packets = []
    for contents in (*metadata.xmp, *metadata.extended.values()):
        try:
            packets.append(Packet(contents, photograph.path))
        except InputError as error:
            damaged.append(str(error))
    records = list(map(Added, packets))
    found = [as_keyword(text, "|") for block in metadata.iptc for text in iptc.keywords(block)]
    found += [as_keyword(text, "|") for value in metadata.xp_keywords for text in value.split(";")]
    for packet, record in zip(packets, records, strict=True):
        found += _in_packet(packet, record)
    records += [record for record in beside if record.is_current]
    kept = (word for word in found if not any(record.is_ours(word) for record in records))
    return _without_notes(kept), damaged


def _in_packet(packet: Packet, record: Added) -> Iterator[Keyword]:
    for name in SEPARATORS:
        yield from record.theirs(packet, name)


def _without_notes(keywords: Iterable[Keyword]) -> list[Keyword]:
    """The keywords, each once, without programs' own notes and the flat copies of their levels."""
    found = list(dict.fromkeys(filter(None, keywords)))
    notes = added.with_levels({keyword for keyword in found if keyword[0] in INTERNAL})
    return [keyword for keyword in found if keyword not in notes]


def split_keywords(
    keywords: Iterable[Keyword], label_prefix: str | None
) -> tuple[list[str], list[str]]:
    """Splits keywords into tags and labels.

    A keyword, its levels joined by `|`, that begins with the prefix (capitals do not
    matter) gives labels: each level of what follows. Programs repeat the levels of a
    hierarchy as keywords of their own; those of a label are not tags, since they
    would give the label away.

    >>> split_keywords([("label", "Beach"), ("beach",), ("label",), ("sea",)], "label|")
    (['sea'], ['Beach'])
    """
    prefix = unicodedata.normalize("NFC", label_prefix or "").lower()
    labels: dict[str, None] = {}
    given_away: set[str] = set()
    others: list[Keyword] = []
    for levels in keywords:
        whole = "|".join(levels)
        if prefix and whole.lower().startswith(prefix):
            labels.update(dict.fromkeys(filter(None, whole[len(prefix) :].split("|"))))
            given_away.update(level.lower() for level in levels)
        else:
            others.append(levels)
    tags = dict.fromkeys(
        level
        for levels in others
        if len(levels) > 1 or levels[0].lower() not in given_away
        for level in levels
    )
    return list(tags), list(labels)
