"""Answers in other tools' formats: read by those tools where they are installed, and back by us."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from helpers.photographs import write

from data_tools.sources.table import read_table
from experiments import annotate as command
from experiments.annotation import exchange
from experiments.annotation.batch import Job
from tagnet.errors import InputError
from tagnet.system import console

MODEL = exchange.Model('ltwin "of ours"', ("sea", "sky & <sun>", "Möwe"))


@pytest.fixture
def answers() -> list[dict]:
    """Of three photos; the second cannot be read, the third has no label."""
    return [
        {
            "photo": "photos/a 1.jpg",
            "tags": ["beach", "dog"],
            "unknown_tags": ["zzz"],
            "labels": [
                {"label": "sky & <sun>", "probability": 0.9},
                {"label": "Möwe", "probability": 0.25},
            ],
        },
        {"photo": "photos/b.jpg", "error": "is empty"},
        {"photo": "photos/c.jpg", "tags": [], "unknown_tags": [], "labels": []},
    ]


@pytest.fixture
def write_answers(tmp_path: Path, answers: list[dict]):
    """Writes `answers` in a format beside the photos."""

    def written(name: str) -> Path:
        path = tmp_path / f"{name}.json"
        jobs = [Job(one["photo"], tmp_path / one["photo"], None) for one in answers]
        passed = exchange.written(name, path, MODEL, jobs, iter(answers))
        assert next(passed) == answers[0]
        assert not path.exists()  # until it is complete
        assert list(passed) == answers[1:]
        assert path.read_text().startswith(exchange.FORMATS[name].head)
        return path

    return written


def rows(path: Path) -> list[dict]:
    """What `prepare` reads of a file, with paths from its folder."""
    table = read_table(path, "|", find_photos=True).to_dict("records")
    return [row | {"path": Path(row["path"]).relative_to(path.parent).as_posix()} for row in table]


def test_coco_holds_labels_of_whole_images(write_answers):
    path = write_answers("coco")
    content = json.loads(path.read_text())
    assert content["info"] == {"description": 'Labels by tagnet, ltwin "of ours"'}
    assert [one["name"] for one in content["categories"]] == list(MODEL.labels)
    assert content["images"] == [
        {"id": 1, "file_name": "photos/a 1.jpg", "tags": ["beach", "dog", "zzz"]},
        {"id": 2, "file_name": "photos/c.jpg", "tags": []},
    ]
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "score": 0.9},
        {"id": 2, "image_id": 1, "category_id": 3, "score": 0.25},
    ]
    back = [
        {"path": row["path"], "tags": row["tags"], "labels": row["labels"]} for row in rows(path)
    ]
    assert back == [
        {
            "path": "photos/a 1.jpg",
            "tags": ["beach", "dog", "zzz"],
            "labels": ["sky & <sun>", "Möwe"],
        },
        {"path": "photos/c.jpg", "tags": [], "labels": []},
    ]


def test_pycocotools_reads_coco(write_answers):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is in no extra")
    read = coco.COCO(write_answers("coco"))
    assert read.getImgIds(catIds=read.getCatIds(catNms=["Möwe"])) == [1]
    assert [one["score"] for one in read.loadAnns(read.getAnnIds(imgIds=[1]))] == [0.9, 0.25]


def test_label_studio_gets_predictions_and_an_interface(write_answers):
    path = write_answers("label_studio")
    first, second = json.loads(path.read_text())
    assert first["data"] == {
        "image": "/data/local-files/?d=photos/a%201.jpg",
        "tags": "beach|dog|zzz",
    }
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.25  # of the label that is most in doubt
    assert prediction["result"][0]["value"] == {"choices": ["sky & <sun>", "Möwe"]}
    assert second["predictions"][0]["score"] == 0
    assert second["predictions"][0]["result"] == []
    interface = ET.parse(path.with_suffix(".xml")).getroot()
    assert [one.get("value") for one in interface.iter("Choice")] == list(MODEL.labels)
    with pytest.raises(InputError, match="must have at least one annotated task; received 2 witho"):
        rows(path)


def test_label_studio_accepts_the_predictions(write_answers):
    sdk = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is in no extra"
    )
    path = write_answers("label_studio")
    interface = sdk.LabelInterface(path.with_suffix(".xml").read_text())
    for task in json.loads(path.read_text()):
        assert interface.validate_task({"data": task["data"]})
        assert interface.validate_prediction(task["predictions"][0])


def test_what_people_chose_in_label_studio_is_read_back(write_answers):
    path = write_answers("label_studio")
    tasks = json.loads(path.read_text())
    result = tasks[0]["predictions"][0]["result"][0]
    corrected = result | {"value": {"choices": ["sea", "Möwe"]}}
    tasks[0]["annotations"] = [{"was_cancelled": False, "result": [corrected]}]
    tasks[1]["annotations"] = []
    path.write_text(json.dumps(tasks))
    assert rows(path) == [
        {
            "image_id": "photos/a 1.jpg",
            "path": "photos/a 1.jpg",
            "tags": ["beach", "dog", "zzz"],
            "labels": ["sea", "Möwe"],
        }
    ]


def test_fiftyone_gets_paths_and_confidences(write_answers, tmp_path):
    path = write_answers("fiftyone")
    content = json.loads(path.read_text())
    assert content["classes"] == list(MODEL.labels)
    assert content["labels"] == {
        str(tmp_path / "photos/a 1.jpg"): [
            {"label": "sky & <sun>", "confidence": 0.9},
            {"label": "Möwe", "confidence": 0.25},
        ],
        str(tmp_path / "photos/c.jpg"): [],
    }
    assert [row["labels"] for row in rows(path)] == [["sky & <sun>", "Möwe"], []]
    assert [row["path"] for row in rows(path)] == ["photos/a 1.jpg", "photos/c.jpg"]


def test_a_photo_elsewhere_has_an_absolute_path(tmp_path):
    assert exchange.place_of(tmp_path / "a" / ".." / "b.jpg", tmp_path) == "b.jpg"
    assert exchange.place_of(tmp_path / "b.jpg", tmp_path / "a") == str(tmp_path / "b.jpg")


def test_a_batch_that_ends_early_leaves_no_file(tmp_path, answers):
    job = Job("a.jpg", tmp_path / "a.jpg", None)
    for name in exchange.FORMATS:
        passed = exchange.written(name, tmp_path / "x.json", MODEL, [job] * 3, iter(answers))
        next(passed)
        passed.close()
        assert not list(tmp_path.iterdir())


# --- The command --------------------------------------------------------------------------


def run(*argv: object) -> int:
    argv = ("annotate", *map(str, argv))
    return console.execute(command.Options, command.main, command.USAGE, list(argv))


@pytest.mark.parametrize("name", [*exchange.FORMATS, "interface"])
def test_a_file_of_another_tool_is_not_replaced(tmp_path, capsys, name):
    write(tmp_path / "a.jpg")
    theirs = tmp_path / ("x.xml" if name == "interface" else "x.json")
    theirs.write_text('[{"id": 1, "annotations": []}]')  # as Label Studio exports tasks
    flag = "label_studio" if name == "interface" else name
    assert run(f"--{flag}={tmp_path / 'x.json'}", tmp_path / "a.jpg") == 2
    assert f"{theirs}: exists and was not written by this command" in capsys.readouterr().err
    assert theirs.read_text() == '[{"id": 1, "annotations": []}]'


def test_photos_that_label_studio_cannot_serve(tmp_path, capsys):
    write(tmp_path / "a.jpg")
    out = tmp_path / "new" / "tasks.json"
    assert run(f"--label_studio={out}", tmp_path / "a.jpg") == 2
    line = f"--label_studio={out}: photos must be below the folder of this file, from which Label"
    assert line in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--label_studio=x.xml"], "--label_studio must end in .json, since .xml is its interface"),
        (["--coco=x.json", "--fiftyone=x.json"], "x.json: must be named by one flag only; give"),
        (["--csv=x.xml", "--label_studio=x.json"], "x.xml: must be named by one flag only; give"),
    ],
)
def test_outputs_that_would_replace_each_other(tmp_path, monkeypatch, capsys, flags, line):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jpg")
    assert run(*flags, "a.jpg") == 2
    assert line in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
