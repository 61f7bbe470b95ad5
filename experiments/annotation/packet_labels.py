"""Adds labels to the keywords of an XMP packet, and takes them out again.

Labels are added to the lists that programs read: as items of a list that is there, or in a
description of our own, which also holds the records (see `tagnet.photos.added`). Taking them out is
the inverse: the packet is as it was, to the byte. Where another program wrote in between, what is
recorded is taken out wherever it stands now, and lists and descriptions that this leaves empty.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from tagnet.photos import added, xmp
from tagnet.photos.added import (
    HIERARCHICAL,
    OWN,
    RECORDS,
    SEPARATORS,
    SUBJECT,
    VERSION,
    Added,
    Keyword,
)
from tagnet.photos.keywords import INTERNAL
from tagnet.photos.xmp import ABOUT, NAMESPACES, Edit, Element, Packet

CREATED = "tagnet:Created"  # the digest of a sidecar of ours without labels
REWRITTEN = "tagnet:Rewritten"  # forms of RDF that cannot be added to, and how to restore them
OURS = "tagnet:"
CURRENT = "2"
_ATTRIBUTE = r"""\s+{}\s*=\s*(?:"[^"]*"|'[^']*')"""


# --- Adding -----------------------------------------------------------------------------


def with_labels(
    packet: Packet,
    labels: Sequence[str],
    prefix: str,
    is_new: bool = False,
    embedded: Iterable[Keyword] = (),
) -> Packet:
    """Adds labels to a packet without any of ours.

    Args:
        packet: the packet, as `without_labels` gives it.
        labels: the labels.
        prefix: the first level of the hierarchical keywords.
        is_new: whether the packet is to become a sidecar where there was none.
        embedded: a person's keywords in the photo.
    """
    labels = list(dict.fromkeys(filter(None, map(xmp.spelt, labels))))
    theirs = _keywords(packet)
    additions = _additions(theirs, labels, prefix)
    written = {added.as_keyword(text, "|") for text in (*labels, prefix)}
    for name, items in additions.items():
        paths = (added.as_keyword(text, SEPARATORS[name]) for text in items)
        written |= {path for path in paths if len(path) > 1}
    known = [keyword for found in (*theirs.values(), embedded) for keyword in found]
    own = [keyword for keyword in dict.fromkeys(known) if keyword in added.with_levels(written)]
    records = {RECORDS[name]: items for name, items in additions.items()}
    records |= {OWN: ["|".join(keyword) for keyword in own], VERSION: [CURRENT]}
    if is_new:
        records[CREATED] = [digest(packet)]
    extended, undone = _extendable(packet, additions)
    if undone:
        records[REWRITTEN] = [json.dumps([digest(extended), undone])]
    return _with_items(extended, additions, records)


def with_keywords(packet: Packet, keywords: Sequence[Keyword]) -> Packet:
    """Adds a person's keywords to a packet for good, as they stand elsewhere in the photo."""
    found = _keywords(packet)
    there = added.with_levels({keyword for listed in found.values() for keyword in listed})
    more = ["|".join(keyword) for keyword in keywords if keyword not in there]
    if not more:
        return packet
    additions = {name: more for name in (SUBJECT, HIERARCHICAL) if name == SUBJECT or found[name]}
    return _with_items(_extendable(packet, additions)[0], additions, {})


def _keywords(packet: Packet) -> dict[str, list[Keyword]]:
    """The keywords in each of a packet's lists."""
    records = Added(packet)
    return {name: records.theirs(packet, name) for name in SEPARATORS}


def digest(packet: Packet) -> str:
    """Identifies the text of a packet."""
    return hashlib.sha256(packet.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _additions(
    theirs: Mapping[str, list[Keyword]], labels: Sequence[str], prefix: str
) -> dict[str, list[str]]:
    """What is added to each list.

    Programs look no further than the first list that has keywords, so each of those has the labels.
    A hierarchy of ours repeats what a person has in the other lists.
    """
    found: dict[str, list[str]] = {SUBJECT: list(labels)}
    for name, separator in SEPARATORS.items():
        if name != SUBJECT and (theirs[name] or name == HIERARCHICAL):
            found[name] = [f"{prefix}{separator}{label}" for label in labels]
    if not theirs[HIERARCHICAL]:
        others = [keyword for name in SEPARATORS if name != SUBJECT for keyword in theirs[name]]
        deep = [keyword for keyword in others if keyword[0] not in INTERNAL]
        levels = added.with_levels(set(others)) - set(deep)
        flat = [keyword for keyword in theirs[SUBJECT] if keyword not in levels]
        repeated = ["|".join(keyword) for keyword in dict.fromkeys([*deep, *flat])]
        found[HIERARCHICAL] = [*repeated, *found[HIERARCHICAL]]
    for name, items in found.items():
        known = set(theirs[name])
        new = (text for text in items if added.as_keyword(text, SEPARATORS[name]) not in known)
        found[name] = list(dict.fromkeys(new))
    return {name: items for name, items in found.items() if items}


def _with_items(
    packet: Packet, additions: Mapping[str, list[str]], records: Mapping[str, list[str]]
) -> Packet:
    """Adds items to lists that can take them, and a description with the rest."""
    edits, new = [], {}
    for name, items in additions.items():
        place = _list_of(packet, name)
        if place is None:
            new[name] = items
            continue
        last = place.children[-1]
        before = place.children[-2].end if len(place.children) > 1 else place.content
        blank = packet.text[before : last.start]
        blank = "" if blank.strip() else blank
        one = place.of("li")
        text = "".join(blank + xmp.item_text(one, item) for item in items)
        edits.append(Edit(last.end, last.end, text))
    properties = new | {name: items for name, items in records.items() if items}
    if properties:
        at = packet.rdf.close
        edits.append(Edit(at, at, _description(packet, properties)))
    return packet.edited(edits)


def _description(packet: Packet, properties: Mapping[str, list[str]]) -> str:
    """A description as text, about what the first one is about."""
    node = packet.nodes[0] if packet.nodes else None
    about = node.attributes.get(ABOUT, node.attributes.get("about", "")) if node else ""
    prefixes = dict.fromkeys(name.split(":")[0] for name in properties)
    if packet.rdf.scope.get("rdf", "").rstrip("#") != xmp.RDF.rstrip("#"):
        prefixes = {"rdf": None, **prefixes}
    spaces = "".join(f' xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in prefixes)
    lists = "".join(xmp.list_text(name, items) for name, items in properties.items())
    quoted = xmp.attribute_text(about)
    return f"<rdf:Description rdf:about={quoted}{spaces}>{lists}</rdf:Description>"


def _list_of(packet: Packet, name: str) -> Element | None:
    """The list of a property to which items can be added."""
    for element in packet.elements(name):
        found = xmp.list_of(element)
        if found is not None and found.children:
            return found
    return None


def _extendable(packet: Packet, names: Iterable[str]) -> tuple[Packet, list[list[int | str]]]:
    """Rewrites what cannot be added to: plain values as lists; empty lists are taken out.

    Returns:
        The packet, and for each piece of its text that is new: where it begins, its length, and
        what stood there.
    """
    edits = []
    rdf, text = packet.rdf, packet.text
    if rdf.is_empty_tag:
        edits.append(Edit(rdf.content - 2, rdf.content, f"></{rdf.spelt}>"))
    wanted = [name for name in names if _list_of(packet, name) is None]
    for node in packet.nodes:
        moved = ""
        for name in wanted:
            for child in node.children:
                if child.name == name:
                    edits.append(Edit(child.start, child.end, _as_list(packet, child)))
            if name not in node.attributes:
                continue
            edits += without_attribute(packet, node, name)
            if node.attributes[name].strip():
                spelt = _attribute_spelt(node, name)
                moved += xmp.list_text(spelt, [node.attributes[name]], rdf.of(""))
        if moved and node.is_empty_tag:
            edits.append(Edit(node.content - 2, node.content, f">{moved}</{node.spelt}>"))
        elif moved:
            edits.append(Edit(node.content, node.content, moved))
    undone: list[list[int | str]] = []
    shift = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        undone.append([start + shift, len(new), text[start:end]])
        shift += len(new) - (end - start)
    return packet.edited(edits) if edits else packet, undone


def _as_list(packet: Packet, element: Element) -> str:
    """A property without a list of items as a list of its one value; empty if it has none."""
    values = [value.text for value in packet.values(element.name) if value.element is element]
    if not values:
        return ""
    tag = packet.text[element.start : element.content]
    spaces = "".join(re.findall(_ATTRIBUTE.format(r"xmlns(?::[^\s=]+)?"), tag))
    whole = xmp.list_text(element.spelt, values, packet.rdf.of(""))
    return whole.replace(f"<{element.spelt}>", f"<{element.spelt}{spaces}>", 1)


def without_attribute(packet: Packet, node: Element, name: str) -> list[Edit]:
    """Takes an attribute out of a start tag, with the white space before it."""
    tag = packet.text[node.start : node.content]
    found = re.search(_ATTRIBUTE.format(re.escape(_attribute_spelt(node, name))), tag)
    return [Edit(node.start + found.start(), node.start + found.end(), "")] if found else []


def _attribute_spelt(node: Element, name: str) -> str:
    """How the attribute `name` is spelt in a start tag, by the prefixes that hold there."""
    usual, _, local = name.rpartition("}" if name.startswith("{") else ":")
    uri = NAMESPACES.get(usual, usual[1:]).rstrip("/#")
    for prefix, namespace in node.scope.items():
        if prefix and namespace.rstrip("/#") == uri:
            return f"{prefix}:{local}"
    return name


# --- Taking out -------------------------------------------------------------------------


def without_labels(packet: Packet) -> Packet:
    """The packet without what tagnet added to it."""
    records = Added(packet)
    if not records:
        return packet
    rewritten = packet.values(REWRITTEN)
    edits: list[Edit] = []
    for node in packet.nodes:
        gone: list[Element] = []
        inner: list[Edit] = []
        for element in node.children:
            items = _ours_in(element, records)
            listed = xmp.list_of(element)
            if element.name.startswith(OURS) or (
                listed is not None and items and len(items) == len(listed.children)
            ):
                gone.append(element)
                inner.append(Edit(_blank_before(packet, element.start), element.end, ""))
            elif listed is not None:
                inner += _taken_out(packet, listed, items)
        attributes = [name for name in node.attributes if name.startswith(OURS)]
        plain = set(node.attributes) - {ABOUT, "about", *attributes}
        if (gone or attributes) and len(gone) == len(node.children) and not plain:
            edits.append(Edit(node.start, node.end, ""))
            continue
        edits += inner
        for name in attributes:
            edits += without_attribute(packet, node, name)
    packet = packet.edited(edits)
    return _restored(packet, rewritten[0].text) if rewritten else packet


def is_empty(packet: Packet) -> bool:
    """Whether a packet has no property."""
    return not any(
        node.children or set(node.attributes) - {ABOUT, "about"} for node in packet.nodes
    )


def _ours_in(element: Element, records: Added) -> list[Element]:
    """The items of a list that tagnet added."""
    listed = xmp.list_of(element)
    if listed is None or element.name not in SEPARATORS:
        return []
    return [item for item in listed.children if records.is_ours_in(element.name, xmp.text_of(item))]


def _taken_out(packet: Packet, listed: Element, items: Sequence[Element]) -> list[Edit]:
    """Takes items out of a list, each with the white space between it and the one before."""
    edits = []
    for item in items:
        place = listed.children.index(item)
        start = item.start
        if place and not packet.text[listed.children[place - 1].end : start].strip():
            start = listed.children[place - 1].end
        edits.append(Edit(start, item.end, ""))
    return edits


def _blank_before(packet: Packet, at: int) -> int:
    """Where the white space before a place begins."""
    return len(packet.text[:at].rstrip())


def _restored(packet: Packet, rewritten: str) -> Packet:
    """Takes back what `_extendable` did, unless the packet changed since."""
    try:
        expected, pieces = json.loads(rewritten)
        edits = [Edit(start, start + length, was) for start, length, was in pieces]
    except (ValueError, TypeError):  # another program changed it
        return packet
    return packet.edited(edits) if digest(packet) == expected else packet
