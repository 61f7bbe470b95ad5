"""Photographs found in folders, and the keywords that programs wrote into them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.photographs import NAMESPACES, iim, write, xmp

from tagnet.errors import InputError
from tagnet.photos import keywords
from tagnet.photos.keywords import read_keywords, split_keywords
from tagnet.photos.library import Photograph, find_photographs


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


def test_darktables_notes_are_no_keywords(tmp_path: Path) -> None:
    side = tmp_path / "a.jpg.xmp"
    side.write_bytes(xmp(lr_hierarchicalSubject=["darktable|format|jpg", "sky"]))
    path = write(tmp_path / "a.jpg")
    assert read_keywords(photograph(path, side)) == ([("sky",)], [])


def test_sidecars_add_to_what_the_file_has(tmp_path: Path) -> None:
    for name, word in (
        ("a.xmp", "one"),
        ("a.jpg.XMP", "two"),
        ("b.xmp", "no"),
        ("a.png.xmp", "no"),
    ):
        (tmp_path / name).write_bytes(xmp(dc_subject=[word]))
    write(tmp_path / "a.jpg", xmp(dc_subject=["zero"]))
    ((found,), left_out) = find_photographs(tmp_path)
    assert read_keywords(found) == ([("zero",), ("one",), ("two",)], [])
    assert left_out == []


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
    side.write_bytes(PACKET[:-40])
    path = write(tmp_path / "a.jpg", xmp(dc_subject=["sea"]), iptc=iim(b"sky") + b"\x1d\x02\x19")
    found, damaged = read_keywords(photograph(path, side, tmp_path / "absent.xmp"))
    assert found == [("sea",)]
    assert [line.split(" (")[0] for line in damaged] == [
        str(path),
        str(side),
        str(tmp_path / "absent.xmp"),
    ]


@pytest.mark.parametrize("reader", ["_sidecar", "_iptc"])
def test_keywords_are_not_left_out_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    def refused(what: Any) -> None:
        raise MemoryError

    side = tmp_path / "a.xmp"
    side.write_bytes(PACKET)
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
    assert "EntitiesForbidden" in damaged


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


def test_names_that_no_file_may_have_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "good\u202fname.jpg")  # macOS writes such blanks
    (tmp_path / "a" / "line\nbreak.jpg").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg"))).write_bytes(b"")
    photographs, left_out = find_photographs(tmp_path)
    assert [found.image_id for found in photographs] == ["a/good\u202fname.jpg"]
    assert sorted(name for name, _ in left_out) == ["a/\\udcff.jpg", "a/line\nbreak.jpg"]
    assert {reason for _, reason in left_out} == {"its name must be Unicode without line breaks"}


def test_a_folder_that_cannot_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "1.jpg")
    write(tmp_path / "b" / "2.jpg")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    photographs, left_out = find_photographs(tmp_path)
    assert [found.image_id for found in photographs] == ["a/1.jpg"]
    assert left_out == [("b", "the folder cannot be read (Permission denied)")]


def test_no_folder_and_no_photographs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: is not a folder"):
        find_photographs(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"has no photos \(.jpg, .*\)"):
        find_photographs(tmp_path)


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
    ],
)
def test_keywords_become_tags_and_labels(
    keywords: list[tuple[str, ...]], prefix: str | None, tags: list[str], labels: list[str]
) -> None:
    assert split_keywords(keywords, prefix) == (tags, labels)
