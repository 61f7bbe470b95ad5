"""Keywords that programs wrote into photos and sidecars."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.photographs import NAMESPACES, iim, write, xmp
from PIL import Image

from tagnet.photos import keywords
from tagnet.photos.folders import Photograph
from tagnet.photos.keywords import read_keywords, split_keywords


def photograph(path: Path, *sidecars: Path) -> Photograph:
    return Photograph(path.name, path, sidecars)


# --- Keywords -------------------------------------------------------------------------------

KEYWORDS = [("Rome",), ("places", "Italy", "Rome"), ("sea & sky",)]
PACKET = xmp(dc_subject=["Rome"], lr_hierarchicalSubject=["places|Italy|Rome", "sea &amp; sky"])


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.png", "a.tif", "a.webp", "a.heic"])
def test_xmp_in_every_format(tmp_path: Path, name: str) -> None:
    if name == "a.heic":
        pytest.importorskip("pillow_heif")
    path = write(tmp_path / name, PACKET)
    assert read_keywords(photograph(path)) == (KEYWORDS, [])


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_iptc_in_utf_8_and_in_older_letters(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, xmp(dc_subject=["x"]), iim("Zürich".encode(), b"caf\xe9"))
    assert read_keywords(photograph(path)) == ([("Zürich",), ("café",), ("x",)], [])


def test_one_keyword_of_iptc(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", iptc=iim(b"places|Rome"))
    assert read_keywords(photograph(path)) == ([("places", "Rome")], [])


def test_digikam_parts_levels_by_a_slash_and_keeps_notes_of_its_own(tmp_path: Path) -> None:
    listed = ["places/Italy", "_Digikam_Internal_Tags_/Color Label None", "a|b"]
    path = write(tmp_path / "a.jpg", xmp(digiKam_TagsList=listed, dc_subject=["AC/DC"]))
    found, damaged = read_keywords(photograph(path))
    assert found == [("AC/DC",), ("places", "Italy"), ("a|b",)]
    assert damaged == []


def test_darktables_notes_and_their_flat_copies_are_no_keywords(tmp_path: Path) -> None:
    side = tmp_path / "a.jpg.xmp"
    notes = ["darktable|exported", "darktable|format|jpg", "sky"]
    flat = ["sky", "darktable", "exported", "format", "jpg"]
    side.write_bytes(xmp(lr_hierarchicalSubject=notes, dc_subject=flat))
    path = write(tmp_path / "a.jpg", side.read_bytes())
    assert read_keywords(photograph(path)) == ([("sky",)], [])
    assert read_keywords(photograph(path, side)) == ([("sky",)], [])


def test_accents_are_one_letter_and_forbidden_characters_go(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", iptc=iim("Cafe\u0301".encode(), b"be\x01ach", b"sea\0"))
    assert read_keywords(photograph(path)) == ([("Caf\u00e9",), ("beach",), ("sea",)], [])


def test_what_earlier_versions_added_is_no_keyword(tmp_path: Path) -> None:
    """They recorded the person's keywords that they repeated, too; those stand in the file."""
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(
        xmp(
            dc_subject=["dog", "cat"],
            lr_hierarchicalSubject=["dog", "auto|dog", "auto|cat"],
            tagnet_AddedSubjects=["dog", "cat"],
            tagnet_AddedHierarchy=["dog", "auto|dog", "auto|cat"],
        )
    )
    path = write(tmp_path / "a.jpg", iptc=iim(b"dog"))
    assert read_keywords(photograph(path, side)) == ([("dog",)], [])
    embedded = write(tmp_path / "b.jpg", side.read_bytes())  # by another program, later
    assert read_keywords(photograph(embedded)) == ([], [])


def test_keywords_of_windows_and_of_catalogues(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x9C9E] = "sea;blue sky\0".encode("utf-16-le")
    packet = xmp(MicrosoftPhoto_LastKeywordXMP=["a/b"], mediapro_CatalogSets=["c|d"])
    Image.new("RGB", (8, 8)).save(path, exif=exif, xmp=packet)
    assert read_keywords(photograph(path))[0] == [
        *[("sea",), ("blue sky",), ("a", "b"), ("c", "d")]
    ]


def test_a_sidecar_with_keywords_counts_in_place_of_the_file(tmp_path: Path) -> None:
    """A keyword that a person took out there does not come back from the file."""
    photo = write(tmp_path / "a.jpg", xmp(dc_subject=["wrong", "beach"]), iim(b"wrong"))
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(xmp(dc_subject=["beach"]))
    assert read_keywords(photograph(photo, side)) == ([("beach",)], [])
    side.write_bytes(xmp())
    assert read_keywords(photograph(photo, side))[0] == [("wrong",), ("beach",)]


def test_xmp_without_its_wrapper_and_as_an_attribute(tmp_path: Path) -> None:
    side = tmp_path / "a.xmp"
    rdf = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    subject = f'xmlns:dc="{NAMESPACES["dc"]}" dc:subject="sea"'
    side.write_text(f"<rdf:RDF {rdf}><rdf:Description {subject}/><rdf:Description/></rdf:RDF>")
    assert read_keywords(photograph(write(tmp_path / "a.jpg"), side)) == ([("sea",)], [])
    side.write_text(f"<rdf:RDF {rdf}/>")
    assert read_keywords(photograph(write(tmp_path / "a.jpg"), side)) == ([], [])


def test_white_space_and_empty_levels(tmp_path: Path) -> None:
    words = [" new \n york ", "a||b|", " ", "|"]
    path = write(tmp_path / "a.jpg", xmp(lr_hierarchicalSubject=words))
    assert read_keywords(photograph(path)) == ([("new york",), ("a", "b")], [])


def test_damaged_keywords_are_told_and_the_others_read(tmp_path: Path) -> None:
    side = tmp_path / "a.xmp"
    side.write_bytes(PACKET[:-50])
    path = write(tmp_path / "a.jpg", xmp(dc_subject=["sea"]), iptc=iim(b"sky") + b"\x1d\x02\x19")
    found, damaged = read_keywords(photograph(path, side, tmp_path / "absent.xmp"))
    assert found == [("sky",), ("sea",)]
    assert [line.split(": ")[:2] for line in damaged] == [
        [str(side), "not XMP (unclosed token"],
        [str(tmp_path / "absent.xmp"), "cannot be read (No such file or directory)"],
    ]


@pytest.mark.parametrize("reader", ["Packet", "read_metadata"])
def test_keywords_are_not_left_out_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    def refused(*what: Any) -> None:
        raise MemoryError

    side = tmp_path / "a.xmp"
    side.write_bytes(xmp())
    found = photograph(write(tmp_path / "a.jpg"), side)
    monkeypatch.setattr(keywords, reader, refused)
    with pytest.raises(MemoryError):
        read_keywords(found)


def test_an_xml_bomb_is_not_expanded(tmp_path: Path) -> None:
    side = tmp_path / "a.xmp"
    side.write_text('<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>')
    path = write(tmp_path / "a.jpg")
    found, (damaged,) = read_keywords(photograph(path, side))
    assert found == []
    assert "entities are forbidden" in damaged


def test_a_photograph_cut_off_or_changed_anywhere_never_stops_the_reading(tmp_path: Path) -> None:
    contents = write(tmp_path / "a.jpg", PACKET, iim(b"sky")).read_bytes()
    path = tmp_path / "bad.jpg"
    rng = np.random.default_rng(0)
    for length in range(0, len(contents), 7):
        changed = bytearray(contents)
        changed[length] = int(rng.integers(256))
        for damaged in (contents[:length], bytes(changed)):
            path.write_bytes(damaged)
            found, lines = read_keywords(photograph(path))
            assert all(isinstance(level, str) for keyword in found for level in keyword)
            assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(
    ("keywords", "prefix", "tags", "labels"),
    [
        ([("places", "Rome"), ("Rome",)], None, ["places", "Rome"], []),
        ([("label", "Beach"), ("sea",)], "label|", ["sea"], ["Beach"]),
        # Lightroom and digiKam repeat the levels: those of a label would give it away.
        ([("beach",), ("label",), ("sea",), ("label", "Beach")], "label|", ["sea"], ["Beach"]),
        ([("Label", "animal", "dog")], "label|", [], ["animal", "dog"]),
        ([("label:beach",), ("labels",)], "label:", ["labels"], ["beach"]),
        # A level of another branch is a tag in its own right.
        ([("label", "beach"), ("places", "beach")], "label|", ["places", "beach"], ["beach"]),
        ([("label", "a"), ("label", "a"), ("b",), ("b",)], "label|", ["b"], ["a"]),
        ([("caf\u00e9", "a"), ("b",)], "cafe\u0301|", ["b"], ["a"]),
    ],
)
def test_keywords_become_tags_and_labels(
    keywords: list[tuple[str, ...]], prefix: str | None, tags: list[str], labels: list[str]
) -> None:
    assert split_keywords(keywords, prefix) == (tags, labels)
