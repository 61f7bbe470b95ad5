"""A new sidecar has all XMP of a JPEG, also what stands in its extended packet."""

from pathlib import Path

import pytest
from helpers.photographs import extension, jpeg, xmp

from experiments.annotation.extended_xmp import whole_packet
from experiments.annotation.sidecars import write_labels
from tagnet.photos.folders import photograph_at
from tagnet.photos.keywords import read_keywords
from tagnet.photos.xmp import Packet

GUID = b"0123456789ABCDEF0123456789ABCDEF"
NOTE = b'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="%s"' % GUID
MAIN = xmp(dc_subject=["Rome"]).replace(b'rdf:about=""', b'rdf:about="uuid:1" %s' % NOTE, 1)
RDF = b'xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
MORE = (
    b"""<r:RDF %s xmlns:d="http://purl.org/dc/elements/1.1/">
<r:Description xmlns:u="urn:u" r:about="" u:plain='&lt;"1"' d:subject="twice">
 <d:subject>twice</d:subject><d:title><r:Alt><r:li xml:lang="x-default">T &amp; U</r:li></r:Alt>
</d:title></r:Description><r:Description><d:rights>R</d:rights></r:Description></r:RDF>"""
    % RDF
)


def photo_with(path: Path, main: bytes, more: bytes) -> Path:
    half = len(more) // 2
    first = 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main
    pieces = (extension(GUID, more, 0, half), extension(GUID, more, half, len(more)))
    return jpeg(path, first, *pieces)


def values(packet: Packet, *names: str) -> list[list[str]]:
    return [[value.text for value in packet.values(name)] for name in names]


def test_a_new_sidecar_has_the_extended_packet_too_and_is_deleted_again(tmp_path):
    photo = photo_with(tmp_path / "a.jpg", MAIN, MORE)
    photograph = photograph_at(photo, {})[0]
    side = tmp_path / "a.jpg.xmp"
    assert write_labels(photograph, ["dog"], "auto").made == [side]
    text = side.read_bytes()
    packet = Packet(text)
    names = ("dc:subject", "dc:title", "dc:rights", "{urn:u}plain")
    assert values(packet, *names) == [["Rome", "twice", "dog"], ["T & U"], ["R"], ['<"1"']]
    assert b"HasExtendedXMP" not in text
    abouts = {node.attributes["rdf:about"] for node in packet.nodes}
    assert abouts == {"uuid:1"}  # readers refuse a packet about two things
    assert read_keywords(photograph_at(photo, {})[0]) == ([("Rome",), ("twice",)], [])
    assert write_labels(photograph_at(photo, {})[0], [], "auto").deleted == [side]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_keywords_of_the_extended_packet_are_not_repeated(tmp_path):
    photo = photo_with(tmp_path / "a.jpg", MAIN, xmp(lr_hierarchicalSubject=["places|Rome"]))
    write_labels(photograph_at(photo, {})[0], ["dog"], "auto")
    packet = Packet((tmp_path / "a.jpg.xmp").read_bytes())
    assert values(packet, "dc:subject", "lr:hierarchicalSubject") == [
        ["Rome", "dog"],
        ["places|Rome", "auto|dog"],
    ]


@pytest.mark.parametrize("extended", [{}, {GUID: MORE[:200]}, {GUID[::-1]: MORE}])
def test_the_note_goes_where_its_packet_is_missing_damaged_or_another(extended):
    packet = whole_packet(MAIN, extended)
    assert values(packet, "dc:subject", "dc:title") == [["Rome"], []]
    assert "HasExtendedXMP" not in packet.text


@pytest.mark.parametrize(
    "note",
    [
        b"<rdf:Description %s/>" % NOTE,
        b'<rdf:Description xmlns:n="http://ns.adobe.com/xmp/note/">'
        b"<n:HasExtendedXMP>%s</n:HasExtendedXMP></rdf:Description>" % GUID,
    ],
)
def test_a_description_of_the_note_alone_goes_with_it(note):
    main = xmp(dc_subject=["Rome"])
    packet = whole_packet(main.replace(b"</rdf:RDF>", note + b"</rdf:RDF>"), {})
    assert packet.text == Packet(main).as_new_file().text


def test_a_main_packet_that_has_the_note_alone():
    main = b"<rdf:RDF %s>%s</rdf:RDF>" % (
        RDF.replace(b":r=", b":rdf="),
        b"<rdf:Description %s/>" % NOTE,
    )
    packet = whole_packet(main, {GUID: MORE})
    assert values(packet, "dc:subject", "dc:rights") == [["twice", "twice"], ["R"]]


def test_a_property_that_both_have_is_that_of_the_main_packet():
    packet = whole_packet(MAIN, {GUID: MORE})
    assert values(packet, "dc:subject", "dc:rights") == [["Rome"], ["R"]]


def test_a_packet_without_the_note_stays_as_it_is():
    main = xmp(dc_subject=["Rome"], lr_hierarchicalSubject=["a|b"])
    assert whole_packet(main, {GUID: MORE}).text == Packet(main).as_new_file().text
