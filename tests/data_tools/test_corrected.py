"""Labels that people corrected in other tools: exports of Label Studio and FiftyOne as tables."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_tools.sources.table import read_table
from tagnet.errors import InputError


def read(tmp_path: Path, content: Any, **given: Any) -> tuple[list[dict], list[str]]:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    notes: list[str] = []
    return read_table(path, "|", notes=notes, **given).to_dict("records"), notes


def chosen(*names: str, kind: str = "choices") -> dict:
    return {"type": kind, "value": {kind: list(names)}}


def task(image: str, *annotations: dict, **data: Any) -> dict:
    return {"id": 7, "data": {"image": image, **data}, "annotations": list(annotations)}


def test_tasks_of_label_studio(tmp_path: Path) -> None:
    tasks = [
        task("/data/local-files/?d=a%20b.jpg", {"result": [chosen("sea", "sky")]}, tags="x|y"),
        task("/data/upload/1/1234-c.jpg", {"result": [chosen("sea", kind="rectanglelabels")] * 2}),
        task("d.jpg", {"result": []}, tags=["z"]),
        task("e.jpg", {"was_cancelled": True, "result": [chosen("sea")]}),
    ]
    rows, notes = read(tmp_path, tasks)
    assert rows == [
        {"image_id": name, "path": str(tmp_path / name), "tags": tags, "labels": labels}
        for name, tags, labels in [
            ("a b.jpg", ["x", "y"], ["sea", "sky"]),
            ("upload/1/1234-c.jpg", [], ["sea"]),
            ("d.jpg", ["z"], []),
        ]
    ]
    assert "labels: what people chose in 3 tasks of labels.json" in notes
    assert "labels: 1 task without an annotation left out" in notes


def test_one_annotation_of_a_task_counts(tmp_path: Path) -> None:
    old = {"updated_at": "2026-01-01T00:00:00Z", "result": [chosen("old")]}
    new = {"updated_at": "2026-02-01T00:00:00Z", "result": [chosen("new")]}
    true = {"ground_truth": True, "result": [chosen("true")]}
    tasks = [task("a.jpg", new, old), task("b.jpg", true, new), task("c.jpg", {"result": []}, true)]
    assert [row["labels"] for row in read(tmp_path, tasks)[0]] == [["new"], ["true"], ["true"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([task("a.jpg")], "must have at least one annotated task; received 1 without an annotat"),
        (
            [{"data": {"text": "x"}, "annotations": []}],
            "task 1 must have data.image, a path or URL",
        ),
        ([task("a.jpg", {"result": []}), 3], "task 2 must have data.image, a path or URL; rec"),
        ([task("a.jpg") | {"annotations": [3]}], "task 1: annotations must be a list of objects;"),
        ([task("a.jpg", {"result": ["x"]})], "task 1: a result must have a type; received 'x'"),
        (
            [task("a.jpg", {"result": [{"type": "choices", "value": {"choices": "x"}}]})],
            "task 1: value.choices must be a list of names; received {'choices': 'x'}",
        ),
        ({"classes": None, "labels": {"a": 3}}, "labels['a'] must be names, or numbers of classes"),
        ({"classes": ["x"], "labels": {"a": [{"label": 1}]}}, "received {'label': 1}"),
        ({"classes": "x", "labels": {"a": 0}}, "classes must be a list of names; received 'x'"),
        ({"classes": [], "labels": {"a": None}}, "must have at least one image with labels"),
    ],
)
def test_one_line_for_what_is_no_export(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(tmp_path, content)
    assert str(raised.value).startswith(f"{tmp_path / 'labels.json'}: ")


def test_labels_of_fiftyone(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "data" / "deep" / "a.png")
    labels = {
        "deep/a": ["sea", {"label": "sky", "confidence": 0.5}, "sea"],
        str(tmp_path / "b.jpg"): 1,
        "c": [],
        "d": None,
    }
    content = {"classes": ["sky", "sea"], "labels": labels}
    rows, notes = read(tmp_path, content, find_photos=True)
    assert [(row["image_id"], row["labels"]) for row in rows] == [
        ("deep/a", ["sea", "sky"]),
        (str(tmp_path / "b.jpg"), ["sea"]),
        ("c", []),
    ]
    paths = [row["path"] for row in rows]
    assert paths[:2] == [str(tmp_path / "data" / "deep" / "a.png"), str(tmp_path / "b.jpg")]
    assert "labels: those of 3 images in labels.json" in notes
    assert "labels: 1 image without a label field left out" in notes


def test_labels_of_fiftyone_and_photos_in_another_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (4, 4)).save(photos / "a.png")
    content = {"classes": None, "labels": {"a": "sea"}}
    rows, _ = read(tmp_path, content, find_photos=True, photos=photos)
    assert [row["path"] for row in rows] == [str(photos / "a.png")]
