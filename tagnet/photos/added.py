"""Which keywords of an XMP packet tagnet wrote, by what it recorded there.

Beside a list of keywords there is a record of what was added to it. Programs copy keywords from one
list to another and repeat the levels of a hierarchy as keywords of their own; such copies are ours
too, unless a person had the same keyword: those are recorded in `tagnet:Own`.
"""

import unicodedata
from typing import TypeAlias

from tagnet.photos import xmp
from tagnet.photos.xmp import Packet

Keyword: TypeAlias = tuple[str, ...]
"""A keyword's levels, the most general first."""

SUBJECT, HIERARCHICAL = "dc:subject", "lr:hierarchicalSubject"
# A list of keywords: what stands between the levels of one.
SEPARATORS = {
    SUBJECT: "|",
    HIERARCHICAL: "|",
    "digiKam:TagsList": "/",
    "MicrosoftPhoto:LastKeywordXMP": "/",
    "mediapro:CatalogSets": "|",
}
# A list of keywords: the record of what was added to it.
RECORDS = {
    SUBJECT: "tagnet:AddedSubjects",
    HIERARCHICAL: "tagnet:AddedHierarchy",
    "digiKam:TagsList": "tagnet:AddedTagsList",
    "MicrosoftPhoto:LastKeywordXMP": "tagnet:AddedLastKeywordXMP",
    "mediapro:CatalogSets": "tagnet:AddedCatalogSets",
}
OWN = "tagnet:Own"  # a person's keywords that are also among ours or their levels
VERSION = "tagnet:Version"  # of the records; 0.2 and earlier wrote none


def as_keyword(text: str, separator: str) -> Keyword:
    """The levels in a keyword's text: in Unicode NFC, white space as blanks, without empty ones."""
    levels = unicodedata.normalize("NFC", text).split(separator)
    return tuple(filter(None, map(xmp.spelt, levels)))


class Added:
    """What a packet records.

    Attributes:
        items: for each list of keywords the entries that were added to it.
        is_current: whether the records tell a person's keywords apart. Those of version 0.2 and
            earlier include the person's keywords that were repeated in the sidecar.
    """

    def __init__(self, packet: Packet) -> None:
        self.items = {
            name: {xmp.spelt(value.text) for value in packet.values(record)}
            for name, record in RECORDS.items()
        }
        self.is_current = bool(packet.values(VERSION))
        own = {as_keyword(value.text, "|") for value in packet.values(OWN)}
        paths = {
            name: {as_keyword(text, SEPARATORS[name]) for text in items}
            for name, items in self.items.items()
        }
        # Entries of one level in the hierarchy repeat what a person has elsewhere.
        repeated = {path for path in paths[HIERARCHICAL] if len(path) == 1} - paths[SUBJECT]
        self._own = own | repeated
        self._ours = with_levels(
            paths[SUBJECT]
            | {path for found in paths.values() for path in found if len(path) > 1} - self._own
        )

    def __bool__(self) -> bool:
        return self.is_current or any(self.items.values())

    def is_ours(self, keyword: Keyword) -> bool:
        """Whether tagnet wrote the keyword, or a program copied it from what tagnet wrote."""
        return keyword in self._ours and keyword not in self._own

    def is_ours_in(self, name: str, text: str) -> bool:
        """Whether an entry of the list `name` is to be taken out with our labels."""
        if xmp.spelt(text) in self.items[name]:
            return True
        return self.is_ours(as_keyword(text, SEPARATORS[name]))

    def theirs(self, packet: Packet, name: str) -> list[Keyword]:
        """The keywords in one of a packet's lists without ours."""
        texts = [value.text for value in packet.values(name)]
        found = [
            as_keyword(text, SEPARATORS[name]) for text in texts if not self.is_ours_in(name, text)
        ]
        return list(filter(None, found))


def with_levels(keywords: set[Keyword]) -> set[Keyword]:
    """The keywords, and the levels of each as keywords of their own."""
    return keywords | {(level,) for keyword in keywords for level in keyword}
