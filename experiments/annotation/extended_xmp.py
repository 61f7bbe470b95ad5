"""Puts together the XMP of a JPEG whose packet had no room for all of it.

An APP1 segment holds 64 KB. What does not fit is an extended packet, in segments of its own, and
the main one names it in `xmpNote:HasExtendedXMP` by its GUID. A sidecar has room for both, so it
gets the extended packet's descriptions behind those of the main one, as text, and no such note.

XMP: Adobe's XMP Specification, part 3, section 1.1.3.1.
"""

import re
from collections.abc import Mapping
from contextlib import suppress

from experiments.annotation.packet_labels import without_attribute
from tagnet.errors import InputError
from tagnet.photos import xmp
from tagnet.photos.xmp import ABOUT, Edit, Element, Packet

NOTE = "xmpNote:HasExtendedXMP"


def whole_packet(contents: bytes, extended: Mapping[bytes, bytes]) -> Packet:
    """A photo's packet as one of a file, with all that its extended packet has.

    Args:
        contents: the packet.
        extended: what is in a photo's extended packets, by GUID. One that is missing or damaged
            is left out.

    Raises:
        InputError: `contents` is not XMP.
    """
    packet = Packet(contents).as_new_file()
    guids = {value.text.strip().encode() for value in packet.values(NOTE)}
    packet = _without_note(packet)
    for guid in guids & extended.keys():
        with suppress(InputError):
            packet = _joined(packet, Packet(extended[guid]).as_new_file())
    return packet


def _without_note(packet: Packet) -> Packet:
    edits = []
    for node in packet.nodes:
        gone = [child for child in node.children if child.name == NOTE]
        others = set(node.attributes) - {ABOUT, "about", NOTE}
        if (gone or NOTE in node.attributes) and len(gone) == len(node.children) and not others:
            edits.append(Edit(node.start, node.end, ""))
            continue
        edits += [Edit(child.start, child.end, "") for child in gone]
        if NOTE in node.attributes:
            edits += without_attribute(packet, node, NOTE)
    return packet.edited(edits)


def _joined(packet: Packet, extended: Packet) -> Packet:
    """The packet with the properties of the extended one that it does not have."""
    known = {name for node in packet.nodes for name in _properties(node)}
    # A packet is about one thing, which only its own descriptions say for certain.
    abouts = [node.attributes.get(ABOUT, node.attributes.get("about")) for node in packet.nodes]
    about = next(filter(None, abouts), "")
    more = "".join(_of_its_own(extended, node, known, about) for node in extended.nodes)
    rdf = packet.rdf
    if rdf.is_empty_tag:
        return packet.edited([Edit(rdf.content - 2, rdf.content, f">{more}</{rdf.spelt}>")])
    return packet.edited([Edit(rdf.close, rdf.close, more)])


def _properties(node: Element) -> set[str]:
    return {child.name for child in node.children} | set(node.attributes) - {ABOUT, "about"}


def _of_its_own(packet: Packet, node: Element, known: set[str], about: str) -> str:
    """A description as text that may stand in another packet; empty if it has nothing new."""
    if _properties(node) <= known:
        return ""
    edits = [Edit(child.start, child.end, "") for child in node.children if child.name in known]
    for name in node.attributes:
        if name in known or name in (ABOUT, "about"):
            edits += without_attribute(packet, node, name)
    tag = packet.text[node.start : node.content]
    spaces = ""
    for prefix, uri in node.scope.items():
        spelt = f"xmlns:{prefix}" if prefix else "xmlns"
        if not re.search(rf"\s{re.escape(spelt)}\s*=", tag):
            spaces += f" {spelt}={xmp.attribute_text(uri)}"
    at = node.start + 1 + len(node.spelt)
    edits.append(Edit(at, at, f" {node.of('about')}={xmp.attribute_text(about)}{spaces}"))
    behind = len(packet.text) - node.end
    text = packet.edited(edits).text
    return text[node.start : len(text) - behind]
