"""Tables as people have them: names of columns, kinds of file, labels in other forms."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources.table import Columns, _below, read_table
from tagnet.errors import InputError

IDS = [str(number) for number in range(1, 25)]
FILES = [f"{number:06}.jpg" for number in range(1, 25)]
TAGS = [["dogs", "beach"], ["beach", "boats"], ["boats", "Möwe"], ["dogs"]] * 6
LABELS = [["sea", "sky"], ["sea"], ["city"], ["city", "sky"]] * 6
NAMES = ["city", "sea", "sky"]


def read(path: Path, separator: str = "|", **given: Any) -> tuple[pd.DataFrame, list[str]]:
    notes: list[str] = []
    return read_table(path, separator, notes=notes, **given), notes


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- The same content in many forms -------------------------------------------------------


def text_rows(tags: Callable[[list[str]], str], labels: Callable[[list[str]], str]) -> list[list]:
    rows = zip(IDS, FILES, TAGS, LABELS, strict=True)
    return [[name, file, tags(own), labels(names)] for name, file, own, names in rows]


def csv_of(header: str, rows: list[list], delimiter: str = ",") -> str:
    quoted = [
        [f'"{cell}"' if delimiter in str(cell) else str(cell) for cell in row] for row in rows
    ]
    lines = [header.replace(",", delimiter), *(delimiter.join(row) for row in quoted)]
    return "".join(f"{line}\n" for line in lines)


def coco() -> str:
    images = [{"id": int(name), "file_name": file} for name, file in zip(IDS, FILES, strict=True)]
    annotations: list[dict] = []
    for name, tags, labels in zip(IDS, TAGS, LABELS, strict=True):
        # An object of each label, one of them twice; and the tags in a sentence.
        kinds = [NAMES.index(label) + 1 for label in [*labels, labels[0]]]
        annotations += [{"image_id": int(name), "category_id": kind} for kind in kinds]
        annotations.append({"image_id": int(name), "caption": f"The {' and '.join(tags)}."})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def write_forms(folder: Path) -> list[Path]:
    joined = text_rows("|".join, "|".join)
    header = "image_id,path,tags,labels"
    table = csv_of(header, joined)
    records = [
        dict(zip(("image_id", "file_name", "tags", "labels"), row, strict=True))
        for row in zip(map(int, IDS), FILES, TAGS, LABELS, strict=True)
    ]
    ones = csv_of(
        "image_id,path,tags,city,sea,sky",
        [
            [*row[:3], *(int(name in labels) for name in NAMES)]
            for row, labels in zip(joined, LABELS, strict=True)
        ],
    )
    long = csv_of(
        "ImageID,Path,Tags,LabelName,Confidence",
        [
            [*row[:3], label, confidence]
            for row, labels in zip(joined, LABELS, strict=True)
            for label, confidence in [*((name, 1) for name in labels), ("other", 0.2)]
        ],
    )
    python, listed = repr, lambda names: f"[{' '.join(map(repr, names))}]"
    files = {
        "comma/m.csv": table,
        "semicolon/m.csv": "\ufeff" + csv_of(header, joined, ";").replace("\n", "\r\n"),
        "excel/m.csv": "sep=;\r\n" + csv_of(header, joined, ";") + ";;;\n",
        "tab/m.tsv": csv_of(header, joined, "\t"),
        "packed/m.csv.gz": gzip.compress(table.encode()),
        "python/m.csv": csv_of(header, text_rows(python, python)),
        "numpy/m.csv": csv_of(header, text_rows(listed, listed)),
        "other/m.csv": csv_of(header, text_rows("|".join, ", ".join)),
        "lines/m.jsonl": "".join(json.dumps(row) + "\n" for row in records),
        "records/m.json": json.dumps(records),
        "hugging/metadata.csv": csv_of("image_id,file_name,tags,labels", joined),
        "hugging2/metadata.jsonl": "".join(json.dumps(row) + "\n" for row in records),
        "ones/m.csv": ones,
        "long/m.csv": long,
        "coco/m.json": coco(),
    }
    paths = []
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        paths.append(write(folder, name, content))
    return paths


def write_parquets(folder: Path) -> list[Path]:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    plain = {"image_id": list(map(int, IDS)), "path": FILES, "tags": TAGS, "labels": LABELS}
    frame = pd.DataFrame(plain)
    strings = pa.list_(pa.string())
    schemas = {
        "plain": pa.table(plain),
        "large": pa.table(plain).cast(
            pa.schema(
                [
                    ("image_id", pa.uint64()),
                    ("path", pa.large_string()),
                    ("tags", pa.large_list(pa.large_string())),
                    ("labels", strings),
                ]
            )
        ),
        "floats": pa.table(plain | {"image_id": pa.array(map(float, IDS))}),
        "joined": pa.table(
            {
                "image_id": IDS,
                "path": pa.array(FILES).dictionary_encode(),
                "tags": ["|".join(tags) for tags in TAGS],
                "labels": pa.array("|".join(names) for names in LABELS).dictionary_encode(),
            }
        ),
        "bytes": pa.table(plain | {"image_id": [name.encode() for name in IDS]}),
        "views": pa.table(plain).set_column(1, "path", pa.array(FILES, pa.string_view())),
        "nulls": pa.table(plain | {"tags": [[*tags, None] for tags in TAGS]}),
    }
    paths = []
    for name, table in schemas.items():
        (folder / name).mkdir(parents=True)
        parquet.write_table(table, folder / name / "m.parquet")
        paths.append(folder / name / "m.parquet")
    (folder / "arrow").mkdir()
    types = {"tags": pd.ArrowDtype(strings), "labels": pd.ArrowDtype(strings)}
    frame.astype(types).to_parquet(folder / "arrow" / "m.parquet")  # names pandas' own types
    (folder / "pandas").mkdir()
    frame.to_parquet(folder / "pandas" / "m.parquet")
    return [*paths, folder / "arrow" / "m.parquet", folder / "pandas" / "m.parquet"]


def artefacts(out: Path) -> dict[str, bytes]:
    """What was prepared, without what names the table and its folder."""
    kept = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".stages" not in path.parts
    }
    summary = json.loads(kept.pop("dataset.json"))
    del summary["settings"], kept["checksums.sha256"], kept["croissant.json"]  # of checksums too
    return kept | {"dataset.json": json.dumps(summary).encode()}


def test_one_content_in_many_forms_is_prepared_as_one(tmp_path: Path) -> None:
    forms = write_forms(tmp_path) + write_parquets(tmp_path / "parquet")
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random([24, 4], np.float32))
    photos = tmp_path / "photos"
    expected: dict[str, bytes] = {}
    for path in forms:
        out = tmp_path / "out" / f"{path.parent.name}-{path.name}"
        given: dict[str, Any] = {"raw": path, "features": tmp_path / "f.npy", "photos": photos}
        if path.parent.name == "other":
            given["label_separator"] = ","
        prepare(Settings.of(**given, M=3, pools=("open",), name="m"), out)
        found = artefacts(out)
        if path.parent.name == "coco":  # captions are in lower case, as words of tags are
            found["manifest.jsonl"] = found["manifest.jsonl"].replace(
                "möwe".encode(), "Möwe".encode()
            )
        expected = expected or found
        assert found.keys() == expected.keys()
        for file, content in expected.items():
            assert found[file] == content, (path, file)
    assert expected["labels.txt"] == b"city\nsea\nsky\n"
    assert set(expected["vocabulary.txt"].decode().split()) == {"dogs", "beach", "boats", "möwe"}


# --- Columns ------------------------------------------------------------------------------


def test_columns_by_their_usual_names(tmp_path: Path) -> None:
    path = write(tmp_path, "metadata.csv", "file_name,Keywords,category\na/1.jpg,x|y,sea\n")
    table, notes = read(path)
    assert table.to_dict("records") == [
        {
            "image_id": "a/1.jpg",
            "path": str(tmp_path / "a/1.jpg"),
            "tags": ["x", "y"],
            "labels": ["sea"],
        }
    ]
    assert notes == [
        "table: path from the column 'file_name'; tags from the column 'Keywords'; "
        "labels from the column 'category'; image_id is the path ('file_name')"
    ]


def test_columns_by_flags(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "labels,n,what,fold\nzzz,7,a|b,val\nzzz,8,a,train2017\n")
    columns = Columns({"image_id": "n", "labels": "what", "split": "fold"})
    table, _ = read(path, columns=columns)
    assert list(table["image_id"]) == ["7", "8"]
    assert list(table["labels"]) == [["a", "b"], ["a"]]
    assert list(table["split"]) == ["validation", "train"]
    message = "must have one column m (--image_column); received labels,n,what,fold"
    with pytest.raises(InputError, match=re.escape(message)):
        read(path, columns=Columns({"image_id": "m"}))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("n,labels", "must have one column image_id or path; received n,labels (see --image_col"),
        ("image_id,Tags", "must have one column labels; received image_id,Tags (see --labels_"),
        ("image_id,Label,LABEL", "must have one column labels; received Label, LABEL (name one w"),
        ("image_id,label,label", "must have one column label; received image_id,label,label"),
    ],
)
def test_columns_that_are_missing_or_several(tmp_path: Path, header: str, message: str) -> None:
    path = write(tmp_path, "t.csv", f"{header}\n" + "a,b,c\n"[: 2 * len(header.split(","))])
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read(path)


def test_columns_of_0_and_1(tmp_path: Path) -> None:
    content = "image_id,width,l_sea,l_sky,l_city\na,640,1,0,\nb,480,0.0,1.0,True\n"
    path = write(tmp_path, "t.csv", content)
    table, notes = read(path)
    assert list(table["labels"]) == [["l_sea"], ["l_sky", "l_city"]]
    assert notes == ["labels: 3 columns of 0 and 1: l_sea, l_sky, l_city"]
    table, _ = read(path, columns=Columns(label_columns=["l_*"]))
    assert list(table["labels"]) == [["sea"], ["sky", "city"]]
    table, _ = read(path, columns=Columns(label_columns=["l_sky", "l_sea"]))
    assert list(table["labels"]) == [["l_sea"], ["l_sky"]]
    with pytest.raises(InputError, match="row 1: width must be 0 or 1; received '640'"):
        read(path, columns=Columns(label_columns=["width"]))
    with pytest.raises(
        InputError, match=r"--label_columns: no column is 'x\*'; received image_id,"
    ):
        read(path, columns=Columns(label_columns=["x*"]))


def test_one_row_for_an_image_and_label(tmp_path: Path) -> None:
    content = "image_id,tags,labels\na,x,sea\nb,,sky\na,x,sky\n"
    table, notes = read(write(tmp_path, "t.csv", content))
    assert list(table["labels"]) == [["sea", "sky"], ["sky"]]
    assert notes[0].startswith("labels: 3 rows are of 2 images; the labels of the rows of one")
    with pytest.raises(InputError, match="row 3: image_id must be unique; 'a' is also in row 1"):
        read(write(tmp_path, "t.csv", content.replace("a,x,sky", "a,y,sky")))


def test_confidence(tmp_path: Path) -> None:
    content = "ImageID,LabelName,Confidence\na,/m/1,1\na,/m/2,0.4\nb,/m/2,0.5\nc,/m/1,0\n"
    path = write(tmp_path, "t.csv", content)
    table, notes = read(path)
    assert dict(zip(table["image_id"], table["labels"], strict=True)) == {
        "a": ["/m/1"],
        "b": ["/m/2"],
        "c": [],
    }
    assert "labels: rows with Confidence below 0.5 give no label; 2 of 4 are" in notes
    with pytest.raises(InputError, match="row 1: a confidence must be 0 to 1; received '95'"):
        read(write(tmp_path, "t.csv", "image_id,label,confidence\na,x,95\n"))


def test_words_of_captions_are_tags(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", 'ImageID,Labels,Caption\n1.jpg,1 19,"A dog, and THE dogs."\n')
    table, notes = read(path, label_separator=" ")
    assert (table["tags"][0], table["labels"][0]) == (["dog", "dogs"], ["1", "19"])
    assert "tags: the words of the column 'Caption', without stop words" in notes


def test_captions_beside_instances(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
    instances = {
        "images": images,
        "annotations": [{"image_id": 1, "category_id": 7}],
        "categories": [{"id": 7, "name": "boat"}],
    }
    captions = {"images": images, "annotations": [{"image_id": 2, "caption": "Two boats"}]}
    path = write(tmp_path, "instances_val.json", json.dumps(instances))
    write(tmp_path, "captions_val.json", json.dumps(captions))
    table, notes = read(path)
    assert list(table["labels"]) == [["boat"], []]
    assert list(table["tags"]) == [[], ["boats"]]
    assert "tags: the words of the captions in captions_val.json, without stop words" in notes
    for annotation, message in [
        ({"image_id": 3, "category_id": 7}, r"annotations\[1\] must name an image of images; rec"),
        ({"image_id": 1, "category_id": 8}, r"annotations\[1\] must name a category of categorie"),
    ]:
        write(tmp_path, path.name, json.dumps(instances | {"annotations": [annotation]}))
        with pytest.raises(InputError, match=message):
            read(path)


@given(name=st.text("/.ab", min_size=1), folder=st.sampled_from(["/x/y", "/", "x"]))
def test_paths_are_joined_as_pathlib_does(name: str, folder: str) -> None:
    assert _below(Path(folder), [name, None]) == [str(Path(folder) / name), None]


# --- Cells --------------------------------------------------------------------------------


def test_labels_at_another_separator_are_hinted_at(tmp_path: Path) -> None:
    for mark, other in ((", ", ","), (" ", " "), ("; ", ";")):
        lines = [f'{n},x|y,"{mark.join(names)}"' for n, names in enumerate([["sea", "sky"]] * 3)]
        lines += ['9,x,"' + mark.join(["city", "sky"]) + '"']
        path = write(tmp_path, "t.csv", "image_id,tags,labels\n" + "\n".join(lines) + "\n")
        _, notes = read(path)
        assert notes == [
            f"labels: no image has more than one, and {other!r} stands in them; if they are "
            f"separated by it, give --label_separator={other!r}"
        ]
        table, notes = read(path, label_separator=other)
        assert (table["labels"][0], notes) == (["sea", "sky"], [])
    single = write(tmp_path, "t.csv", "image_id,tags,labels\na,x|y,stop sign\nb,x,car\nc,x,boat\n")
    assert read(single)[1] == []


def test_labels_and_names_are_compared_as_they_are_seen(tmp_path: Path) -> None:
    spellings = [
        "blue sky",
        "blue  sky",
        "blue\u00a0sky",
        "\ufeffblue sky",
        "blue sky\u200b",
        "Blue sky",
    ]
    lines = [f"p{n},x|y,{label}|Mo\u0308we" for n, label in enumerate(spellings)]
    path = write(tmp_path, "t.csv", "image_id,tags,labels\n" + "\n".join(lines))
    table, _ = read(path)
    labels = {label for names in table["labels"] for label in names}
    assert labels == {"blue sky", "Blue sky", "M\u00f6we"}


def test_missing_values_and_numbers(tmp_path: Path) -> None:
    rows = [
        {"image_id": 1.0, "tags": None, "labels": [2, None]},
        {"image_id": 2, "labels": 3, "tags": float("nan")},
        {"image_id": "3", "tags": ["a", None], "labels": None},
    ]
    table, _ = read(write(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows))))
    assert list(table["image_id"]) == ["1", "2", "3"]
    assert list(table["labels"]) == [["2"], ["3"], []]
    assert list(table["tags"]) == [[], [], ["a"]]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "WINDOWS-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16")],
)
def test_other_encodings(tmp_path: Path, encoding: str, name: str) -> None:
    content = "image_id,tags,labels\np0,Ärmel|Öl,x\n".encode(encoding)
    with pytest.raises(InputError, match=f"must be UTF-8 text .*`iconv -f {name} -t UTF-8 OLD"):
        read(write(tmp_path, "t.csv", content))


def test_other_json(tmp_path: Path) -> None:
    path = write(tmp_path, "t.json", '{"image_id": "a", "labels": "x"}\n{"image_id": "b"}\n')
    assert list(read(path)[0]["image_id"]) == ["a", "b"]  # lines, as some write to .json
    for content, message in [
        ('{"image_id": {"0": "a"}}', "must hold a list of objects, one for each image, or be in"),
        ("[1]", "row 1 must be a JSON object; received int"),
        ("[", "is not JSON"),
    ]:
        with pytest.raises(InputError, match=message):
            read(write(tmp_path, "t.json", content))


# --- Photographs --------------------------------------------------------------------------


def test_photographs_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "Mo\u0308we"  # decomposed, as macOS writes it
    folder.mkdir()
    for name in ("0.jpg", " 1.jpg", "2.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    path = write(
        tmp_path, "t.csv", "path,labels\nM\u00f6we/0.jpg,x\nM\u00f6we/ 1.jpg ,x\n9.jpg,x\n"
    )
    table, _ = read(path, find_photos=True)
    assert list(table["image_id"]) == ["M\u00f6we/0.jpg", "M\u00f6we/ 1.jpg", "9.jpg"]
    found = [str(folder / "0.jpg"), str(folder / " 1.jpg"), str(tmp_path / "9.jpg")]
    assert list(table["path"]) == found
    path = write(tmp_path, "t.csv", "image_id,labels\n0,x\n2,y\n7,x\n")
    table, notes = read(path, find_photos=True, photos=folder)
    assert [Path(name).name for name in table["path"]] == ["0.jpg", "2.png", "7"]
    assert "table: photos are the files that the ids name" in notes


def test_photographs_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("0.jpg", "1.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    path = write(tmp_path, "t.csv", "path,labels\n0.jpg,x\n1.jpg,y\n2.jpg,x\n")
    message = "--sizes must leave every part an image; 2 images (1 left out, see above) give 1,1,0"
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(Settings.of(raw=path), tmp_path / "out")
    output = capsys.readouterr().out
    assert f"photos: 1 of 3 do not exist and are left out; the first is {tmp_path}/2.jpg" in output
    assert "tags: there are none, so neighbours are found by features; v_only, ltn" in output
    with pytest.raises(
        InputError, match="no photo can be read; first error: .*8.jpg: no such file"
    ):
        path.write_text("path,labels\n8.jpg,x\n9.jpg,x\n")
        prepare(Settings.of(raw=path), tmp_path / "out")


def test_quotation_marks_that_are_not_doubled(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "t.csv",
        'image_id,tags,labels\n1,"a ""b"" c|d",x\n2,"with "stop" tape, and "art".",x\n'
        '3,"two\nlines|e",y\n',
    )
    table, notes = read(path)
    assert list(table["tags"]) == [
        ['a "b" c', "d"],
        ['with "stop" tape, and "art".'],
        ["two lines", "e"],
    ]
    assert notes == [
        "table: 1 row with quotation marks in an entry that are not doubled; "
        'the first: \'2,"with "stop" tape, and "art".",x\''
    ]
