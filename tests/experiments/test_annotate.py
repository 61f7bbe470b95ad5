"""The command that annotates: its outputs, going on after a kill, and one line for mistakes."""

import contextlib
import csv
import errno
import functools
import html
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import TINY, L, calibrated, deployed
from helpers.photographs import png_bomb, png_chunk, write, xmp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_tools.sources.table import read_table
from experiments import annotate as command
from experiments.annotation import exchange
from experiments.annotation.batch import CHUNK, Batch, Choice, Job
from tagnet.backbones import features
from tagnet.errors import CannotWrite, InputError
from tagnet.serving.annotator import MAX_TAGS, Annotator
from tagnet.serving.export import write_saved_model
from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(features.BACKBONES, "tiny", TINY)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(calibrated(backbone="tiny"), tmp_path_factory.mktemp("model")).parent


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """A model is read and traced for the first command that uses it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Annotator, "load", functools.cache(Annotator.load))
        yield


@pytest.fixture(scope="module")
def loaded(model: Path) -> Annotator:
    return Annotator.load(model)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs, one without keywords, and a file that is none."""
    folder = tmp_path / "photos"
    write(folder / "a.jpg", xmp(dc_subject=["tag 1", "unheard of"]), colour="red")
    write(folder / "deep" / "b.png", xmp(lr_hierarchicalSubject=["tag 2|tag 3"]), colour="blue")
    write(folder / "c.jpg", colour="green")
    (folder / "d.jpg").write_text("this is no photograph")
    return folder


def run(*argv: object) -> int:
    argv = ("annotate", *map(str, argv))
    return console.execute(command.Options, command.main, command.USAGE, list(argv))


def answers(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_of_json_for_every_photograph(model, photos, tmp_path, capsys):
    out = tmp_path / "new" / "answers.jsonl"
    assert run(f"--model={model}", f"--jsonl={out}", "--top_k=2", photos) == 0
    found = {Path(answer["photo"]).name: answer for answer in answers(out)}
    assert set(found) == {"a.jpg", "b.png", "c.jpg", "d.jpg"}
    assert "not a supported image" in found["d.jpg"]["error"]
    assert found["a.jpg"]["tags"] == ["tag_1"]
    assert found["a.jpg"]["unknown_tags"] == ["unheard_of"]
    assert found["b.png"]["tags"] == ["tag_2", "tag_3"]
    assert [found[name]["neighbours_by"] for name in ("a.jpg", "c.jpg")] == ["tags", "features"]
    expected = Annotator.load(model).annotate(photos / "a.jpg", ["tag 1"])
    for label, other in zip(found["a.jpg"]["labels"], expected.labels, strict=False):
        assert label["label"] == other.name
        assert label["probability"] == pytest.approx(other.probability, abs=1e-6)
        assert len(label["shares"]["neighbours"]) == len(found["a.jpg"]["neighbours"])
    printed = capsys.readouterr()
    assert "annotated 3 photos, skipped 1" in printed.out
    assert re.search(r"^skipped: .*d.jpg: not a supported image", printed.err)


def test_labels_by_threshold_by_name_and_by_rank(loaded):
    annotation = loaded.annotate(Image.new("RGB", (3, 3), "red"), ["tag 1"])
    every = [label.name for label in annotation.labels]

    def given_by(thresholds: dict[str, float], top_k: int = L) -> list[str]:
        answer = Choice(thresholds, top_k).answer("a.jpg", annotation)
        return [label["label"] for label in answer["labels"]]

    assert given_by(dict.fromkeys(every, 0.0)) == every
    assert given_by(dict.fromkeys(every, annotation.labels[1].probability)) == every[:2]
    assert given_by({every[1]: 0.0}) == every[1:2]
    assert given_by(dict.fromkeys(every, 0.0), top_k=1) == every[:1]
    assert given_by({every[0]: float("inf"), every[1]: 0.0}) == every[1:2]


def test_thresholds_for_a_precision(model, photos, capsys):
    assert (
        run(f"--model={model}", "--target_precision=1", "--labels=label 1", photos / "a.jpg") == 0
    )
    wanted = Annotator.load(model).thresholds(1)["label 1"]
    given_label = "label 1" in capsys.readouterr().out
    (found,) = (
        label
        for label in Annotator.load(model).annotate(photos / "a.jpg", ["tag 1"]).labels
        if label.name == "label 1"
    )
    assert given_label == (found.probability >= wanted)


def test_by_default_labels_are_those_that_reach_a_precision(model, photos, tmp_path, capsys):
    """Of the images that the probabilities were calibrated on, at least 80 % have them."""
    assert run(f"--model={model}", f"--csv={tmp_path / 'labels.csv'}", photos / "a.jpg") == 0
    told = capsys.readouterr()
    reached = Annotator.load(model).thresholds(0.8)
    thresholds = {name: max(command.LEAST, threshold) for name, threshold in reached.items()}
    finite = [threshold for threshold in thresholds.values() if threshold < np.inf]
    rule = f"precision 0.8 on the 40 validation images, thresholds {min(finite):.0%} to"
    assert f"labels: {rule} {max(finite):.0%}" in told.out
    assert f"wrote {tmp_path / 'labels.csv'}: one photo and label per row" in told.out
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    labels = Annotator.load(model).annotate(photos / "a.jpg", ["tag 1"]).labels
    assert rows == [
        {"photo": str(photos / "a.jpg"), "label": one.name, "probability": f"{one.probability:.4f}"}
        for one in labels
        if one.probability >= thresholds[one.name]
    ]


def test_the_shipped_model_is_the_default(loaded, photos, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(Annotator, "load", lambda model, weights: asked.append(model) or loaded)
    assert run(photos / "a.jpg") == 0
    assert asked == [Path(SHIPPED_MODEL)]
    line = f"model: {SHIPPED_MODEL}, which comes with tagnet and knows 3 labels; --model=RUN takes"
    assert capsys.readouterr().out.startswith(line)


def test_by_default_no_threshold_is_very_low(loaded, monkeypatch):
    """With few images of a label even improbable ones can all be right by chance."""
    monkeypatch.setattr(loaded, "thresholds", lambda precision: dict.fromkeys(loaded.labels, 0.05))
    default, said = command._choice(command.Options(("a",)), loaded)
    assert set(default.thresholds.values()) == {command.LEAST}
    assert "thresholds 20% to 20%" in said
    asked, _ = command._choice(command.Options(("a",), target_precision=0.8), loaded)
    assert set(asked.thresholds.values()) == {0.05}


def test_what_limits_the_labels_is_said(loaded):
    def rule(**flags: object) -> tuple[Choice, str]:
        return command._choice(command.Options(("a",), model=Path("m"), **flags), loaded)

    every = dict.fromkeys(loaded.labels, 0.0)
    assert rule(top_k=1) == (Choice(every, 1), "at most 1 label per photo")
    half = dict.fromkeys(loaded.labels, 0.5)
    assert rule(threshold=0.5) == (Choice(half, None), "probability of at least 50%")
    choice, said = rule(target_precision=0.8)
    assert choice == Choice(loaded.thresholds(0.8), None)
    assert said.startswith("precision 0.8 on the 40 validation images, thresholds ")
    assert said.endswith("%, never reached by label 1")
    choice, said = rule(target_precision=0.8, labels=("label 1",))
    assert choice == Choice({"label 1": np.inf}, None)
    assert said == "none, since no label reaches precision 0.8 on the 40 validation images"


def test_a_model_without_validation_scores(tmp_path, capsys):
    """They are lost when its neighbours are the user's own images, of another vocabulary."""
    model = deployed("ltwin", "w2v", backbone="tiny")
    photo = tmp_path / "a.jpg"
    write(photo)
    saved = write_saved_model(model, tmp_path / "model").parent
    assert run(f"--model={saved}", photo) == 0
    rule = "labels: the model has no validation scores; probability of at least 50%; see --target"
    assert rule in capsys.readouterr().out


def test_tags_from_the_command_line_and_from_a_table(model, photos, tmp_path, capsys):
    assert run(f"--model={model}", "--tags=tag 4,tag 5", photos / "a.jpg") == 0
    assert f"{photos / 'a.jpg'}  (tag_4, tag_5)" in capsys.readouterr().out
    table = tmp_path / "photos.csv"
    table.write_text("path,tags\nphotos/a.jpg,tag 6|tag 7\nphotos/c.jpg,\n")
    assert run(f"--model={model}", f"--table={table}") == 0
    printed = capsys.readouterr().out
    assert "photos/a.jpg  (tag_6, tag_7)" in printed
    assert "photos/c.jpg  (no known tags: neighbours by visual similarity)" in printed


def test_a_row_for_every_label(model, photos, tmp_path):
    out = tmp_path / "labels.csv"
    assert run(f"--model={model}", f"--csv={out}", "--top_k=1", photos / "a.jpg", photos) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["photo"]).name for row in rows] == ["a.jpg", "c.jpg", "b.png"]  # a.jpg once


def test_sidecars_are_written_and_taken_back_and_never_read_as_tags(model, photos, tmp_path):
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    assert run(f"--model={model}", "--xmp", "--top_k=3", f"--jsonl={first}", photos) == 0
    assert (photos / "a.jpg.xmp").exists()
    assert not (photos / "d.jpg.xmp").exists()
    assert run(f"--model={model}", "--top_k=3", f"--jsonl={second}", photos) == 0
    assert answers(first) == answers(second)
    assert run("--remove", photos) == 0
    assert not list(photos.rglob("*.xmp"))


def test_a_page_shows_photographs_truth_and_neighbours(model, photos, tmp_path, capsys):
    """The page is made from all answers, also those that were there before."""
    table, page = tmp_path / "t.csv", tmp_path / "new" / "page.html"
    table.write_text(
        "path,tags,labels\nphotos/a.jpg,tag 1|zzz,label 1|x\nphotos/d.jpg,,\nphotos/c.jpg,,\n"
    )
    corpus = tmp_path / "corpus"
    for row in range(20):
        write(corpus / f"image {row}.png")
    flags = [f"--model={model}", f"--jsonl={tmp_path / 'a.jsonl'}", f"--table={table}"]
    assert run(*flags) == 0
    assert run(*flags, f"--html={page}", f"--corpus_photos={corpus}") == 0
    assert "annotated 0 photos, skipped 1; 2 already done" in capsys.readouterr().out
    data = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    assert [photo["name"] for photo in data["photos"]] == ["photos/a.jpg", "photos/c.jpg"]
    assert data["photos"][0]["truth"] == ["label 1", "x"]
    assert data["asked"] == ["label 0", "label 1", "label 2"]
    assert all(photo["image"] for photo in data["photos"])
    assert all(neighbour["src"] for neighbour in data["corpus"])
    assert run(*flags, f"--html={page}") == 0  # its own page it replaces


def test_files_for_other_tools_all_at_once_and_again(model, photos, tmp_path, capsys):
    flags = [f"--model={model}", "--top_k=2", f"--jsonl={tmp_path / 'a.jsonl'}"]
    flags += [f"--{name}={tmp_path / name}.json" for name in exchange.FORMATS]
    for _ in range(2):  # what it wrote it may replace
        assert run(*flags, photos) == 0
    printed = capsys.readouterr().out
    for name, written in exchange.FORMATS.items():
        assert f"wrote {tmp_path / name}.json: {written.about}" in printed
    labels = {
        answer["photo"]: [label["label"] for label in answer["labels"]]
        for answer in answers(tmp_path / "a.jsonl")
        if "error" not in answer
    }
    for name in ("coco", "fiftyone"):
        table = read_table(tmp_path / f"{name}.json", "|")
        assert dict(zip(table["path"], table["labels"], strict=True)) == labels
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    chosen = [task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks]
    assert chosen == list(labels.values())


def test_a_batch_that_was_interrupted_goes_on(model, photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "answers.jsonl"
    assert run(f"--model={model}", f"--jsonl={out}", photos) == 0
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(lines[0] + lines[1][:50])  # killed while it wrote
    capsys.readouterr()
    assert run(f"--model={model}", f"--jsonl={out}", photos) == 0
    assert "1 already done" in capsys.readouterr().out
    whole = out.read_text()
    assert whole.startswith(lines[0])
    assert [answer["photo"] for answer in answers(out)] == [json.loads(x)["photo"] for x in lines]
    (photos / "d.jpg").write_bytes((photos / "a.jpg").read_bytes())  # mended: tried again
    assert run(f"--model={model}", f"--jsonl={out}", photos) == 0
    assert "annotated 1 photo, skipped 0; 3 already done" in capsys.readouterr().out
    assert len({answer["photo"] for answer in answers(out)}) == len(answers(out)) == 4
    whole = out.read_text()
    assert run(f"--model={model}", f"--jsonl={out}", "--top_k=1", photos) == 2
    assert "line 1 was written with another model or other flags" in capsys.readouterr().err
    assert out.read_text() == whole


def test_photographs_that_are_taken_away_meanwhile(loaded, tmp_path):
    """Of two chunks, the folder of the second is moved once the first has been answered."""
    folders = [tmp_path / "first", tmp_path / "second"]
    jobs = []
    for number in range(4 * CHUNK + 1):
        path = folders[number > 0] / f"{number}.jpg"
        jobs.append(Job(path.name, path, ()))
    write(jobs[0].path)
    write(jobs[1].path)
    for job in jobs[2:]:
        os.link(jobs[1].path, job.path)

    def take_away(job, answer):
        if folders[1].exists():
            folders[1].rename(tmp_path / "elsewhere")

    out = tmp_path / "answers.jsonl"
    line = re.escape(f"{folders[1]}: was removed or is unreachable")
    with pytest.raises(CannotWrite, match=line):
        Batch(loaded, Choice({}, L), out, [take_away]).run(jobs)
    assert 0 < len(answers(out)) < len(jobs)
    assert not any("error" in answer for answer in answers(out))
    (tmp_path / "elsewhere").rename(folders[1])
    assert len(Batch(loaded, Choice({}, L), out).run(jobs)) == len(jobs)
    assert len({answer["photo"] for answer in answers(out)}) == len(answers(out)) == len(jobs)


def test_old_and_new_answers_come_one_by_one_in_the_order_of_the_photos(loaded, tmp_path):
    jobs = [Job(f"{number}.jpg", tmp_path / f"{number}.jpg", ()) for number in range(6)]
    write(jobs[0].path)
    for job in jobs[1:]:
        os.link(jobs[0].path, job.path)
    out = tmp_path / "answers.jsonl"
    first = Batch(loaded, Choice({}, L), out).run(jobs[1::2])
    batch = Batch(loaded, Choice({}, L), out)
    every = batch.answers(jobs)
    assert iter(every) is every  # not all at once
    found = list(every)
    assert [answer["photo"] for answer in found] == [job.name for job in jobs]
    assert found[1::2] == json.loads(json.dumps(first))
    assert (batch.there, batch.annotated, batch.skipped) == (3, 3, 0)


def test_answers_that_are_damaged_are_refused(model, photos, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    flags = [f"--model={model}", f"--jsonl={out}"]
    assert run(*flags, photos) == 0
    whole, before = out.read_text(), {answer["photo"] for answer in answers(out)}
    out.write_text(whole.replace('"labels": ', '"labels" ', 1))
    assert run(*flags, photos) == 2
    line = "answers.jsonl: line 1 is not an answer of this command; choose another file, or remove"
    assert line in capsys.readouterr().err
    out.write_text("".join(whole.splitlines(keepends=True)[1:]))
    assert run(*flags, photos) == 0
    assert {answer["photo"] for answer in answers(out)} == before


def test_a_csv_is_written_whole_or_not_at_all(model, photos, tmp_path, capsys):
    """Rows go to a file as they come, which takes the CSV's name at the end."""
    out = tmp_path / "labels.csv"
    assert run(f"--model={model}", f"--csv={out}", "--top_k=1", photos / "a.jpg") == 0
    before = out.read_bytes()
    assert run(f"--model={model}", f"--csv={out}", photos / "d.jpg") == 2
    assert "no photo can be annotated" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".tmp*"))


@pytest.mark.parametrize("flag", ["jsonl", "csv", "html"])
@pytest.mark.parametrize("contents", [b"\xff\xd8a photograph\n, cut", b"{", b'{"photo": 1}\n'])
def test_a_file_that_is_not_ours_is_left_alone(model, photos, tmp_path, capsys, flag, contents):
    theirs = tmp_path / "theirs"
    theirs.write_bytes(contents)
    folder = tmp_path / "folder"
    write(folder / "kept.jpg")
    # A cut-off beginning of an answer is ours, and may go.
    expected = 0 if (flag, contents) == ("jsonl", b"{") else 2
    assert run(f"--model={model}", f"--{flag}={theirs}", photos / "a.jpg") == expected
    assert expected == 0 or theirs.read_bytes() == contents
    assert run(f"--model={model}", f"--{flag}={folder}", photos / "a.jpg") == 2
    assert (folder / "kept.jpg").exists()
    assert "folder: cannot be written (Is a directory)" in capsys.readouterr().err


def test_a_sidecar_that_cannot_be_written_is_skipped(model, photos, tmp_path, capsys):
    theirs = photos / "a.jpg.xmp"
    theirs.write_text("no XMP")
    out = tmp_path / "answers.jsonl"
    assert run(f"--model={model}", "--xmp", "--top_k=3", f"--jsonl={out}", photos) == 0
    errors = capsys.readouterr().err
    assert "skipped: unreadable keywords: " in errors
    assert "a.jpg.xmp: not XMP" in errors
    assert theirs.read_text() == "no XMP"
    assert (photos / "c.jpg.xmp").exists()
    (photos / "c.jpg.xmp").chmod(0o400)
    assert run("--remove", photos) == 0
    printed = capsys.readouterr()
    line = "removed the labels from 0 sidecars and deleted 1 sidecar made for labels, of 4 photos"
    assert line in printed.out
    assert "c.jpg.xmp: cannot be written (its file is read-only, mode 0400)" in printed.err
    assert run("--remove", photos / "c.jpg") == 2
    assert "no sidecar can be written; first error: " in capsys.readouterr().err


def test_a_full_disk_ends_the_command(model, photos, tmp_path, capsys, monkeypatch):
    """Every other sidecar would meet it too; photos are annotated again when there is room."""

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "answers.jsonl"
    flags = (f"--model={model}", "--xmp", "--top_k=3", f"--jsonl={out}", photos)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert run(*flags) == 2
    errors = capsys.readouterr().err
    assert errors.count("cannot be written (No space left on device)") == 1
    assert "a.jpg.xmp" in errors.splitlines()[-1] and not out.read_text()
    assert run(*flags) == 0
    assert (photos / "a.jpg.xmp").exists()


def test_what_a_killed_batch_had_begun_is_removed_and_nothing_else(model, photos, tmp_path):
    left = [photos / ".tmp-0123abcd-a.jpg.xmp", tmp_path / ".tmp-0123abcd-a.csv"]
    kept = [photos / ".tmp-0123abcd-other.xmp", photos / ".tmp-x-a.jpg.xmp", photos / "a.jpg.tmp"]
    for path in [*left, *kept]:
        path.touch()
    assert run(f"--model={model}", "--xmp", f"--csv={tmp_path / 'a.csv'}", photos) == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model=absent", "."], "absent: not a finished run or a SavedModel"),
        (["--model={model}"], r"give either photos \(or folders\), or --table"),
        (["--model={model}", "--table=t.csv", "x.jpg"], "give either photos"),
        (["--model={model}", "absent.jpg"], "absent.jpg: no such file or folder"),
        (["--model={model}", "{empty}"], "has no photos"),
        (["--model={model}", "{bad}"], "no photo can be annotated; first error: .*is empty"),
        (["--model={model}", "--labels=x", "{photo}"], "--labels must be one of label 0, .*'x'"),
        (["--model={model}", "--top_k=0", "{photo}"], "--top_k must be at least 1"),
        (
            ["--model={model}", "--target_precision=2", "{photo}"],
            "--target_precision must be at most 1",
        ),
        (["--model={model}", "--threshold=nan", "{photo}"], "--threshold must be at least 0"),
        (["--model={model}", "--prefix=a|b", "{photo}"], "--prefix must be one level"),
        (["--model={model}", "--table=absent.csv"], "absent.csv: cannot be read"),
        (["--model={model}", "--table={photo}"], "must be UTF-8 text"),
        (["--model={model}", "--table={bad_table}"], "the columns path and tags; tags is missing"),
        (["--model={model}", "--table={a_table}", "--tags=a"], "must not be given together"),
        (["--model={model}", "--table={twice}"], "row 2 repeats the path 'x'"),
        (["--model={model}", "--table={nul}"], "row 1.*NUL"),
        (["--model={model}", "--table={quoted}"], "row 1 is not CSV"),
        (["--model={model}", "--table={words}"], "row 1: must have at most 1000 tags.*10000"),
        (["--model={model}", "a\nb.jpg"], "its name must be Unicode without line breaks"),
        (["--model={model}", "a\udcff.jpg"], "its name must be Unicode without line breaks"),
        (["--model={old}", "{photo}"], "annotator.json: must have format"),
        (["--model={model}", "--corpus_photos=absent", "{photo}"], "must be a folder"),
        (["--model={model}", "--html={photo}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--html={read_only}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--csv={read_only}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--jsonl={read_only}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--jsonl={photo}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--csv={photo}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--coco={read_only}/x", "{photo}"], "x: cannot be written"),
        (["--model={model}", "--fiftyone={photo}/x", "{photo}"], "x: cannot be written"),
        (
            ["--model={model}", "--jsonl={a_table}", "{photo}"],
            "line 1 is not an answer of this command",
        ),
        (
            ["--model={model}", f"--tags={','.join(map(str, range(1001)))}", "{photo}"],
            "--tags: must have at most 1000 tags; received 1001",
        ),
    ],
)
def test_one_line_for_a_mistake(model, photos, tmp_path, capsys, flags, line):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "bad.csv").write_text("path\nx\n")
    (tmp_path / "a.csv").write_text("path,tags\nx,\n")
    places = {
        **{"model": model, "photo": photos / "a.jpg", "empty": tmp_path / "empty"},
        **{"bad": tmp_path / "bad.jpg", "bad_table": tmp_path / "bad.csv"},
        "a_table": tmp_path / "a.csv",
        "old": shutil.copytree(model, tmp_path / "old"),
        "read_only": "/sys",  # also to root
    }
    for name, rows in (
        ("twice", "x,\nx,"),
        ("nul", "a\0b,"),
        ("quoted", 'x,"a'),
        ("words", f"x,{'|'.join(map(str, range(10_000)))}"),
    ):
        places[name] = tmp_path / f"{name}.csv"
        places[name].write_text(f"path,tags\n{rows}\n")
    settings = tmp_path / "old" / "1" / "assets" / "annotator.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"format": 0}))
    before = sorted(tmp_path.rglob("*"))
    assert run(*(flag.format(**places) for flag in flags)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert re.search(line, errors[-1]), errors
    assert [text for text in errors if not text.startswith("skipped: ")] == errors[-1:]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sidecar_with_no_room_for_its_name_is_skipped(model, photos, capsys):
    """Of all reasons for which one cannot be written the one that holds for every user."""
    name = "a" * 245 + ".jpg"
    write(photos / name)
    assert run(f"--model={model}", "--xmp", "--top_k=3", photos) == 0
    assert f"{name}.xmp: cannot be written (File name too long)" in capsys.readouterr().err
    assert (photos / "c.jpg.xmp").exists()
    assert run(f"--model={model}", "--xmp", "--top_k=3", photos / name) == 2
    assert "error: no photo can be annotated; first error: " in capsys.readouterr().err
    assert not list(photos.glob(".tmp*"))


def test_no_control_character_reaches_the_terminal(model, photos, tmp_path, capsys):
    name = "\x1b[2J.jpg"
    for folder in (photos, photos / "\x1b[31m"):
        write(folder / name, xmp(dc_subject=["tag 1"]))
    (photos / "\x1b[2Jbad.jpg").write_text("no image")
    (tmp_path / "photos.csv").write_text(f"path,tags\n{photos / name},\x1b[2J|tag\x07 2|\0\n")
    for flags in (
        [photos],
        ["--tags=\x1b[2J,tag\x9b 3,\0", photos],
        [f"--table={tmp_path}/photos.csv"],
    ):
        assert run(f"--model={model}", *flags) == 0
        printed = "".join(capsys.readouterr())
        assert r"\x1b[2J.jpg  (tag_" in printed
        assert not set(printed) & set(map(chr, (*range(10), *range(11, 32), *range(127, 160))))


def test_a_tag_as_long_as_a_book_is_unknown(model, photos, tmp_path, capsys):
    write(photos / "long.jpg", xmp(dc_subject=["word " * 10_000]))
    out = tmp_path / "a.jsonl"
    assert run(f"--model={model}", f"--jsonl={out}", photos / "long.jpg") == 0
    (answer,) = answers(out)
    assert (len(answer["unknown_tags"]), answer["tags"]) == (1, [])
    many = xmp(dc_subject=[f"word {number}" for number in range(10_000)])
    (photos / "many.png.xmp").write_bytes(many)
    write(photos / "many.png")
    assert run(f"--model={model}", f"--jsonl={out}", photos / "many.png") == 0
    assert len(answers(out)[-1]["unknown_tags"]) == MAX_TAGS


def peak() -> float:
    """The most memory that this process has had since `forget_peak`, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of a process can be measured on Linux only")


def damaged_images() -> dict[str, tuple[bytes, str]]:
    """Contents that no memory must be taken for, and what is said of them."""
    bomb = png_bomb()
    assert len(bomb) < 400_000  # for 2,500,000,000 pixels
    return {
        "bomb": (bomb, "bomb.png: has more than 89,478,485 pixels"),
        "half": (bomb[: len(bomb) // 2], "half.png: has more than 89,478,485 pixels"),
        "garbage": (bomb[:33] + b"\xa5" * 3000, "garbage.png: not a supported image"),
        "cut": (png_bomb(1000)[:70], "cut.png: damaged or unsupported image"),
        "noise": (b"\x89PNG\r\n\x1a\n" + b"\xa5" * 3000, "noise.png: not a supported image"),
        "empty": (b"", "empty.png: is empty"),
    }


def test_bombs_and_garbage_are_skipped_and_take_no_memory(model, loaded, photos, tmp_path, capsys):
    cases = damaged_images()
    for name, (damaged, _) in cases.items():
        (photos / f"{name}.png").write_bytes(damaged)
    # A comment, or a colour profile, of 100 MB beside pixels that are whole.
    packed = b"a\0\0" + zlib.compress(bytes(10**8), 9)
    for name, kind in (("text", b"zTXt"), ("profile", b"iCCP")):
        (photos / f"{name}.png").write_bytes(png_bomb(100, png_chunk(kind, packed)))
    run(f"--model={model}", photos / "a.jpg")  # what is compiled at first is not counted
    capsys.readouterr()
    forget_peak()
    before = peak()
    assert run(f"--model={model}", photos) == 0
    printed = capsys.readouterr()
    assert f"annotated 5 photos, skipped {1 + len(cases)}" in printed.out
    lines = printed.err.splitlines()
    for name, (damaged, line) in cases.items():
        assert len([found for found in lines if line in found]) == 1, (name, lines)
        assert run(f"--model={model}", photos / f"{name}.png") == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: no photo can be annotated") and line in last
        for photo in (photos / f"{name}.png", damaged):
            with pytest.raises(InputError, match="pixels|image|empty") as caught:
                loaded.annotate(photo, ["tag 1"])
            assert len(str(caught.value).splitlines()) == 1
    assert peak() - before < 150


def test_an_image_of_too_many_pixels_is_skipped(model, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 24)
    Image.new("L", (70, 60)).save(photos / "huge.png")
    assert run(f"--model={model}", f"--jsonl={tmp_path / 'a.jsonl'}", photos) == 0
    assert "huge.png: has more than 768 pixels" in capsys.readouterr().err


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.binary(max_size=300), tags=st.lists(st.text(max_size=20), max_size=8))
def test_any_bytes_and_any_tags_are_answered_or_refused_in_one_line(loaded, contents, tags):
    answer = loaded.annotate(Image.new("RGB", (3, 3), "red"), tags)
    assert len(answer.labels) == L
    assert len(set(answer.known_tags)) == len(answer.known_tags)
    with contextlib.suppress(InputError):
        loaded.annotate(contents, tags)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from([".jpg", ".png", ".tif", ".webp"]),
    keywords=st.lists(st.text("ab |<&\x01\u2028é", min_size=1, max_size=5), max_size=3),
    start=st.floats(0, 1),
    damage=st.binary(max_size=12),
    cut=st.booleans(),
)
def test_a_damaged_photograph_is_answered_or_skipped_in_one_line(
    loaded, tmp_path, suffix, keywords, start, damage, cut
):
    escaped = [html.escape(word).replace("\x01", "") for word in keywords]
    photo = write(tmp_path / f"a{suffix}", xmp(dc_subject=escaped))
    contents = photo.read_bytes()
    at = int(start * len(contents))
    photo.write_bytes(contents[:at] + damage + (b"" if cut else contents[at + len(damage) :]))
    choice = Choice(dict.fromkeys(loaded.labels, 0.0), L)
    try:
        (answer,) = Batch(loaded, choice, None).run([Job("a", photo, None)])
    except InputError as error:  # the only photograph cannot be annotated
        assert len(str(error).splitlines()) == 1
    else:
        assert len(answer["labels"]) == L
        assert json.loads(json.dumps(answer))["photo"] == "a"


def test_help_fits_a_screen(capsys):
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
