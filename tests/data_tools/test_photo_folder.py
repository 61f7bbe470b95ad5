"""The source `photo_folder`: tags and labels from keywords, and files left out."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.photographs import iim, write, xmp
from PIL import Image

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources.photo_folder import read_folder
from data_tools.sources.table import read_table
from experiments.annotation.sidecars import write_labels
from tagnet.errors import InputError
from tagnet.photos import images
from tagnet.photos.folders import find_photographs, photograph_at
from tagnet.system.checksums import sha256
from tagnet.system.files import read_json

# --- Tags and labels ------------------------------------------------------------------------


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
    assert [name for name, _ in left_out] == [".hidden", "city/.d.jpg", "city/notes.txt"]


def test_labels_and_names_are_compared_in_one_normal_form(tmp_path: Path) -> None:
    """Macs write an accent as a letter of its own, and zips carry such names elsewhere."""
    write(tmp_path / "Cafe\u0301" / "a.jpg", xmp(dc_subject=["sea"]))
    write(tmp_path / "Caf\u00e9 2" / " b.jpg")
    write(tmp_path / "Caf\u00e9" / "c.jpg")
    photographs, _ = find_photographs(tmp_path)
    table = read_folder(tmp_path, photographs, None)
    assert sorted(table["labels"].map(tuple)) == [("Caf\u00e9",), ("Caf\u00e9",), ("Caf\u00e9 2",)]
    names = tmp_path / "labels.csv"
    names.write_text("image_id,labels\nCaf\u00e9/a.jpg,x\nCaf\u00e9 2/ b.jpg,y\n")
    listed = read_table(names, "|")
    labels = read_folder(tmp_path, photographs, None, listed)
    assert dict(zip(labels["image_id"], labels["labels"], strict=True)) == {
        "Caf\u00e9/a.jpg": ["x"],
        "Caf\u00e9 2/ b.jpg": ["y"],
        "Caf\u00e9/c.jpg": [],
    }
    write(tmp_path / "Caf\u00e9" / "a.jpg")  # another file, though its name looks the same
    both = read_folder(tmp_path, find_photographs(tmp_path)[0], None)
    assert {"Caf\u00e9/a.jpg", "Cafe\u0301/a.jpg"} < set(both["image_id"])
    assert len(both) == 4


def test_labels_that_tagnet_wrote_are_not_learned(tmp_path: Path) -> None:
    photo = write(tmp_path / "pets" / "a.jpg", iptc=iim(b"dog"))
    write_labels(photograph_at(photo, {})[0], ["cat", "dog"], "auto")
    table = read_folder(tmp_path, find_photographs(tmp_path)[0], None)
    assert list(table["tags"]) == [["dog"]]


def test_labels_from_keywords_ignore_folders(tmp_path: Path) -> None:
    write(tmp_path / "city" / "a.jpg", xmp(dc_subject=["label|beach", "sea"]))
    table = read_folder(tmp_path, find_photographs(tmp_path)[0], "label|")
    assert table["labels"][0] == ["beach"]
    assert table["tags"][0] == ["sea"]


# --- What is refused ------------------------------------------------------------------------


def test_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", xmp(dc_subject=["sea"]))
    photographs, _ = find_photographs(tmp_path)
    line = "no photo has a label from subfolder names"
    with pytest.raises(InputError, match=line):
        read_folder(tmp_path, photographs, None)
    with pytest.raises(InputError, match=r"no photo has a label from 'label\|' "):
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
    assert "not a supported image" in left_out["beach/text.jpg"]
    assert "truncated" in left_out["city/cut.png"]
    assert "has more than 768 pixels" in left_out["city/huge.png"]
    capsys.readouterr()

    prepare(settings(folder), tmp_path / "out")
    assert "manifest: up to date" in capsys.readouterr().out


def test_features_of_an_encoder_in_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from helpers.encoders import write_encoder

    encoder = write_encoder(tmp_path / "encoder.onnx", "flat", "mean")
    given = {"backbone": str(encoder), "onnx_output": "mean"}
    summary = prepare(settings(folder, **given), tmp_path / "out")
    assert (summary["feature_dim"], summary["backbone"]) == (3, str(encoder))
    written = read_json(tmp_path / "out" / "dataset.json")["backbone_settings"]
    assert written["file"] == str(encoder)
    assert written["output"] == "mean"
    assert written["digests"] == {"encoder.onnx": sha256(encoder)}
    assert written["preparation"]["resize"] == 2
    capsys.readouterr()
    prepare(settings(folder, **given), tmp_path / "out")
    assert "images: up to date" in capsys.readouterr().out
    flat = prepare(settings(folder, **given | {"onnx_output": "flat"}), tmp_path / "out")
    assert flat["feature_dim"] == 12


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"backbone": "e.onnx", "weights": Path("w.npz")},
            "--weights must not be given with --backbone=FILE.onnx, which holds its weights; "
            "received w.npz",
        ),
        ({"onnx_photos": ("size=4",)}, "--onnx_photos needs --backbone=FILE.onnx; received None"),
        (
            {"onnx_pooling": "cls", "backbone": "caffenet"},
            "--onnx_pooling needs --backbone=FILE.onnx; received caffenet",
        ),
        (
            {"backbone": "e.onnx", "onnx_photos": ("std=0",)},
            "--onnx_photos: std must be one or three positive num",
        ),
        (
            {"backbone": "e.onnx", "onnx_pooling": "max"},
            "--onnx_pooling must be one of none, mean, cls; received 'max'",
        ),
    ],
)
def test_flags_of_encoders(tmp_path: Path, given: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(line)}"):
        settings(tmp_path, **given)


def test_prepared_by_tags_alone_and_then_with_features(folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder, photos, ignore=shutil.ignore_patterns("empty*", "text*", "cut*", "h*"))
    alone = prepare(settings(photos, tags_only=True, min_images=1), tmp_path / "out")
    assert alone["feature_dim"] == 0
    assert prepare(settings(photos, min_images=1), tmp_path / "out")["feature_dim"] == 1280


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
    assert "labels: 14 photos not in the table: without labels" in printed
    assert "labels: 1 row of the table without a photo, such as 'gone.jpg'" in printed
    table.write_text("image_id,tags,labels\n00.jpg,,x\n")
    line = "must be the path below --raw, such as 'beach/00.jpg'; no row matches, received '00.jpg'"
    with pytest.raises(InputError, match=line):
        prepare(settings(folder, label_table=table), tmp_path / "out")


def test_heic_without_its_package_is_left_out_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    path = write(tmp_path / "a.heic")
    formats = tuple(name for name in images.FORMATS if name != "HEIF")
    monkeypatch.setattr(images, "FORMATS", formats)
    monkeypatch.setattr(images, "_READ", "JPEG; HEIC with the package pillow-heif")
    with pytest.raises(
        InputError, match="not a supported image .*HEIC with the package pillow-heif"
    ):
        images.read_image(path)


def test_weights_of_a_backbone_are_part_of_what_a_preparation_is_made_from(
    folder: Path, tmp_path: Path
) -> None:
    given = settings(folder, backbone="caffenet")
    with pytest.raises(InputError, match="caffenet and alexnet need --weights=FILE"):
        prepare(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="absent.npz: cannot be read"):
        prepare(
            settings(folder, backbone="caffenet", weights=tmp_path / "absent.npz"),
            tmp_path / "out",
        )
    prepare(settings(folder), tmp_path / "out")
    assert read_json(tmp_path / "out" / "dataset.json")["settings"]["weights"] is None
