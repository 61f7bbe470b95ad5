"""The source `nus_wide`, on small files in the published layout with the traps of the originals."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.nus_wide import IDS, IMAGES, KEPT, LABELS, TAGS, photo, write_raw
from PIL import Image

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import nus_wide
from data_tools.sources.published_files import Original, need
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw")


def settings(raw: Path, **changed) -> Settings:
    usual = {"sizes": "2,2,2", "M": 1, "tags_only": True}
    return Settings.of(source="nus_wide", raw=raw, **(usual | changed))


# --- What is read -------------------------------------------------------------------------


def test_the_subset_with_labels_and_tags(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = nus_wide.read(raw)
    assert found.manifest.to_dict("records") == [
        {
            "image_id": IDS[row],
            "path": None,
            "tags": TAGS[photo(IMAGES[row])],
            "labels": [name for name in LABELS if LABELS[name][row]],
        }
        for row in KEPT
    ]
    assert found.left_out == [
        (IDS[4], "a photo that stands in the list twice"),
        (IDS[6], "no label"),
        (IDS[7], "no label and no tags"),
        (IDS[9], "no tags"),
    ]
    assert {size: rows.tolist() for size, rows in found.orders.items()} == {10: KEPT}
    output = capsys.readouterr().out
    assert output == "labels: compared 6 files of TrainTestLabels with AllLabels\n"


def test_folder_names_may_have_an_underscore(raw: Path) -> None:
    images = nus_wide.read_image_list(need(raw, "ImageList", "Imagelist.txt"))
    assert images[2].image_id == "aircraft_carrier/0001_33"
    assert images[2].photo == "33"


@pytest.mark.parametrize("in_folder", [False, True])
def test_zips_as_published(raw: Path, in_folder: bool) -> None:
    folders = nus_wide.read(raw)
    for part in ("ImageList", "ConceptsList", "NUS_WID_Tags", "Groundtruth"):
        # A zip holds its files at the top, or in a folder of its own name.
        within = {"root_dir": raw, "base_dir": part} if in_folder else {"root_dir": raw / part}
        shutil.make_archive(str(raw / part), "zip", **within)
        shutil.rmtree(raw / part)
    zips = nus_wide.read(raw)
    assert zips.manifest.equals(folders.manifest)
    assert zips.left_out == folders.left_out
    assert {file.path.name for file in nus_wide.files(raw)} == {
        "ImageList.zip",
        "ConceptsList.zip",
        "NUS_WID_Tags.zip",
        "Groundtruth.zip",
    }


def test_files_that_lie_loose_are_found(raw: Path) -> None:
    (raw / "ConceptsList" / "Concepts81.txt").rename(raw / "Concepts81.txt")
    assert len(nus_wide.read(raw).manifest) == len(KEPT)


def test_tag_sets(raw: Path) -> None:
    final = nus_wide.read(raw, "final").manifest
    assert dict(zip(final["image_id"], final["tags"], strict=True))[IDS[2]] == ["ship"]
    matrix = nus_wide.read(raw, "1k").manifest
    # Of the matrix only; ships are not among its words.
    assert dict(zip(matrix["image_id"], matrix["tags"], strict=True)) == {
        IDS[0]: ["blue", "sky"],
        IDS[1]: ["sky"],
        IDS[2]: ["blue"],
        IDS[5]: ["blue", "lake"],
        IDS[8]: ["sky", "lake"],
    }


def test_tags_in_latin_1_of_two_lines_and_of_other_photos(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = raw / "NUS_WID_Tags" / "All_Tags.txt"
    path.write_bytes(path.read_bytes() + b"11 caf\xe9 sky\r\n\r\n123456 sky\r\n")
    assert nus_wide.read(raw).manifest["tags"][0] == ["sky", "blue", "café"]
    assert f"{path}: 1 line for photos that are not in Imagelist.txt\n" in capsys.readouterr().out


def test_of_a_photo_that_is_listed_twice_the_first_usable_entry_counts(raw: Path) -> None:
    for name, value in {"airport": b"0", "lake": b"1"}.items():
        path = raw / "Groundtruth" / "AllLabels" / f"Labels_{name}.txt"
        content = bytearray(path.read_bytes())
        content[2 * 3 : 2 * 3 + 1] = b"0"  # the photo's first entry has no label
        content[2 * 4 : 2 * 4 + 1] = value
        path.write_bytes(content)
    (raw / "ImageList" / "TestImagelist.txt").unlink()
    found = nus_wide.read(raw)
    assert IDS[4] in set(found.manifest["image_id"])
    assert found.left_out[0] == (IDS[3], "no label")


def test_photographs_in_one_folder(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "images").mkdir()
    for row in KEPT:
        (raw / "images" / IMAGES[row].rpartition("\\")[2]).touch()
    paths = nus_wide.read(raw).manifest["path"]
    assert all(Path(path).is_file() for path in paths)
    assert f"photos: all in one folder ({raw / 'images'})\n" in capsys.readouterr().out


def test_a_list_of_all_images_in_another_order(raw: Path, tmp_path: Path) -> None:
    ids, phi = tmp_path / "ids.txt", np.random.default_rng(0).random([10, 4], np.float32)
    ids.write_text("".join(f"{name}\n" for name in reversed(IDS)))
    np.save(tmp_path / "phi.npy", phi)
    given = {"tags_only": False, "ids": ids, "pools": ("open",), "splits": 1}
    with pytest.raises(InputError, match="may be in the order of the data set or of --ids"):
        prepare(settings(raw, features=tmp_path / "phi.npy", **given), tmp_path / "out")
    np.savez(tmp_path / "phi.npz", phi=phi, image_names=np.array(IDS))
    prepare(settings(raw, features=tmp_path / "phi.npz", **given), tmp_path / "out")
    stored = PreparedDataset(tmp_path / "out").features
    np.testing.assert_array_equal(stored, phi[::-1].astype(np.float16))
    ids.write_text("".join(f"{name}\n" for name in IDS))  # the same order in both
    prepare(settings(raw, features=tmp_path / "phi.npy", **given), tmp_path / "out")
    stored = PreparedDataset(tmp_path / "out").features
    np.testing.assert_array_equal(stored, phi.astype(np.float16))


# --- The user's list ----------------------------------------------------------------------


def test_a_list_of_ids_is_followed_exactly(raw: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    # A byte order mark, a name, one without its ending, a photo id, a photo that stands
    # in the image list twice, an image without labels, one without tags.
    ids.write_bytes(
        b"\xef\xbb\xbfsky\\0002_88.jpg\r\nactor/0001_11\r\n44\r\n44\r\n\r\n66\r\n99\r\n"
    )
    found = nus_wide.read(raw, ids=ids)
    rows = [8, 0, 3, 4, 6, 9]
    assert list(found.manifest["image_id"]) == [IDS[row] for row in rows]
    assert found.left_out == [(IDS[row], "not in ids.txt") for row in (1, 2, 5, 7)]
    # A feature matrix may have a row for each image of the set, or for each of the list.
    orders = {size: order.tolist() for size, order in found.orders.items()}
    assert orders == {10: rows, 6: [0, 1, 2, 3, 4, 5]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("11\n12\n", "line 2 must be an image or photo id of Imagelist.txt; received '12'"),
        ("11\n22\nactor/0001_11\n", "line 3 repeats actor/0001_11 of line 1"),
        ("44\n44\n44\n", "line 3 repeats 44 of line 2"),
        ("\n", "must name at least one image; received none"),
    ],
)
def test_bad_lists(raw: Path, tmp_path: Path, content: str, message: str) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(content)
    with pytest.raises(InputError, match=re.escape(f"{ids}: {message}")):
        nus_wide.read(raw, ids=ids)


# --- Traps of the originals ---------------------------------------------------------------


def test_an_odd_value_is_read_as_0_and_reported(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = raw / "Groundtruth" / "TrainTestLabels" / "Labels_lake_Train.txt"
    content = path.read_bytes()
    assert content.startswith(b"0\n0\n1\n")  # rows 0, 2 and 4, the first training images
    path.write_bytes(b"0\n-1130179\n" + content[4:])
    assert len(nus_wide.read(raw).manifest) == len(KEPT)
    output = capsys.readouterr().out
    assert f"{path}: line 2 is -1130179, not 0 or 1; read as 0\n" in output
    assert "differ" not in output


def test_labels_that_differ_from_all_labels_are_reported(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = raw / "Groundtruth" / "TrainTestLabels" / "Labels_sky_Test.txt"
    path.write_bytes(b"1\n1\n1\n")  # AllLabels: 1 0 0
    assert nus_wide.read(raw).manifest["labels"][3] == ["airport"]
    assert capsys.readouterr().out == (
        f"{path}: 2 images with other labels than AllLabels, which is used; "
        "first: aircraft_carrier/0002_44.jpg\n"
        "labels: compared 6 files of TrainTestLabels with AllLabels; 1 differ\n"
    )


def test_of_many_files_that_differ_some_are_shown(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (raw / "Groundtruth" / "TrainTestLabels").iterdir():
        path.write_bytes(path.read_bytes().translate(bytes.maketrans(b"01", b"10")))
    nus_wide.read(raw)
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert last.endswith("with AllLabels; 6 differ")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n\n"])
def test_line_ends_of_label_files(tmp_path: Path, end: str, tail: str) -> None:
    path = tmp_path / "Labels_sky.txt"
    path.write_bytes((end.join("0110") + tail).encode())
    assert nus_wide.read_column(Original(path), 4).tolist() == [False, True, True, False]


def test_without_train_and_test_labels(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(raw / "Groundtruth" / "TrainTestLabels")
    assert len(nus_wide.read(raw).manifest) == len(KEPT)
    (raw / "ImageList" / "TestImagelist.txt").unlink()
    assert len(nus_wide.read(raw).manifest) == len(KEPT)
    assert capsys.readouterr().out == ""


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ImageList/Imagelist.txt", b"", "must name at least one image; received none"),
        ("ImageList/Imagelist.txt", b"11.jpg\n", r"line 1 must be folder\number_photo.jpg; rec"),
        ("ImageList/Imagelist.txt", b"a\\1_x.jpg\n", r"must be folder\number_photo.jpg; received"),
        ("ImageList/Imagelist.txt", b"a\\..\\..\\1_2.jpg\n", r"must be folder\number_photo.jpg"),
        (
            "ImageList/Imagelist.txt",
            b"a\\1_2.jpg\r\na\\1_2.jpg\r\n",
            "line 2 repeats a/1_2.jpg of line 1",
        ),
        (
            "ImageList/TestImagelist.txt",
            b"a\\1_2.jpg\n",
            "names a/1_2.jpg, which is not in Imagelist.txt",
        ),
        ("ConceptsList/Concepts81.txt", b"\r\n", "must hold one word per line; the file is empty"),
        ("ConceptsList/Concepts81.txt", b"sky\nsky\n", "line 2 repeats 'sky' of line 1"),
        (
            "Groundtruth/AllLabels/Labels_sky.txt",
            b"0\n1\n",
            "must have one line for each of 10 images; received 2 lines",
        ),
        (
            "Groundtruth/AllLabels/Labels_sky.txt",
            b"0\n1\n\n" + b"0\n" * 7,
            "line 3 must be 0 or 1; received ''",
        ),
        ("Groundtruth/AllLabels/Labels_sky.txt", b"0\nno\n", "line 2 must be 0 or 1; received 'n"),
        ("Groundtruth/AllLabels/Labels_sky.txt", b"7\n" * 11, "line 11 must be 0 or 1; received"),
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Test.txt",
            b"0\n1\n",
            "must have one line for each of 3 images; received 2 lines",
        ),
        (
            "NUS_WID_Tags/All_Tags.txt",
            b"11 sky\nsky 11\n",
            "line 2 must begin with a photo id; received 'sky'",
        ),
        (
            "NUS_WID_Tags/All_Tags.txt",
            b"1 sky\n",
            "has no tags for any photo of Imagelist.txt",
        ),
    ],
)
def test_bad_files(raw: Path, file: str, content: bytes, message: str) -> None:
    (raw / file).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        nus_wide.read(raw)
    assert str(caught.value).startswith(f"{raw / file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0 1 1\n" * 9, "must have one line for each of 10 images; received 9 lines"),
        (b"0 1 1\n0 1\n", "line 2 must be 3 digits 0 or 1; received 2 characters, '0 1'"),
        (b"0 1 2\n", "line 1 must be 3 digits 0 or 1; received 3 characters, '0 1 2'"),
    ],
)
def test_bad_matrix(raw: Path, content: bytes, message: str) -> None:
    path = raw / "NUS_WID_Tags" / "AllTags1k.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        nus_wide.read(raw, "1k")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("ImageList", "Imagelist.txt"),
        ("ConceptsList", "Concepts81.txt"),
        ("Groundtruth", "AllLabels/Labels_sky.txt"),
        ("NUS_WID_Tags", "All_Tags.txt"),
    ],
)
def test_missing_files(raw: Path, part: str, name: str) -> None:
    (raw / part / name).unlink()
    message = f"{raw}: has no {part}/{name}, neither in a folder nor in {part}.zip"
    for read in (nus_wide.read, nus_wide.files):
        with pytest.raises(InputError, match=re.escape(message)):
            read(raw)


def test_damaged_zips(raw: Path) -> None:
    archive = Path(shutil.make_archive(str(raw / "ConceptsList"), "zip", raw / "ConceptsList"))
    shutil.rmtree(raw / "ConceptsList")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"ConceptsList\.zip: is not a valid zip file \("):
        nus_wide.read(raw)
    at = whole.index(b"Concepts81.txt") + len(b"Concepts81.txt")
    archive.write_bytes(whole[:at] + bytes(4) + whole[at + 4 :])
    with pytest.raises(InputError, match=r"zip/Concepts81\.txt: is damaged or encrypted \("):
        nus_wide.read(raw)


# --- The command --------------------------------------------------------------------------


def test_defaults_are_those_of_the_paper() -> None:
    chosen = Settings.of(source="nus_wide", raw=Path("raw"))
    assert chosen.sizes_or_default == "110000,40000,40253"
    assert chosen.splits_or_default == 5
    assert (chosen.tau, chosen.M, chosen.name_or_default) == (5000, 24, "nus_wide")


def test_prepare_with_features_of_the_whole_set(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phi = np.random.default_rng(0).random([10, 4], np.float32)
    np.save(tmp_path / "phi.npy", phi)
    out = tmp_path / "out"
    given = settings(raw, tags_only=False, features=tmp_path / "phi.npy")
    summary = prepare(given, out)
    data = PreparedDataset(out)
    assert data.image_ids == tuple(IDS[row] for row in KEPT)
    np.testing.assert_array_equal(data.features, phi[KEPT].astype(np.float16))
    assert data.num_splits == 5
    assert (summary["left_out"], summary["left_out_reasons"]) == (
        4,
        {
            "a photo that stands in the list twice": 1,
            "no label": 1,
            "no label and no tags": 1,
            "no tags": 1,
        },
    )
    listed = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    assert listed[0] == {"image_id": IDS[4], "reason": "a photo that stands in the list twice"}
    assert "  left out: 4 images, see " in capsys.readouterr().out
    prepare(given, out)
    assert "manifest: up to date\n" in capsys.readouterr().out
    prepare(settings(raw, tags_only=False, features=tmp_path / "phi.npy", tag_set="final"), out)
    assert "manifest: running again, tag_set changed from all to final" in capsys.readouterr().out


def test_photographs(raw: Path, tmp_path: Path) -> None:
    for name in (IMAGES[0], *(IMAGES[row] for row in KEPT[2:])):
        path = raw / "Flickr" / name.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (90, 60, 30)).save(path)
    ids = tmp_path / "ids.txt"
    ids.write_text("11\n33\n22\n44\n55\n88\n")
    found = settings(raw, tags_only=False, ids=ids, sizes="2,1,1", splits=1, pools=("open",))
    summary = prepare(found, tmp_path / "out")
    assert PreparedDataset(tmp_path / "out").image_ids == tuple(IDS[row] for row in [0, 2, 3, 5, 8])
    assert summary["backbone"] == "efficientnet_lite0"
    assert summary["left_out"] == 5  # 4 not in the list; of photo 22 there is no file
    assert any("cannot be read" in reason for reason in summary["left_out_reasons"])


def test_without_features_or_photographs(raw: Path, tmp_path: Path) -> None:
    message = (
        f"{raw}: has no photos; give --source=nus_wide --features=FILE, "
        "or --tags_only to prepare only tags and neighbours"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(settings(raw, tags_only=False), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["absent", "ids.txt"])
def test_raw_must_be_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "ids.txt").write_text("11\n")
    with pytest.raises(InputError, match=re.escape(f"--raw={tmp_path / place}: is not a folder")):
        prepare(settings(tmp_path / place), tmp_path / "out")


def test_an_absent_list_of_ids(raw: Path, tmp_path: Path) -> None:
    for read in (
        lambda: nus_wide.read(raw, ids=tmp_path / "absent.txt"),
        lambda: prepare(settings(raw, ids=tmp_path / "absent.txt"), tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=r"absent\.txt: cannot be read \(No such file"):
            read()


@pytest.mark.skipif(
    "TAGNET_NUS_WIDE" not in os.environ,
    reason="TAGNET_NUS_WIDE must name the folder of NUS-WIDE's files",
)
def test_the_official_ground_truth(capsys: pytest.CaptureFixture[str]) -> None:
    """The counts are what grep and paste find in the published Groundtruth.zip."""
    raw = Path(os.environ["TAGNET_NUS_WIDE"])
    names, labels = nus_wide.read_labels(raw, 269_648)
    assert len(names) == 81
    assert (labels.any(axis=1).sum(), labels.sum()) == (209_347, 503_848)
    assert labels[:, names.index("sky")].sum() == 74_190
    assert capsys.readouterr().out == ""
    for column, name in enumerate(names):
        parts = [
            nus_wide.read_column(
                need(raw, "Groundtruth", f"TrainTestLabels/Labels_{name}_{part}.txt"), size
            ).sum()
            for part, size in (("Train", 161_789), ("Test", 107_859))
        ]
        assert sum(parts) == labels[:, column].sum()
    (odd,) = capsys.readouterr().out.splitlines()
    assert odd.endswith("Labels_lake_Train.txt: line 78,373 is -1130179, not 0 or 1; read as 0")
    test = nus_wide.read_image_list(need(raw, "ImageList", "TestImagelist.txt"))
    assert len(test) == 107_859
