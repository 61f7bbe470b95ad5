"""Several tables that are one data set, and parts that their names tell of."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources.several_tables import part_of, parts_of
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError

CATEGORIES = [{"id": 1, "name": "boat"}, {"id": 2, "name": "dog"}]
NUMBERS = {"train": range(1, 7), "val": range(7, 10), "test": range(10, 13)}


def coco(part: str) -> dict[str, str]:
    """A part's two files, as COCO names them."""
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in NUMBERS[part]]
    labels = [{"image_id": n, "category_id": 1 + n % 2} for n in NUMBERS[part]]
    texts = [
        {"image_id": n, "caption": f"Sea and {'sky' if n % 3 else part}"} for n in NUMBERS[part]
    ]
    whole = {"images": images, "annotations": labels, "categories": CATEGORIES}
    return {
        f"instances_{part}2017.json": json.dumps(whole),
        f"captions_{part}2017.json": json.dumps({"images": images, "annotations": texts}),
    }


def write(folder: Path, *parts: str) -> Path:
    """Writes the files of parts; returns what `--raw` is."""
    names = []
    for part in parts:
        for name, content in coco(part).items():
            (folder / name).write_text(content)
        names.append(f"{folder}/instances_{part}2017.json")
    return Path(",".join(names))


def settings(raw: Path, **given: Any) -> Settings:
    return Settings.of(**({"raw": raw, "tags_only": True, "M": 1, "pools": ("open",)} | given))


def rows_of(out: Path) -> dict[str, list[int]]:
    return {part: rows.tolist() for part, rows in PreparedDataset(out).split(0).items()}


def test_names_of_files() -> None:
    names = {
        "instances_train2017.json": "train",
        "a/test/VAL.csv": "validation",
        "z.zip:x/person_keypoints_val2014.json": "validation",
        "holdout.csv": None,
        "trainval.csv": None,
        "train_test.csv": None,
    }
    assert {name: part_of(Path(name)) for name in names} == names


def test_coco_s_own_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write(tmp_path, "train", "val", "test")
    prepare(settings(raw), tmp_path / "out")
    expected = {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7, 8], "test": [9, 10, 11]}
    assert rows_of(tmp_path / "out") == expected
    told = capsys.readouterr().out
    assert "splits: the parts are those that the source gives" in told
    assert "tags: the words of the captions in captions_val2017.json" in told
    data = PreparedDataset(tmp_path / "out")
    assert set(data.vocabulary.words) == {"sea", "sky", "train", "val", "test"}
    assert data.image_ids == tuple(map(str, range(1, 13)))
    assert data.name == "instances_train2017"


def test_coco_s_own_split_from_its_zip(tmp_path: Path) -> None:
    raw, out = write(tmp_path, "train", "val", "test"), tmp_path / "out"
    prepare(settings(raw), out)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in tmp_path.glob("*.json"):
            archive.write(path, f"annotations/{path.name}")
            path.unlink()
    names = [f"{tmp_path}/a.zip:annotations/{Path(name).name}" for name in str(raw).split(",")]
    prepare(settings(Path(",".join(names))), tmp_path / "zip")
    for name in ("manifest.jsonl", "vocabulary.txt", "splits/split-0.npz"):
        assert (out / name).read_bytes() == (tmp_path / "zip" / name).read_bytes(), name


def test_a_zip_that_is_not_there_is_named(tmp_path: Path) -> None:
    raw = Path(f"{tmp_path}/a.zip:instances_val.json")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/a.zip: cannot be read (No such")):
        prepare(settings(raw), tmp_path / "out")


def test_without_a_validation_part_it_is_drawn(tmp_path: Path) -> None:
    prepare(settings(write(tmp_path, "train", "test")), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert (len(found["train"]), len(found["validation"]), found["test"]) == (5, 1, [6, 7, 8])


def test_without_a_test_part_a_line_says_what_to_do(tmp_path: Path) -> None:
    raw, out = write(tmp_path, "train", "val"), tmp_path / "out"
    message = (
        "--raw: by their names, the files must be of train and test, or train, validation and "
        "test; received train, validation; add or rename a file for test, or draw the parts "
        "(--sizes=.6,.2,.2)"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        settings(raw)
    prepare(settings(raw, sizes="5,2,2"), out)
    assert [len(rows) for rows in rows_of(out).values()] == [5, 2, 2]
    # A link is a file's other name; its captions are found all the same.
    (tmp_path / "instances_test.json").symlink_to(tmp_path / "instances_val2017.json")
    prepare(settings(Path(f"{str(raw).split(',')[0]},{tmp_path}/instances_test.json")), out)
    assert rows_of(out)["test"] == [6, 7, 8]
    assert "val" in PreparedDataset(out).vocabulary.words


def test_names_that_tell_of_no_part(tmp_path: Path) -> None:
    rows = [f"p{n},a|b,{'xy'[n % 2]}\n" for n in range(10)]
    for name, some in (("one", rows[:5]), ("two", rows[5:])):
        (tmp_path / f"{name}.csv").write_text("image_id,tags,labels\n" + "".join(some))
    raw = Path(f"{tmp_path}/one.csv,{tmp_path}/two.csv")
    assert parts_of([tmp_path / "one.csv", tmp_path / "two.csv"]) is None
    prepare(settings(raw), tmp_path / "out")
    assert len(PreparedDataset(tmp_path / "out").image_ids) == 10
    (tmp_path / "train.csv").write_text((tmp_path / "two.csv").read_text())
    message = "must say its part (train, val or test), or that of none; received one.csv"
    with pytest.raises(InputError, match=re.escape(message)):
        settings(Path(f"{tmp_path}/one.csv,{tmp_path}/train.csv"))
    (tmp_path / "two.csv").write_text("image_id,tags,labels\np1,a,x\n")
    message = f"{tmp_path}/two.csv: image_id must be unique; 'p1' is also in {tmp_path}/one.csv"
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(settings(raw), tmp_path / "out")


def test_a_column_of_parts_counts_before_the_names(tmp_path: Path) -> None:
    for name, part in (("train", "test"), ("test", "train")):
        rows = "".join(f"{name}{n},a,x,{part}\n" for n in range(4))
        (tmp_path / f"{name}.csv").write_text("image_id,tags,labels,split\n" + rows)
    raw = Path(f"{tmp_path}/train.csv,{tmp_path}/test.csv")
    prepare(settings(raw), tmp_path / "out")
    assert rows_of(tmp_path / "out")["test"] == [0, 1, 2, 3]
    prepare(settings(raw, split_column="split"), tmp_path / "out")
    assert rows_of(tmp_path / "out")["test"] == [0, 1, 2, 3]


def test_photos_of_several_files_are_in_folders_named_as_they_are(tmp_path: Path) -> None:
    raw = write(tmp_path, "train", "test")
    (tmp_path / "photos" / "train2017").mkdir(parents=True)
    source = settings(raw, photos=tmp_path / "photos").source
    rows = source._rows([])  # type: ignore[attr-defined]
    assert rows["path"][0] == str(tmp_path / "photos" / "train2017" / "1.jpg")
    assert rows["path"][8] == str(tmp_path / "photos" / "12.jpg")
