"""Parts of a split that somebody else chose: a column, lists, and what is said about them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.nus_wide import IDS, IMAGES, KEPT, TEST, lines, write_raw

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources.parts import part_named
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError

NUM = 12
PARTS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def write(tmp_path: Path, parts: list[str] | None) -> Path:
    header = "image_id,tags,labels" + (",Split" if parts else "")
    rows = [f"p{row},a|b{row % 3},{'xyz'[row % 3]}" for row in range(NUM)]
    rows = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)] if parts else rows
    path = tmp_path / "m.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def settings(raw: Path, **given: Any) -> Settings:
    return Settings.of(**({"raw": raw, "tags_only": True, "M": 1, "pools": ("open",)} | given))


def rows_of(out: Path) -> dict[str, list[int]]:
    data = PreparedDataset(out)
    assert data.num_splits == 1
    return {part: rows.tolist() for part, rows in data.split(0).items()}


EXPECTED = {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7, 8], "test": [9, 10, 11]}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("TRAIN", "train"),
        (" training ", "train"),
        ("restval", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("dev", "validation"),
        ("val2017", "validation"),
        ("Test", "test"),
        ("test_1", "test"),
        ("", None),
        ("A", None),
        ("retrain", None),
    ],
)
def test_names_of_parts(name: str, part: str | None) -> None:
    assert part_named(name) == part


def test_a_column_is_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = write(tmp_path, PARTS), tmp_path / "out"
    prepare(settings(raw), out)
    assert rows_of(out) == EXPECTED
    assert "splits: the parts are those that the source gives" in capsys.readouterr().out
    prepare(settings(raw, sizes=".5,.25,.25"), out)
    assert rows_of(out) != EXPECTED
    assert "splits: drawn, as --sizes or --splits is given" in capsys.readouterr().out
    prepare(settings(raw), out)
    assert rows_of(out) == EXPECTED


def test_images_in_no_part_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(settings(write(tmp_path, ["", *PARTS[1:]])), tmp_path / "out")
    assert rows_of(tmp_path / "out")["train"] == [1, 2, 3, 4, 5]
    assert "splits: 1 of 12 images are in no part\n" in capsys.readouterr().out
    prepare(settings(write(tmp_path, None), sizes="4,2,2"), tmp_path / "out")
    expected = "splits: 4 of 12 images are in no part; fractions such as --sizes=.6,.2,.2 use all"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("other", ["test", "val"])
def test_two_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    raw = write(tmp_path, ["train"] * 10 + [other] * 2)
    prepare(settings(raw), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert found["test"] == [10, 11]
    assert (len(found["train"]), len(found["validation"])) == (9, 1)
    assert sorted(found["train"] + found["validation"]) == list(range(10))
    assert "1 training image drawn at random (--seed) for validation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train"] * 11 + ["tset"], "row 12 holds 'tset' in the column 'Split'; it must be train,"),
        (["train"] * 12, "the given parts must be train and test, or train, validation and test; "),
        (["val"] * 6 + ["test"] * 6, "received validation, test"),
    ],
)
def test_columns_that_are_no_split(tmp_path: Path, parts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(settings(write(tmp_path, parts)), tmp_path / "out")


def test_a_column_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(settings(write(tmp_path, ["A", "B"] * 6)), tmp_path / "out")
    expected = "splits: the column 'Split' is not used: row 1 holds 'A', not train, validation"
    assert expected in capsys.readouterr().out


def test_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write(tmp_path, PARTS)
    (tmp_path / "train.txt").write_text("p11\nfolder/p10.jpg\np9.png\np8\np7\n")
    (tmp_path / "val.txt").write_bytes(b"\xef\xbb\xbfp0\r\nx\\p1.jpg\r\n\r\n")
    (tmp_path / "test.txt").write_text("p2\np3\nunknown\n")
    lists = tuple(str(tmp_path / f"{name}.txt") for name in ("train", "val", "test"))
    prepare(settings(raw, split_lists=lists), tmp_path / "out")
    expected = {"train": [7, 8, 9, 10, 11], "validation": [0, 1], "test": [2, 3]}
    assert rows_of(tmp_path / "out") == expected
    output = capsys.readouterr().out
    assert f"splits: 1 line of {tmp_path}/test.txt for images that are not used\n" in output
    assert "splits: 3 of 12 images are in no part\n" in output
    (tmp_path / "test.txt").write_text("p2\np3\np4\n")
    prepare(settings(raw, split_lists=lists), tmp_path / "out")
    assert rows_of(tmp_path / "out")["test"] == [2, 3, 4]
    (tmp_path / "test.txt").write_text("p2\np8\n")
    with pytest.raises(InputError, match="line 2 names 'p8', which is also in the list of train"):
        prepare(settings(raw, split_lists=lists), tmp_path / "out")
    (tmp_path / "test.txt").write_text("q2\n")
    with pytest.raises(
        InputError, match="must name images by image_id or path, one per line, such"
    ):
        prepare(settings(raw, split_lists=lists), tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split_lists": ("a", "b"), "sizes": "1,1,1"}, "--split_lists and --sizes must not be"),
        ({"split_column": "s", "splits": 2}, "--split_column and --splits must not be given"),
        ({"split_column": "s", "split_lists": ("a", "b")}, "--split_column and --split_lists must"),
        ({"split_lists": ("a",)}, "--split_lists must be two files (train,test), three (train,val"),
    ],
)
def test_parts_are_given_once(tmp_path: Path, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        settings(tmp_path / "m.csv", **given)


def test_official_lists(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    given = {"source": "nus_wide", "raw": raw, "split_lists": ("official",)}
    with pytest.raises(InputError, match=r"has no ImageList/TrainImagelist\.txt"):
        prepare(settings(**given), tmp_path / "out")
    train = [image for row, image in enumerate(IMAGES) if row not in TEST]
    (raw / "ImageList" / "TrainImagelist.txt").write_bytes(lines(*train))
    prepare(settings(**given), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert [KEPT[row] for row in found["test"]] == [row for row in TEST if row in KEPT]
    assert len(found["validation"]) == 1
    assert sum(map(len, found.values())) == len(KEPT)
    assert PreparedDataset(tmp_path / "out").image_ids == tuple(IDS[row] for row in KEPT)
    with pytest.raises(InputError, match="--source=table has no official lists; give files"):
        prepare(settings(write(tmp_path, None), split_lists=("official",)), tmp_path / "other")


def test_without_tags(tmp_path: Path) -> None:
    """Features alone: neighbours are found by them; without both there is nothing to find by."""
    raw = tmp_path / "m.csv"
    raw.write_text("image_id,labels\n" + "".join(f"p{row},{'xy'[row % 2]}\n" for row in range(NUM)))
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random([NUM, 4]))
    given = settings(raw, tags_only=False, features=tmp_path / "f.npy")
    summary = prepare(given, tmp_path / "out")
    assert (summary["tags"], summary["encodings"]) == (0, ["id"])
    assert summary["neighbours"]["id-open"]["by_features"] == NUM
    data = PreparedDataset(tmp_path / "out")
    assert (len(data.vocabulary), data.tags.lengths.sum()) == (0, 0)
    with pytest.raises(InputError, match=f"--tags_only needs tags; {raw} has none"):
        prepare(settings(raw), tmp_path / "other")
    raw.write_text(
        "image_id,tags,labels\n" + "".join(f"p{row},{'a' * (row > 2)},x\n" for row in range(NUM))
    )
    summary = prepare(settings(raw), tmp_path / "other")
    assert (summary["images"], summary["left_out_reasons"]) == (9, {"no tags": 3})
