"""The source `photo_folder`: keywords as programs write them, labels, and files left out."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from data_tools.photo_folder import (
    Photograph,
    find_photographs,
    read_folder,
    read_keywords,
    split_keywords,
)
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from tagnet import features
from tagnet.files import InputError, read_json

# --- Files as programs write them -----------------------------------------------------------

NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
}


def xmp(**properties: list[str]) -> bytes:
    """An XMP packet; `dc_subject=[...]` and the like, as a bag, digiKam's as a sequence."""
    lines = []
    for name, values in properties.items():
        kind = "Seq" if name.startswith("digiKam") else "Bag"
        items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
        tag = name.replace("_", ":")
        lines.append(f"<{tag}><rdf:{kind}>{items}</rdf:{kind}></{tag}>")
    spaces = " ".join(f'xmlns:{name}="{uri}"' for name, uri in NAMESPACES.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf'
        f'-syntax-ns#"><rdf:Description rdf:about="" {spaces}>{"".join(lines)}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode()


def iim(*keywords: bytes) -> bytes:
    """IPTC's IIM 4.2: the dataset 2:25 of each keyword, length in two bytes."""
    return b"".join(b"\x1c\x02\x19" + len(text).to_bytes(2, "big") + text for text in keywords)


def write(path: Path, xmp: bytes = b"", iptc: bytes = b"", colour: Any = "red") -> Path:
    """Writes a photograph of the format that the ending of `path` says, with keywords in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (32, 24), colour)
    suffix = path.suffix.lower()
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(path, pnginfo=info)
    elif suffix in (".tif", ".tiff"):
        tags = ImageFileDirectory_v2()
        for tag, contents in ((700, xmp), (33723, iptc)):
            tags[tag] = contents
            tags.tagtype[tag] = 7  # bytes
        image.save(path, tiffinfo=tags)
    elif suffix == ".jpg" and iptc:
        # Photoshop's segment: resource 0x0404, an empty name, the length, an even size.
        segment = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc
        segment += b"\0" * (len(iptc) % 2)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", xmp=xmp)
        start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
        length = (len(segment) + 2).to_bytes(2, "big")
        path.write_bytes(start + b"\xff\xed" + length + segment + rest)
    else:
        image.save(path, xmp=xmp)
    return path


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


# --- Tags and labels ------------------------------------------------------------------------


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


def test_labels_are_names_of_folders(tmp_path: Path) -> None:
    for name in ("top.jpg", "beach/a.jpg", "2020/city/b.jpg", ".hidden/c.jpg", "city/.d.jpg"):
        write(tmp_path / name, xmp(dc_subject=[name]))
    (tmp_path / "city" / "notes.txt").write_text("not a photograph")
    photographs, left_out = find_photographs(tmp_path)
    table = read_folder(tmp_path, photographs, None)
    assert list(table["image_id"]) == ["2020/city/b.jpg", "beach/a.jpg", "top.jpg"]
    assert list(table["labels"]) == [["city"], ["beach"], []]
    assert list(table["tags"]) == [["2020/city/b.jpg"], ["beach/a.jpg"], ["top.jpg"]]
    assert [Path(path).is_absolute() for path in table["path"]] == [True] * 3
    assert left_out == []


def test_labels_from_keywords_ignore_folders(tmp_path: Path) -> None:
    write(tmp_path / "city" / "a.jpg", xmp(dc_subject=["label|beach", "sea"]))
    table = read_folder(tmp_path, find_photographs(tmp_path)[0], "label|")
    assert table["labels"][0] == ["beach"]
    assert table["tags"][0] == ["sea"]


def test_names_that_no_file_may_have_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "good\u202fname.jpg")  # macOS writes such blanks
    (tmp_path / "a" / "line\nbreak.jpg").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg"))).write_bytes(b"")
    photographs, left_out = find_photographs(tmp_path)
    assert [found.image_id for found in photographs] == ["a/good\u202fname.jpg"]
    assert sorted(name for name, _ in left_out) == ["a/\\udcff.jpg", "a/line\nbreak.jpg"]
    assert {reason for _, reason in left_out} == {"its name must be Unicode on one line"}


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


# --- What is refused ------------------------------------------------------------------------


def test_no_folder_and_no_photographs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: must be a folder of photographs"):
        find_photographs(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"must hold photographs \(.jpg, .*\); received none"):
        find_photographs(tmp_path)


def test_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", xmp(dc_subject=["sea"]))
    photographs, _ = find_photographs(tmp_path)
    line = "at least one photograph must have a label, from the name of a folder below it; received"
    with pytest.raises(InputError, match=line):
        read_folder(tmp_path, photographs, None)
    with pytest.raises(InputError, match=r"must have a label, from 'label\|'; received none"):
        read_folder(tmp_path, photographs, "label|")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"raw": None}, "--raw is missing: --source=photo_folder needs the folder"),
        ({"features": Path("a")}, "--features is for --source=table, nus_wide, mirflickr; r"),
        ({"label_table": Path("a"), "label_prefix": "l|"}, "--label_prefix and --label_table must"),
        ({"source": "table", "label_prefix": "l|"}, "--label_prefix is for --source=photo_folder"),
        (
            {"source": "demo", "raw": None, "label_table": Path("a")},
            "--label_table is for --source=photo_fol",
        ),
    ],
)
def test_settings_that_do_not_fit(changed: dict[str, Any], line: str) -> None:
    usual = {"source": "photo_folder", "raw": Path("photos")}
    with pytest.raises(InputError) as caught:
        Settings.of(**usual | changed)
    assert str(caught.value).startswith(line)


# --- From a folder to a prepared directory ----------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs, and a file of each kind that must be left out."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        label = ("beach", "city")[number % 2]
        suffix = (".jpg", ".png", ".tif", ".webp")[number % 4]
        words = [f"label|{label}", ("sea", "street")[number % 2], f"w{number % 3}"]
        path = folder / label / f"{number:02}{suffix}"
        write(path, xmp(dc_subject=words), colour=(20 * number, 0, 0))
    (folder / "beach" / "empty.jpg").write_bytes(b"")
    (folder / "beach" / "text.jpg").write_text("this is no photograph")
    whole = write(folder / "city" / "whole.png").read_bytes()
    (folder / "city" / "whole.png").unlink()
    (folder / "city" / "cut.png").write_bytes(whole[:-30])
    Image.new("L", (70, 60)).save(folder / "city" / "huge.png")
    return folder


def settings(folder: Path, **changed: Any) -> Settings:
    usual: dict[str, Any] = {"source": "photo_folder", "raw": folder, "M": 2, "pools": ("open",)}
    return Settings.of(**usual | changed)


def test_a_folder_is_prepared_and_files_are_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 24)
    summary = prepare(settings(folder), tmp_path / "out")
    assert (summary["images"], summary["left_out"]) == (12, 4)
    assert summary["label_names"] == ["beach", "city"]
    assert summary["backbone"] == "efficientnet_lite0"
    lines = (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()
    left_out = {line["image_id"]: line["reason"] for line in map(json.loads, lines)}
    assert list(left_out) == ["beach/empty.jpg", "beach/text.jpg", "city/cut.png", "city/huge.png"]
    assert "is empty" in left_out["beach/empty.jpg"]
    assert "is not an image" in left_out["beach/text.jpg"]
    assert "truncated" in left_out["city/cut.png"]
    assert "has more than 768 pixels" in left_out["city/huge.png"]
    capsys.readouterr()

    prepare(settings(folder), tmp_path / "out")
    assert "manifest: up to date" in capsys.readouterr().out


def test_a_keyword_that_changes_in_a_sidecar_runs_the_manifest_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prepare(settings(folder, label_prefix="label|"), tmp_path / "out")
    words = (tmp_path / "out" / "vocabulary.txt").read_text().split()
    assert sorted(words) == ["sea", "street", "w0", "w1", "w2"]  # no label|beach among them
    side = folder / "beach" / "00.jpg.xmp"
    side.write_bytes(xmp(dc_subject=["sunset"]))
    try:
        prepare(settings(folder, label_prefix="label|"), tmp_path / "out")
    finally:
        side.unlink()
    assert "manifest: running again, photographs changed" in capsys.readouterr().out
    assert "sunset" in (tmp_path / "out" / "vocabulary.txt").read_text().split()


def test_labels_from_a_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = tmp_path / "labels.csv"
    rows = ["image_id,tags,labels", "beach/00.jpg,extra,x|y", "city/01.png,,y", "gone.jpg,,z"]
    table.write_text("\n".join(rows) + "\n")
    summary = prepare(settings(folder, label_table=table, min_images=1), tmp_path / "out")
    assert summary["label_names"] == ["x", "y"]
    assert "extra" in (tmp_path / "out" / "vocabulary.txt").read_text().split()
    printed = capsys.readouterr().out
    assert "labels: 14 photographs are not in the table and get none" in printed
    assert "labels: 1 rows of the table are of no photograph, as 'gone.jpg'" in printed
    table.write_text("image_id,tags,labels\n00.jpg,,x\n")
    line = "must be a photograph's path below --raw, as 'beach/00.jpg'; received '00.jpg' and no"
    with pytest.raises(InputError, match=line):
        prepare(settings(folder, label_table=table), tmp_path / "out")


def test_heic_without_its_package_is_left_out_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    path = write(tmp_path / "a.heic")
    formats = tuple(name for name in features.FORMATS if name != "HEIF")
    monkeypatch.setattr(features, "FORMATS", formats)
    monkeypatch.setattr(features, "_READ", "JPEG; HEIC with the package pillow-heif")
    with pytest.raises(InputError, match="is not an image .*HEIC with the package pillow-heif"):
        features.read_image(path)


def test_weights_of_a_backbone_are_part_of_what_a_preparation_is_made_from(
    folder: Path, tmp_path: Path
) -> None:
    given = settings(folder, backbone="caffenet")
    with pytest.raises(InputError, match="caffenet and alexnet need --weights=FILE"):
        prepare(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="absent.npy: cannot be read"):
        prepare(
            settings(folder, backbone="caffenet", weights=tmp_path / "absent.npy"),
            tmp_path / "out",
        )
    prepare(settings(folder), tmp_path / "out")
    assert read_json(tmp_path / "out" / "dataset.json")["settings"]["weights"] is None
