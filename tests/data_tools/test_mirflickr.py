"""The source `mirflickr`: the published layout, the lists, and what is refused."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.mirflickr import (
    NUMBERS,
    RECORDS,
    write_lists,
    write_published,
)
from PIL import Image

from data_tools.checks import audit
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import mirflickr
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return write_published(tmp_path / "raw")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return write_lists(tmp_path / "raw")


def settings(raw: Path, **changed) -> Settings:
    usual = {"sizes": "2,2,1", "M": 1, "tags_only": True, "pools": ("open",)}
    return Settings.of(source="mirflickr", raw=raw, **(usual | changed))


# --- What is read -------------------------------------------------------------------------


def test_there_are_24_and_14_labels() -> None:
    # As in the description of the published annotations, and in alphabetical order.
    assert (len(mirflickr.POTENTIAL), len(mirflickr.RELEVANT)) == (24, 14)
    for names in (mirflickr.POTENTIAL, mirflickr.RELEVANT):
        assert list(names) == sorted(names)
    assert {name.removesuffix("_r1") for name in mirflickr.RELEVANT} < set(mirflickr.POTENTIAL)


def test_as_published(published: Path) -> None:
    found = mirflickr.read(published)
    assert found.manifest.to_dict("records") == RECORDS
    assert found.left_out == [("im3", "no tags"), ("im7", "no label")]
    assert {size: rows.tolist() for size, rows in found.orders.items()} == {7: [0, 1, 3, 4, 5]}


def test_the_folder_mirflickr_itself(published: Path) -> None:
    expected = mirflickr.read(published).manifest
    (published / "mirflickr25k_annotations_v080").rename(published / "mirflickr" / "annotations")
    assert mirflickr.read(published / "mirflickr").manifest.equals(expected)


def test_annotations_in_their_zip(published: Path) -> None:
    expected = mirflickr.read(published).manifest
    folder = published / "mirflickr25k_annotations_v080"
    shutil.make_archive(str(folder), "zip", folder)
    shutil.rmtree(folder)
    assert mirflickr.read(published).manifest.equals(expected)


def test_tags_as_typed(published: Path) -> None:
    found = mirflickr.read(published, tag_set="raw").manifest
    assert found["tags"][0] == ["Sea", "New York"]


@pytest.mark.parametrize(
    ("label_set", "expected"),
    [
        ("relevant", {"im2": ["dog_r1"], "im4": ["sea_r1"]}),
        (
            "both",
            {
                "im1": ["sea"],
                "im2": ["dog", "dog_r1"],
                "im4": ["sea", "sky", "sea_r1"],
                "im5": ["sky"],
                "im6": ["dog", "plant_life"],
            },
        ),
    ],
)
@pytest.mark.parametrize("form", ["published", "lists"])
def test_label_sets(form: str, label_set: str, expected: dict, request) -> None:
    raw = request.getfixturevalue(form)
    found = mirflickr.read(raw, label_set=label_set).manifest
    assert dict(zip(found["image_id"], found["labels"], strict=True)) == expected


def test_lists_say_what_the_published_files_say(lists: Path, tmp_path: Path) -> None:
    found = mirflickr.read(lists)
    assert found.manifest.to_dict("records") == RECORDS
    assert found.left_out == []
    # A feature matrix may have a row for each of the 25,000 images, or for each line.
    orders = {size: rows.tolist() for size, rows in found.orders.items()}
    assert orders == {25_000: [0, 1, 3, 4, 5], 5: [0, 1, 2, 3, 4]}


def test_a_list_line_without_tags_is_an_image_without_tags(lists: Path) -> None:
    path = lists / "tags_and_labels" / "all_tags.txt"
    path.write_bytes(b"sea\r\n\r\nsky\r\nsky\r\n\r\n")
    assert mirflickr.read(lists).left_out == [("im2", "no tags"), ("im6", "no tags")]


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("all_imgs.txt", b"im1.jpg\nim0.jpg\n", "line 2 must name an image im1.jpg to im25000.jp"),
        ("all_imgs.txt", b"im25001.jpg\n", "line 1 must name an image im1.jpg to im25000.jpg; rec"),
        (
            "all_tags.txt",
            b"sea\n",
            "must have one line for each of the 5 images in all_imgs.txt; r",
        ),
        ("all_labels.txt", b"0 1\n", "line 1 must be 24 digits 0 or 1; received '0 1'"),
        ("all_labels.txt", b"2" + b" 0" * 23, "line 1 must be 24 digits 0 or 1; received '2 0 0"),
        (
            "all_labels.txt",
            (b"1" + b" 0" * 23 + b"\n") * 6,
            "must have one line for each of the 5 images in all_imgs.txt; received 6 lines",
        ),
    ],
)
def test_bad_lists(lists: Path, name: str, content: bytes, message: str) -> None:
    path = lists / "tags_and_labels" / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")) as caught:
        mirflickr.read(lists)
    assert "\n" not in str(caught.value)


def test_lists_have_no_raw_tags(lists: Path) -> None:
    with pytest.raises(InputError, match="--tag_set=raw needs meta/tags_raw"):
        mirflickr.read(lists, tag_set="raw")


def test_an_image_of_two_lines_is_refused(lists: Path) -> None:
    path = lists / "tags_and_labels" / "all_imgs.txt"
    path.write_bytes(path.read_bytes().replace(b"im2.jpg", b"im1.jpg"))
    with pytest.raises(InputError, match="row 2: image_id must be unique; 'im1' is also in row 1"):
        mirflickr.read(lists)


@pytest.mark.parametrize("line", [b"0", b"8", b"im1", b"-1", b"1 2"])
def test_annotations_must_be_numbers_of_images(published: Path, line: bytes) -> None:
    path = published / "mirflickr25k_annotations_v080" / "sky.txt"
    path.write_bytes(b"3\n" + line + b"\n")
    message = f"{path}: line 2 must be the number of an image, 1 to 7; received {line.decode()!r}"
    with pytest.raises(InputError, match=re.escape(message)):
        mirflickr.read(published)


def test_missing_files(published: Path, tmp_path: Path) -> None:
    tags = published / "mirflickr" / "meta" / "tags"
    (tags / "tags3.txt").unlink()
    message = f"{tags}: must hold tags1.txt to tags7.txt; tags3.txt is missing"
    for read in (mirflickr.read, mirflickr.files):
        with pytest.raises(InputError, match=re.escape(message)):
            read(published)
    shutil.rmtree(tags)
    with pytest.raises(InputError, match=re.escape(f"{tags}: has no tags1.txt")):
        mirflickr.read(published)
    with pytest.raises(InputError, match="must hold MIRFLICKR as published .* or as lists"):
        mirflickr.read(tmp_path)


def test_a_missing_label(published: Path) -> None:
    (published / "mirflickr25k_annotations_v080" / "sky.txt").unlink()
    for read in (mirflickr.read, mirflickr.files):
        with pytest.raises(InputError, match="must hold the label file sky.txt in annotations or"):
            read(published)


# --- The command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"raw": None}, "--raw is missing: --source=mirflickr needs the folder of its files"),
        ({"tag_set": "1k"}, "--tag_set must be one of all, raw; received '1k'"),
        ({"label_set": "x"}, "--label_set must be one of potential, relevant, both; received 'x'"),
        ({"source": "nus_wide", "label_set": "both"}, "--label_set is for --source=mirflickr; rec"),
        ({"source": "table", "tag_set": "all"}, "--tag_set is for --source=nus_wide, mirfl"),
        ({"ids": Path("ids.txt")}, "--ids is for --source=nus_wide; received --source=mirflickr"),
        ({"features": Path("f.npy")}, "--tags_only and --features must not be given together"),
        ({"source": "demo", "raw": None}, "--tags_only is for --source=table, photo_folder, nus_w"),
    ],
)
def test_settings_that_do_not_fit(changed: dict, message: str) -> None:
    usual = {"source": "mirflickr", "raw": Path("raw"), "tags_only": True}
    with pytest.raises(InputError, match=re.escape(message)):
        Settings.of(**(usual | changed))


def test_prepare_by_tags_alone(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    summary = prepare(settings(lists), out)
    assert (summary["images"], summary["feature_dim"], summary["name"]) == (5, 0, "mirflickr")
    data = PreparedDataset(out)
    nearest = {}
    for part in ("train", "validation", "test"):
        stored = data.part(0, "id", "open", part, 1)
        for row, (neighbour,) in zip(stored.rows, stored.neighbours, strict=True):
            nearest[data.image_ids[row]] = data.image_ids[neighbour]
    # Shared tags over all tags: im1-im4 1/3, im2-im6 1/2, im4-im5 1/2; ties go to the first.
    assert nearest == {"im1": "im4", "im2": "im6", "im4": "im5", "im5": "im4", "im6": "im2"}
    with pytest.raises(InputError, match="has no features to train on"):
        data.tables("id")
    assert "no features (cannot be used for training)" in capsys.readouterr().out
    _, report = audit(out)
    assert report.broken == []
    printed = capsys.readouterr().out
    assert "no features (prepared with --tags_only)" in printed
    assert "with the same features" not in printed  # all of them have the same none


def test_tags_alone_must_say_something(lists: Path, tmp_path: Path) -> None:
    # The most frequent tags are dog, sea and sky, of two images each.
    message = "id-open: without features every image must have a known tag; 1 have none; raise"
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(settings(lists, tau=2), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("neighbours"))


def test_prepare_with_photographs(published: Path, tmp_path: Path) -> None:
    for number in (1, 2, 4, 5):
        path = published / "mirflickr" / f"im{number}.jpg"
        Image.new("RGB", (8, 8), (30 * number, 60, 90)).save(path)
    given = settings(published, tags_only=False, sizes="2,1,1")
    summary = prepare(given, tmp_path / "out")
    assert PreparedDataset(tmp_path / "out").image_ids == ("im1", "im2", "im4", "im5")
    assert summary["feature_dim"] == 1280
    assert summary["left_out"] == 3  # no tags, no label, no photograph


def test_prepare_with_features_of_all_25_000(lists: Path, tmp_path: Path) -> None:
    phi = np.zeros([25_000, 2], np.float16)
    phi[:7, 0] = np.arange(1, 8)
    np.save(tmp_path / "phi.npy", phi)
    prepare(settings(lists, tags_only=False, features=tmp_path / "phi.npy"), tmp_path / "out")
    assert PreparedDataset(tmp_path / "out").features[:, 0].tolist() == NUMBERS
