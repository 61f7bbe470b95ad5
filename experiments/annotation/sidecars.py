"""XMP sidecars: automatic labels, kept apart from a person's keywords.

A label becomes a keyword of `dc:subject`, unless a person gave it already, and `PREFIX|label`
of `lr:hierarchicalSubject`. Some programs look no further than a sidecar, or than the
hierarchical keywords, where there are any; so what a person wrote is repeated there: the
keywords in the photograph, and flat keywords as hierarchies of one level.

`tagnet:AddedSubjects` and `tagnet:AddedHierarchy` list what was added, so that it can be
taken back; nothing else is ever removed. The photograph itself is not touched. digiKam and
darktable read `photo.jpg.xmp`.

XMP: ISO 16684-1. Namespaces: Dublin Core, Adobe Lightroom's, digiKam's, and one of our own.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import defusedxml.ElementTree as safe

from tagnet.errors import InputError
from tagnet.photos.keywords import Keyword, Photograph, read_keywords
from tagnet.system.files import atomic_write, writing

X = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LR = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
OURS = "urn:tagnet:xmp#"
PREFIXES = {"x": X, "rdf": RDF, "dc": DC, "lr": LR, "digiKam": DIGIKAM, "tagnet": OURS}

SUBJECT = f"{{{DC}}}subject"
HIERARCHICAL = f"{{{LR}}}hierarchicalSubject"
TAGS_LIST = f"{{{DIGIKAM}}}TagsList"  # digiKam's own copy of a hierarchy, parted by /
ADDED = f"{{{OURS}}}AddedSubjects"
ADDED_HIERARCHY = f"{{{OURS}}}AddedHierarchy"
BAG, SEQUENCE = f"{{{RDF}}}Bag", f"{{{RDF}}}Seq"
ITEM = f"{{{RDF}}}li"
DESCRIPTION = f"{{{RDF}}}Description"
ABOUT = {f"{{{RDF}}}about": ""}  # the photograph beside the sidecar

BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
END = '\n<?xpacket end="w"?>\n'
# What XML 1.0 cannot hold, not even as a reference.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sidecar_of(photograph: Path) -> Path:
    """`photo.jpg` → `photo.jpg.xmp`."""
    return photograph.with_name(f"{photograph.name}.xmp")


def write_labels(photograph: Path, labels: Sequence[str], prefix: str) -> None:
    """Writes labels into a photo's sidecar, replacing those written earlier.

    Args:
        photograph: its file.
        labels: the labels; none takes back what was written earlier.
        prefix: the first level of the hierarchical keywords.

    Raises:
        InputError: the sidecar that is there is not XMP, or cannot be written.
    """
    path = sidecar_of(photograph)
    with writing(path):
        before = path.read_bytes() if path.exists() else None
        if before is None and not labels:
            return
        own, _ = read_keywords(Photograph(photograph.name, photograph, ()))
        after = with_labels(before, labels, prefix, path, own if labels else ())
        with atomic_write(path) as temporary:
            temporary.write_bytes(after)


def with_labels(
    packet: bytes | None,
    labels: Sequence[str],
    prefix: str,
    where: str | Path,
    own: Sequence[Keyword] = (),
) -> bytes:
    """An XMP packet with these automatic labels and no others; everything else stays.

    Args:
        packet: the packet that is there, None for a new one.
        labels: the labels.
        prefix: the first level of the hierarchical keywords.
        where: what an error line calls the packet.
        own: a person's keywords in the photograph, to be repeated.
    """
    root = _parsed(packet, where)
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        raise InputError(f"{where}: not XMP (no rdf:RDF)")
    spelt = (" ".join(FORBIDDEN.sub("", label).split()) for label in labels)
    labels = list(filter(None, spelt))
    added_before = set(_values(rdf, ADDED_HIERARCHY))
    hierarchy = [path for path in _values(rdf, HIERARCHICAL) if path not in added_before]
    tags_list = [
        path for path in _values(rdf, TAGS_LIST) if path.replace("/", "|") not in added_before
    ]
    theirs = {level for path in hierarchy for level in path.split("|")}
    theirs |= {level for path in tags_list for level in path.split("/")}
    subjects = [
        word for word in _values(rdf, SUBJECT) if word not in _values(rdf, ADDED) or word in theirs
    ]
    added = [keyword[-1] for keyword in own] + labels
    added = [word for word in added if word not in subjects and word not in theirs]
    paths = [word for word in subjects if word not in theirs] if labels else []
    paths += ["|".join(keyword) for keyword in own]
    paths += [f"{prefix}|{label}" for label in labels]
    _put(rdf, SUBJECT, subjects + added)
    _put(rdf, HIERARCHICAL, hierarchy + paths)
    _put(rdf, ADDED, added)
    _put(rdf, ADDED_HIERARCHY, [path for path in paths if path not in hierarchy])
    if len(tags_list) < len(_values(rdf, TAGS_LIST)):
        _put(rdf, TAGS_LIST, tags_list, SEQUENCE)
    text = ET.tostring(root, encoding="unicode")
    return f"{BEGIN}{text}{END}".encode()


def _parsed(packet: bytes | None, where: str | Path) -> ET.Element:
    for prefix, uri in PREFIXES.items():
        ET.register_namespace(prefix, uri)
    if packet is None:
        root = ET.Element(f"{{{X}}}xmpmeta")
        rdf = ET.SubElement(root, f"{{{RDF}}}RDF")
        ET.SubElement(rdf, DESCRIPTION, ABOUT)
        return root
    try:
        # Prefixes mean nothing in XML, but some programs know no others than the usual.
        for _, (prefix, uri) in safe.iterparse(io.BytesIO(packet), events=("start-ns",)):
            if prefix and not prefix.startswith("ns"):  # ElementTree keeps ns0, ns1, … for itself
                ET.register_namespace(prefix, uri)
        return safe.fromstring(packet)
    except (ET.ParseError, ValueError) as error:  # ValueError: what defusedxml forbids
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not XMP ({reason})") from error


def _values(rdf: ET.Element, name: str) -> list[str]:
    """The entries of a property: a bag, or a single plain value."""
    found: list[str] = []
    for description in rdf.iter(DESCRIPTION):
        if name in description.attrib:
            found.append(description.attrib[name])
        for element in description.findall(name):
            items = [item.text or "" for item in element.iter(ITEM)]
            found += items or [element.text or ""]
    return list(dict.fromkeys(filter(None, (value.strip() for value in found))))


def _put(rdf: ET.Element, name: str, values: Sequence[str], kind: str = BAG) -> None:
    """Sets a property to a bag of these values, each once; removes it if there are none."""
    for description in list(rdf.iter(DESCRIPTION)):
        description.attrib.pop(name, None)
        for element in description.findall(name):
            description.remove(element)
    if not values:
        return
    first = rdf.find(DESCRIPTION)
    description = ET.SubElement(rdf, DESCRIPTION, ABOUT) if first is None else first
    bag = ET.SubElement(ET.SubElement(description, name), kind)
    for value in dict.fromkeys(values):
        ET.SubElement(bag, ITEM).text = value
