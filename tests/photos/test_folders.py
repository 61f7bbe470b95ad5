"""Photos found in folders, the sidecars beside them, and what is left out."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.photographs import write, xmp

from tagnet.errors import InputError
from tagnet.photos.folders import find_photographs, photograph_at


def sidecars(folder: Path) -> dict[str, list[str]]:
    """The names of each photo's sidecars, the same whether it is found or named."""
    photographs, _ = find_photographs(folder)
    for found in photographs:
        named, _ = photograph_at(found.path, {})
        assert named.sidecars == found.sidecars
    return {found.image_id: [path.name for path in found.sidecars] for found in photographs}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


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


def test_sidecars_in_any_case_and_of_both_kinds(tmp_path: Path) -> None:
    touch(tmp_path, "lr.jpg", "lr.xmp", "up.JPG", "up.JPG.XMP", "both.jpg", "both.xmp")
    touch(tmp_path, "both.jpg.xmp", "raw.jpg", "raw.CR2", "raw.xmp", "a.png", "a.jpg", "a.xmp")
    touch(tmp_path, "z\u00fc.jpg", "zu\u0308.jpg.xmp")
    assert sidecars(tmp_path) == {
        "lr.jpg": ["lr.xmp"],
        "up.JPG": ["up.JPG.XMP"],
        "both.jpg": ["both.jpg.xmp", "both.xmp"],
        "raw.jpg": [],  # Lightroom's, of the raw file
        "a.png": ["a.xmp"],
        "a.jpg": ["a.xmp"],
        "z\u00fc.jpg": ["zu\u0308.jpg.xmp"],
    }
    shared = [photo.is_shared for photo in find_photographs(tmp_path)[0]]
    assert shared == [True, True, False, False, False, False, False]


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "A.jpg", "A.jpg.xmp", "b.jpg", "b.jpg.xmp", "b.jpg.XMP")
    if len(list(tmp_path.iterdir())) < 6:
        pytest.skip("the file system ignores case")
    assert sidecars(tmp_path) == {"a.jpg": [], "A.jpg": ["A.jpg.xmp"], "b.jpg": ["b.jpg.xmp"]}
    _, left_out = find_photographs(tmp_path)
    reason = "differs only in the case of its letters from the sidecar that is used"
    assert left_out == [("b.jpg.XMP", reason)]


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "Beach/a.jpg", "Beach/old.jfif", "Beach/old.jpe", "Beach/x.GIF", "Beach/y.bmp")
    touch(tmp_path, "Beach/@eaDir/a.jpg/THUMB.jpg", "#recycle/d.jpg", "Beach/._a.jpg", "lone.xmp")
    touch(tmp_path, "__MACOSX/a.jpg", ".dtrash/b.jpg", "film.mov", "README", "$RECYCLE.BIN/c.jpg")
    found, left_out = find_photographs(tmp_path)
    names = ["a.jpg", "old.jfif", "old.jpe", "x.GIF", "y.bmp"]
    assert [photo.image_id for photo in found] == [f"Beach/{name}" for name in names]
    assert dict(left_out) == {
        "#recycle": "a folder of the system (#recycle)",
        "$RECYCLE.BIN": "a folder of the system ($RECYCLE.BIN)",
        ".dtrash": "its name begins with a dot",
        "Beach/._a.jpg": "its name begins with a dot",
        "Beach/@eaDir": "a folder of the system (@eaDir)",
        "README": "a file without an ending",
        "__MACOSX": "a folder of the system (__MACOSX)",
        "film.mov": "a file that ends in .mov",
        "lone.xmp": "a sidecar without a photo",
    }


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a/1.jpg", "elsewhere/deep/2.jpg")
    (tmp_path / "in/0").symlink_to("a")  # is there already
    (tmp_path / "in/a/loop").symlink_to("..")
    (tmp_path / "in/above").symlink_to("..")
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere")
    found, left_out = find_photographs(tmp_path / "in")
    assert [photo.image_id for photo in found] == ["a/1.jpg", "linked/deep/2.jpg"]
    assert left_out == [("above", "links to a folder above")]


def test_blanks_at_the_ends_belong_to_a_name(tmp_path: Path) -> None:
    write(tmp_path / " beach" / " a.jpg", xmp(dc_subject=["sea"]))
    write(tmp_path / "beach" / "a.jpg")
    assert list(sidecars(tmp_path)) == [" beach/ a.jpg", "beach/a.jpg"]
