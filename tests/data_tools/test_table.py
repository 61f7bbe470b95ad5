"""The source `table`: what it reads, and the one line for each thing that it refuses."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_tools.sources import image_features, manifest
from data_tools.sources.table import read_table
from tagnet.errors import InputError

HEADER = "image_id,tags,labels\n"


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(tmp_path: Path, name: str, content: str | bytes, separator: str = "|") -> pd.DataFrame:
    return read_table(write(tmp_path, name, content), separator)


# --- What is read -------------------------------------------------------------------------


def test_csv_with_quotes_bom_blank_line_and_other_columns(tmp_path: Path) -> None:
    text = (
        "\ufefflabels,note,tags,image_id,path\r\n"
        'cat|dog,"a ""note"", with a\nline break",sea| new york ||sea,a,photos/a.jpg\r\n'
        "\r\n"
        ",,,b,\r\n"
    )
    table = read(tmp_path, "t.csv", text)
    assert table.to_dict("records") == [
        {
            "image_id": "a",
            "path": str(tmp_path / "photos/a.jpg"),
            "tags": ["sea", "new york", "sea"],  # repeats are dropped where tags are encoded
            "labels": ["cat", "dog"],
        },
        {"image_id": "b", "path": None, "tags": [], "labels": []},
    ]


def test_absolute_paths_stay(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "image_id,path,tags,labels\na,/photos/a.jpg,,x\n")
    assert table["path"][0] == "/photos/a.jpg"


def test_separator(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", HEADER + "a,sea;new|york,x;y\n", separator=";")
    assert table["tags"][0] == ["sea", "new|york"]
    assert table["labels"][0] == ["x", "y"]


def test_a_table_of_labels_needs_no_tags(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,labels\na,x|y\n")
    found = read_table(tmp_path / "t.csv", "|")
    assert (found["tags"][0], found["labels"][0]) == ([], ["x", "y"])
    (tmp_path / "t.csv").write_text("image_id,tags,labels,tags\na,b,x,c\n")
    with pytest.raises(InputError, match="must have one column tags; received image_id,tags,lab"):
        read_table(tmp_path / "t.csv", "|")


def test_jsonl_takes_lists_and_strings_and_integer_ids(tmp_path: Path) -> None:
    lines = [
        {"image_id": 17, "tags": ["sea", "new|york"], "labels": "x|y"},
        {"image_id": "b", "tags": "", "labels": [], "path": None},
    ]
    text = "\n\n".join(map(json.dumps, lines))
    table = read(tmp_path, "t.jsonl", text)
    assert list(table["image_id"]) == ["17", "b"]
    assert list(table["tags"]) == [["sea", "new|york"], []]  # a list is not split again
    assert list(table["labels"]) == [["x", "y"], []]


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "image_id": [17, 18],
            "tags": [["sea", "sky"], []],
            "labels": ["x|y", ""],
            "path": ["a.jpg", None],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", "|")
    assert list(table["image_id"]) == ["17", "18"]
    assert list(table["tags"]) == [["sea", "sky"], []]
    assert list(table["labels"]) == [["x", "y"], []]
    assert list(table["path"]) == [str(tmp_path / "a.jpg"), None]


def test_manifest_round_trip(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "image_id,path,tags,labels\nä b,p,sea|雪,x\nc,,,\n")
    manifest.save(table, tmp_path / "manifest.jsonl")
    pd.testing.assert_frame_equal(manifest.load(tmp_path / "manifest.jsonl"), table)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image_id": "a"', "line 2 is not JSON (Expecting ',' delimiter"),
        ("[1]", "line 2 must be an object with image_id, tags, labels; received '[1]'"),
        ('{"image_id": "a"}', "line 2 must be an object with image_id, tags, labels; received"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, "manifest.jsonl", f"\n{line}\n")
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        manifest.load(path)


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "image_id,tags\na,b\n", "must have one column labels; received image_id,tags"),
        ("t.csv", "image_id,tags,labels,tags\n", "must have one column tags; received image_id,"),
        ("t.csv", "", "must have one column image_id or path; received none"),
        ("t.csv", HEADER, "must hold at least one image; received none"),
        ("t.csv", HEADER + "a,b,x\nc,d\n", "row 2 must have 3 fields, as the header; received 2"),
        ("t.csv", HEADER + 'a,b,x\nc,"d"e,x\n', "row 2 is not CSV ("),
        ("t.csv", HEADER + 'a,"b,x\n', "row 1 is not CSV (unexpected end of data)"),
        ("t.csv", HEADER.encode() + b"a,\xff,x\n", "must be UTF-8 text (invalid start byte)"),
        ("t.csv", HEADER + "a,b,x\nb,,\na,d,y\n", "row 3: image_id must be unique; 'a' is also in"),
        ("t.csv", HEADER + "a,b,\nb,,\n", "at least one image must have a label; received none"),
        ("t.csv", HEADER + " ,b,x\n", "row 1: image_id must be a non-empty string; received ''"),
        ("t.csv", HEADER + 'a,b,"x\ny"\n', "row 1: names must not contain line breaks; received"),
        ("t.jsonl", '{"image_id": "a",\n', "row 1 is not JSON ("),
        ("t.jsonl", f"{'1' * 5000}\n", "row 1 "),
        ("t.jsonl", "\n[1]\n", "row 2 must be a JSON object; received list"),
        (
            "t.jsonl",
            '{"image_id": "a", "tags": []}\n',
            "must have one column labels; received image_id,tags (see",
        ),
        (
            "t.jsonl",
            '{"image_id": "a", "tags": true, "labels": []}\n',
            "row 1: tags must be a list of strings or one string; received True",
        ),
        (
            "t.jsonl",
            '{"image_id": "a", "tags": ["b", ["c"]], "labels": []}\n',
            "row 1: tags must hold only strings; received ['c']",
        ),
        (
            "t.jsonl",
            '{"image_id": true, "tags": [], "labels": []}\n',
            "row 1: image_id must be a non-empty string; received True",
        ),
        (
            "t.jsonl",
            '{"image_id": "a", "path": [1], "tags": [], "labels": []}\n',
            "row 1: path must be a string; received [1]",
        ),
        (
            "t.jsonl",
            '{"image_id": "a", "path": "a\\u0000.jpg", "tags": [], "labels": []}\n',
            r"row 1: path must not contain NUL; received 'a\x00.jpg'",
        ),
        (
            "t.jsonl",
            '{"image_id": "a", "tags": ["\\ud800"], "labels": []}\n',
            "row 1: text must be Unicode without lone surrogates; received '\\ud800'",
        ),
        ("t.txt", HEADER, "a table must end in .csv, .tsv, .jsonl, .ndjson, .json, .parquet"),
    ],
)
def test_bad_table(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, content)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / name}: {message}")
    assert "\n" not in line


def test_duplicate_names_both_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 3: .*'a' is also in row 1"):
        read(tmp_path, "t.csv", HEADER + "a,b,x\nb,,\na,d,y\n")


def test_table_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "t.csv", "|")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match=r"d\.csv: is a folder; a table must be a file"):
        read_table(tmp_path / "d.csv", "|")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(InputError, match="needs pyarrow; run `pip install pyarrow`"):
        read(tmp_path, "t.parquet", b"PAR1")


def test_broken_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"t\.parquet: is not a valid Parquet file \("):
        read(tmp_path, "t.parquet", b"PAR1 and no more")


# --- Features files -----------------------------------------------------------------------


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_features_of_every_kind_of_number(tmp_path: Path, dtype: type) -> None:
    array: np.ndarray = np.arange(6).reshape(3, 2).astype(dtype)
    np.save(tmp_path / "f.npy", array)
    npz(tmp_path / "f.npz", whatever=array)
    for name in ("f.npy", "f.npz"):
        features = image_features.from_file(tmp_path / name, 3)
        (block,) = features.blocks()
        assert features.dim == 2
        assert block.dtype == np.float32
        np.testing.assert_array_equal(block, [[0, 1], [2, 3], [4, 5]])


def test_features_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_features, "BLOCK", 4)
    array = np.random.default_rng(0).random([10, 3], np.float32)
    blocks = list(image_features.from_array(array, "here").blocks())
    assert [len(block) for block in blocks] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros([2, 4]), r"must have one row per image \(3\); received 2 rows"),
        (np.zeros(3), r"must hold one array \[images, dimensions\] of numbers; received float64"),
        (np.zeros([3, 0]), r"must hold one array .*; received float64 \[3, 0\]"),
        (np.zeros([3, 2], bool), r"must hold one array .*; received bool \[3, 2\]"),
        (np.zeros([3, 2], "c8"), r"must hold one array .*; received complex64 \[3, 2\]"),
        (np.array([["a"]] * 3), r"must hold one array .*; received <U1 \[3, 1\]"),
    ],
)
def test_features_of_the_wrong_shape_or_type(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(InputError, match=rf"f\.npy: {message}"):
        image_features.from_file(tmp_path / "f.npy", 3)


# 65504 is the largest float16 (IEEE 754 binary16: (2 - 2^-10) * 2^15).
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 65505.0, 1e300])
def test_features_that_float16_cannot_hold(tmp_path: Path, bad: float) -> None:
    array = np.full([3, 2], 65504.0)
    np.save(tmp_path / "good.npy", array)
    assert len(list(image_features.from_file(tmp_path / "good.npy", 3).blocks())) == 1
    array[1, 0] = bad
    np.save(tmp_path / "f.npy", array)
    with pytest.raises(InputError, match=r"f\.npy: row 2, column 1: .*finite and at most 65504"):
        list(image_features.from_file(tmp_path / "f.npy", 3).blocks())


def test_features_files_that_are_something_else(tmp_path: Path) -> None:
    array = np.zeros([3, 2])
    objects = np.array([[{}, 1]] * 3, dtype=object)
    np.save(tmp_path / "objects.npy", objects)
    np.save(tmp_path / "whole.npy", array)
    whole = (tmp_path / "whole.npy").read_bytes()
    npz(tmp_path / "whole.npz", a=array)
    zipped = (tmp_path / "whole.npz").read_bytes()
    for path, message in [
        (npz(tmp_path / "two.npz", a=array, b=array), "exactly one array; received a, b"),
        (npz(tmp_path / "none.npz"), "exactly one array; received none"),
        (npz(tmp_path / "objects.npz", a=objects), "is not a valid .npz file (Object arrays"),
        (tmp_path / "objects.npy", "is not a valid .npy file of numbers ("),
        (write(tmp_path, "cut.npy", whole[:-1]), "is not a valid .npy file of numbers ("),
        (write(tmp_path, "cut.npz", zipped[:-30]), "is not a valid .npz file ("),
        (write(tmp_path, "empty.npy", b""), "is not a valid .npy file of numbers ("),
        (write(tmp_path, "f.csv", "1,2"), "features must be a .npy, .npz, .h5, .hdf5 or .mat file"),
        (write(tmp_path, "zip.npy", zipped), "is not a valid .npy file of numbers ("),
        (tmp_path / "absent.npy", "cannot be read (No such file"),
        (tmp_path / "absent.npz", "cannot be read (No such file"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            image_features.from_file(path, 3)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
