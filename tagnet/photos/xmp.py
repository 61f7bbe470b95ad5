"""XMP packets: their properties, and where each stands in the text, so that text can be edited.

A packet is never written anew: an edit replaces pieces of its text, and the rest stays to the byte
(comments, processing instructions, padding, quotes, order, encoding). What is no XML around a
packet, and characters in it that XML forbids, are stepped over.

XMP: ISO 16684-1.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from tagnet.errors import InputError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "tagnet": "urn:tagnet:xmp#",
}
# Some programs leave the last character of a namespace out.
_USUAL = {uri.rstrip("/#"): prefix for prefix, uri in NAMESPACES.items()}
DESCRIPTION, BAG, ABOUT = "rdf:Description", "rdf:Bag", "rdf:about"
CONTAINERS = (BAG, "rdf:Seq", "rdf:Alt")

BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
END = '\n<?xpacket end="w"?>\n'
EMPTY = (
    f'{BEGIN}<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{RDF}">'
    f"</rdf:RDF></x:xmpmeta>{END}"
)

# What XML 1.0 cannot hold, not even as a reference.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_STAND_IN = "\ufdd0"  # no character by Unicode, but allowed in XML
_START_TAG = re.compile(r"""<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
_DECLARED = re.compile(r"""<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""")
_ONE_BYTE = ("iso-8859-1", "latin-1", "windows-1252", "us-ascii")  # as declared, in lower case


@dataclass(eq=False)
class Element:
    """An element, and its place in the text.

    Attributes:
        name: with the usual prefix, as `dc:subject`, or else with its namespace.
        spelt: as it stands in the text.
        attributes: by such a name.
        start: where its start tag begins.
        content: where its start tag ends.
        close: where its end tag begins; `content` if it has none.
        end: where it ends.
        children: the elements directly in it.
        text: the characters directly in it.
        scope: the namespaces of the prefixes in it.
    """

    name: str
    spelt: str
    attributes: dict[str, str]
    start: int
    content: int
    scope: dict[str, str]
    close: int = 0
    end: int = 0
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    @property
    def is_empty_tag(self) -> bool:
        """Whether it has no end tag, as `<a/>`."""
        return self.content == self.end

    def of(self, local: str) -> str:
        """`local` with the prefix that this element is spelt with."""
        prefix, colon, _ = self.spelt.rpartition(":")
        return f"{prefix}{colon}{local}"


class Value(NamedTuple):
    """One value of a property, and its element; None for an attribute."""

    text: str
    element: Element | None


class Edit(NamedTuple):
    """Replaces the text from `start` to `end`."""

    start: int
    end: int
    text: str


class Packet:
    """An XMP packet.

    Args:
        contents: a sidecar, or what stands in a photo.
        where: what an error line calls it.

    Attributes:
        text: the packet from its first `<`; an edit makes another `Packet`.
        rdf: its first `rdf:RDF`.
        nodes: the elements that have its properties, as `rdf:Description`.

    Raises:
        InputError: it is not XMP.
    """

    def __init__(self, contents: bytes, where: object = "XMP") -> None:
        self.where = where
        self._head, body, self._tail, self._codec = _encoding(contents)
        try:
            self.text = body.decode(self._codec, _errors(self._codec))
        except UnicodeError as error:
            raise InputError(f"{where}: not XMP ({error})") from error
        self._parse()

    def _parse(self) -> None:
        try:
            root = _parsed(self.text)
        except (expat.ExpatError, ValueError) as error:
            raise InputError(f"{self.where}: not XMP ({error})") from error
        found = list(_rdf(root))
        if not found:
            raise InputError(f"{self.where}: not XMP (no rdf:RDF)")
        self.rdf = found[0]
        self.nodes = [node for rdf in found for node in rdf.children]
        self.root = root

    @property
    def contents(self) -> bytes:
        """The bytes of a file with this packet."""
        return self._head + self.text.encode(self._codec, _errors(self._codec)) + self._tail

    def edited(self, edits: Iterable[Edit]) -> "Packet":
        """The packet with other text in some places, which must not overlap."""
        parts, at = [], 0
        for start, end, text in sorted(edits, key=lambda edit: edit[:2]):
            parts += [self.text[at:start], self._encodable(text)]
            at = end
        other = object.__new__(Packet)
        other.where, other._head, other._tail = self.where, self._head, self._tail
        other._codec = self._codec
        other.text = "".join([*parts, self.text[at:]])
        other._parse()
        return other

    def _encodable(self, text: str) -> str:
        """Our own text, with references in place of characters that the encoding lacks."""
        if self._codec.startswith("utf-"):
            return text
        return text.encode(self._codec, "xmlcharrefreplace").decode(self._codec)

    def as_new_file(self) -> "Packet":
        """The packet alone, as UTF-8, without what stood around it in a photo."""
        text = self.text[self.root.start : self.root.end]
        return Packet(f"{BEGIN}{text}{END}".encode("utf-8", "replace"), self.where)

    def elements(self, name: str) -> list[Element]:
        """The elements of a property."""
        return [child for node in self.nodes for child in node.children if child.name == name]

    def has(self, name: str) -> bool:
        """Whether there is a property, perhaps an empty one."""
        return any(name in node.attributes for node in self.nodes) or bool(self.elements(name))

    def values(self, name: str) -> list[Value]:
        """The values of a property: the items of a list, or a single plain value."""
        found = []
        for node in self.nodes:
            if name in node.attributes:
                found.append(Value(node.attributes[name], None))
            for child in node.children:
                if child.name == name:
                    found += [Value(text_of(item), item) for item in _items(child)]
        return [value for value in found if value.text.strip()]


def spelt(text: str) -> str:
    """A value as it may be written: without forbidden characters, white space as blanks."""
    return " ".join(FORBIDDEN.sub("", text).split())


def list_text(name: str, values: Iterable[str], rdf: str = "rdf:") -> str:
    """A property that is a list, as text; `rdf` is the prefix of RDF there, with its colon."""
    items = "".join(item_text(f"{rdf}li", value) for value in values)
    return f"<{name}><{rdf}Bag>{items}</{rdf}Bag></{name}>"


def item_text(name: str, value: str) -> str:
    """An item of a list as text."""
    return f"<{name}>{escape(value)}</{name}>"


def attribute_text(value: str) -> str:
    """The value of an attribute in quotes."""
    return quoteattr(value)


# --- Values -----------------------------------------------------------------------------


def _items(element: Element) -> Iterator[Element]:
    """The elements that hold the values of a property's element."""
    container = list_of(element)
    if container is not None:
        yield from container.children
    elif not any(child.name in CONTAINERS for child in element.children):
        yield element


def list_of(element: Element) -> Element | None:
    """The bag, sequence or alternative in a property's element, perhaps a qualified one."""
    while True:
        for child in element.children:
            if child.name in CONTAINERS:
                return child
        inner = _qualified(element)
        if inner is None:
            return None
        element = inner


def text_of(element: Element) -> str:
    """The text of an item, which may stand in an `rdf:value`."""
    while True:
        for name in ("rdf:value", "rdf:resource"):
            if name in element.attributes:
                return element.attributes[name]
        inner = _qualified(element)
        if inner is None:
            return element.text.replace(_STAND_IN, "")
        element = inner


def _qualified(element: Element) -> Element | None:
    """What a value that has qualifiers stands in."""
    for name in ("rdf:value", DESCRIPTION):
        for child in element.children:
            if child.name == name:
                return child
    return None


# --- Parsing ----------------------------------------------------------------------------


def _encoding(contents: bytes) -> tuple[bytes, bytes, bytes, str]:
    """What stands before a packet's first `<`, the packet, odd bytes behind it, its encoding."""
    start = contents.find(b"<")
    if start < 0:
        return b"", contents, b"", "utf-8"
    behind = [byte == 0 for byte in contents[start + 1 : start + 4]]
    codec = "utf-8"
    if behind == [True, True, True]:
        codec = "utf-32-be" if _is_behind(contents, start, 3, b"\0\0\xfe\xff") else "utf-32-le"
    elif behind[:2] == [True, False]:
        codec = "utf-16-be" if _is_behind(contents, start, 1, b"\xfe\xff") else "utf-16-le"
    size = {"utf-16": 2, "utf-32": 4}.get(codec[:6], 1)
    first = start - (size - 1 if codec.endswith("be") else 0)
    end = len(contents) - (len(contents) - first) % size
    body = contents[first:end]
    if codec == "utf-8" and (found := _DECLARED.match(body[:200].decode("latin-1"))):
        declared = found[1].lower()
        codec = declared if declared in _ONE_BYTE else codec
    return contents[:first], body, contents[end:], codec


def _errors(codec: str) -> str:
    """How bytes that are no characters are kept."""
    return "surrogatepass" if codec.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _is_behind(contents: bytes, start: int, zeros: int, mark: bytes) -> bool:
    """Whether the `<` at `start` is the last byte of a character, not the first."""
    before = contents[max(start - zeros - len(mark), 0) : start]
    return (
        before.endswith(mark + bytes(zeros))
        or before == bytes(zeros)
        or (not before.endswith(mark[::-1]) and start % (zeros + 1) == zeros)
    )


def _readable(text: str) -> str:
    """The text with a stand-in for each character that XML forbids; as long as it was."""

    def letter(found: re.Match[str]) -> str:
        code = ord(found[0]) - 0xDC00  # a byte that is no UTF-8: mostly Windows' letters
        if 0x80 <= code <= 0xFF:
            return bytes([code]).decode("cp1252", "replace").replace("\ufffd", _STAND_IN)
        return _STAND_IN

    def reference(found: re.Match[str]) -> str:
        code = int(found[1], 16) if found[1] else int(found[2])
        is_allowed = code <= 0x10FFFF and not FORBIDDEN.match(chr(code))
        return found[0] if is_allowed else _STAND_IN * len(found[0])

    return _REFERENCE.sub(reference, FORBIDDEN.sub(letter, text))


def _rdf(root: Element) -> Iterator[Element]:
    """The `rdf:RDF` elements, whatever stands around them."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if element.name == "rdf:RDF":
            yield element
        else:
            waiting += reversed(element.children)


def _parsed(text: str) -> Element:
    """The root element; what stands behind it may be anything."""
    text = _readable(text)
    data = text.encode()
    parser = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    open_elements: list[Element] = []
    roots: list[Element] = []
    counted = [0, 0]  # bytes and characters

    def place() -> int:
        """Where the parser is, in characters."""
        at = parser.CurrentByteIndex
        counted[1] += len(data[counted[0] : at].decode())
        counted[0] = at
        return counted[1]

    def start(name: str, listed: list[str]) -> None:
        at = place()
        tag = _START_TAG.match(text, at)
        if tag is None:
            raise ValueError(f"unreadable tag at character {at}")
        pairs = list(zip(listed[::2], listed[1::2], strict=True))
        scope = open_elements[-1].scope if open_elements else {}
        declared = {key[6:]: uri for key, uri in pairs if key == "xmlns" or key[:6] == "xmlns:"}
        scope = scope | declared if declared else scope
        attributes = {
            _named(key, scope, is_attribute=True): value.replace(_STAND_IN, "")
            for key, value in pairs
            if not key.startswith("xmlns")
        }
        element = Element(_named(name, scope), name, attributes, at, tag.end(), scope)
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def end(name: str) -> None:
        at = place()
        element = open_elements.pop()
        element.close = element.end = element.content
        if text[element.content - 2] != "/":
            element.close, element.end = at, text.index(">", at) + 1

    def characters(found: str) -> None:
        open_elements[-1].text += found

    def refuse(*_: object) -> int:
        raise ValueError("entities are forbidden")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        if not roots or open_elements:
            raise
        # What stands behind the packet is no part of it.
    if not roots:
        raise ValueError("no element found")
    return roots[0]


def _named(name: str, scope: dict[str, str], is_attribute: bool = False) -> str:
    """The name with the usual prefix of its namespace."""
    prefix, colon, local = name.rpartition(":")
    if is_attribute and not colon:
        return local
    uri = scope.get(prefix)
    if uri is None:  # an undeclared prefix means what it means elsewhere
        return name
    usual = _USUAL.get(uri.rstrip("/#"))
    return f"{usual}:{local}" if usual else f"{{{uri}}}{local}"
