"""XMP sidecars: automatic labels beside a photograph, told apart from a person's keywords.

A label becomes a keyword of `dc:subject`, unless it is one already, and `PREFIX|label`
of `lr:hierarchicalSubject`. `tagnet:AddedSubjects` lists the keywords that were added,
so that they can be taken back; nobody else's is ever removed. The photograph itself is
not touched. digiKam and darktable read `photo.jpg.xmp`.

XMP: ISO 16684-1. Namespaces: Dublin Core, Adobe Lightroom's, and one of our own.
"""

import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import defusedxml.ElementTree as safe

from tagnet.files import InputError, written_whole

X = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LR = "http://ns.adobe.com/lightroom/1.0/"
OURS = "urn:tagnet:xmp#"
PREFIXES = {"x": X, "rdf": RDF, "dc": DC, "lr": LR, "tagnet": OURS}

SUBJECT = f"{{{DC}}}subject"
HIERARCHICAL = f"{{{LR}}}hierarchicalSubject"
ADDED = f"{{{OURS}}}AddedSubjects"
BAG = f"{{{RDF}}}Bag"
ITEM = f"{{{RDF}}}li"
DESCRIPTION = f"{{{RDF}}}Description"
ABOUT = {f"{{{RDF}}}about": ""}  # the photograph beside the sidecar

BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
END = '\n<?xpacket end="w"?>\n'


def sidecar_of(photograph: Path) -> Path:
    """`photo.jpg` → `photo.jpg.xmp`."""
    return photograph.with_name(f"{photograph.name}.xmp")


def write_labels(photograph: Path, labels: Sequence[str], prefix: str) -> None:
    """Writes labels into the sidecar of a photograph, in place of those written earlier.

    Args:
        photograph: its file.
        labels: the labels; none takes back what was written earlier.
        prefix: the first level of the hierarchical keywords.

    Raises:
        InputError: the sidecar that is there is not XMP, or cannot be written.
    """
    path = sidecar_of(photograph)
    try:
        before = path.read_bytes() if path.exists() else None
        if before is None and not labels:
            return
        after = with_labels(before, labels, prefix, path)
        with written_whole(path) as temporary:
            temporary.write_bytes(after)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def with_labels(
    packet: bytes | None, labels: Sequence[str], prefix: str, where: str | Path
) -> bytes:
    """An XMP packet with these automatic labels and no others; everything else stays.

    Args:
        packet: the packet that is there, None for a new one.
        labels: the labels.
        prefix: the first level of the hierarchical keywords.
        where: what an error line calls the packet.
    """
    root = _parsed(packet, where)
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        raise InputError(f"{where}: must be XMP; it has no rdf:RDF")
    taken_back = set(_values(rdf, ADDED))
    subjects = [word for word in _values(rdf, SUBJECT) if word not in taken_back]
    added = [label for label in labels if label not in subjects]
    others = [word for word in _values(rdf, HIERARCHICAL) if not word.startswith(f"{prefix}|")]
    _put(rdf, SUBJECT, subjects + added)
    _put(rdf, HIERARCHICAL, others + [f"{prefix}|{label}" for label in labels])
    _put(rdf, ADDED, added)
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
        raise InputError(f"{where}: must be XMP; it cannot be read ({reason})") from error


def _values(rdf: ET.Element, name: str) -> list[str]:
    """The entries of a property, which may be a bag, or a plain value where there is one."""
    found: list[str] = []
    for description in rdf.iter(DESCRIPTION):
        if name in description.attrib:
            found.append(description.attrib[name])
        for element in description.findall(name):
            items = [item.text or "" for item in element.iter(ITEM)]
            found += items or [element.text or ""]
    return list(dict.fromkeys(filter(None, (value.strip() for value in found))))


def _put(rdf: ET.Element, name: str, values: Sequence[str]) -> None:
    """Makes a property a bag of these values; without any the property goes."""
    for description in list(rdf.iter(DESCRIPTION)):
        description.attrib.pop(name, None)
        for element in description.findall(name):
            description.remove(element)
    if not values:
        return
    first = rdf.find(DESCRIPTION)
    description = ET.SubElement(rdf, DESCRIPTION, ABOUT) if first is None else first
    bag = ET.SubElement(ET.SubElement(description, name), BAG)
    for value in values:
        ET.SubElement(bag, ITEM).text = value
