"""The offline stages: what a prepared directory holds, and when a stage runs again."""

import errno
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from helpers.tables import LABELS, WORDS, Table, data_tools_command, make_table
from PIL import Image

from data_tools import pipeline, stages
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import image_features
from data_tools.stages import Stage, Stages
from data_tools.steps import neighbours
from data_tools.steps.splits import draw_split, parse_sizes, part_sizes
from tagnet.data.dataset import PreparedDataset
from tagnet.data.embeddings import Embedding
from tagnet.errors import InputError
from tagnet.search.neighbours import nearest
from tagnet.settings import PARTS
from tagnet.system.checksums import read_checksums
from tagnet.system.files import TEMPORARY
from tagnet.system.locks import LockLost

QUICK = {"pools": ("train",), "splits": 1}  # for tests of the stages, not of the neighbours
NEIGHBOURS = {"id-train", "w2v-train"}  # its stages
RULES = {"as it is": 11, "singular": 0, "joined": 0, "parts": 0, "two words": 0}


def contents(folder: Path) -> dict[str, bytes]:
    """Every artefact of a prepared directory, the stages' marks left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".stages" not in path.parts
    }


def ran(output: str) -> dict[str, str]:
    """For each stage that ran, why it ran again; "" where it ran for the first time."""
    return dict(re.findall(r"^([\w-]+): running(?: again, )?(.*)$", output, re.M))


# --- What is written ----------------------------------------------------------------------


def test_summary(prepared: Path) -> None:
    summary = json.loads((prepared / "dataset.json").read_text())
    expected = {
        "format": 1,
        "name": "manifest",
        "images": 60,
        "left_out": 0,
        "tags": 12,
        "labels": 5,
        "images_without_tags": 6,
        "label_names": list(LABELS),
        "feature_dim": 8,
        "backbone": None,
        "splits": 2,
        "split_sizes": {"train": 36, "validation": 12, "test": 12},  # .6, .2, .2 of 60
        "encodings": ["id", "w2v"],
        "embeddings": {"w2v": {"n": 6, "known": 11, "rules": RULES}},
        "pools": ["open", "closed", "train"],
    }
    assert {key: summary[key] for key in expected} == expected
    assert set(summary["neighbours"]) == {
        f"{encoding}-{pool}" for encoding in ("id", "w2v") for pool in ("open", "closed", "train")
    }
    for name, stored in summary["neighbours"].items():
        assert stored["M"] == 6
        # Six images have no tags; with w2v, one that has but the unknown word is added.
        assert stored["by_features"] >= 6 if name.startswith("w2v") else stored["by_features"] == 6
    assert summary["settings"]["tau"] == 5000
    assert summary["settings"]["separator"] == "|"
    # Those of other sources are not settings of this one, and cannot make it run again.
    assert not summary["settings"].keys() & {"images", "tag_set", "label_set", "label_prefix"}
    assert set(summary["versions"]) == {"tagnet", "numpy", "tensorflow"}


def test_images_hold_what_the_table_held(tmp_path: Path, prepared: Path) -> None:
    table = make_table(tmp_path)
    data = PreparedDataset(prepared)
    assert data.image_ids == tuple(f"img{row}" for row in range(60))
    np.testing.assert_array_equal(data.features, table.phi.astype(np.float16))
    for row in range(60):
        assert set(data.vocabulary.decode(data.tags[row])) == set(table.tags[row])
        chosen = [LABELS[label] for label in np.flatnonzero(data.labels[row])]
        assert chosen == table.labels[row]


def test_vocabulary_is_by_frequency_and_labels_alphabetical(prepared: Path, tmp_path: Path) -> None:
    tags = make_table(tmp_path).tags
    counts = {word: sum(word in image for image in tags) for word in WORDS}
    expected = sorted(WORDS, key=lambda word: (-counts[word], word))
    assert (prepared / "vocabulary.txt").read_text().split("\n") == [*expected, ""]
    assert (prepared / "labels.txt").read_text() == "animal\nbeach\ncity\nforest\nwinter\n"


def test_embedding_is_that_of_the_file(prepared: Path, tmp_path: Path) -> None:
    lines = make_table(tmp_path).word_vectors.read_text().splitlines()[1:]
    vectors = {line.split()[0]: np.array(line.split()[1:], np.float32) for line in lines}
    data = PreparedDataset(prepared)
    beta = data.embedding("w2v")
    for word, vector, known in zip(data.vocabulary.words, beta.vectors, beta.known, strict=True):
        assert known == (word != WORDS[-1])
        np.testing.assert_array_equal(vector, vectors.get(word, np.zeros(6)))


@pytest.mark.parametrize("encoding", ["id", "w2v"])
@pytest.mark.parametrize("pool", ["open", "closed", "train"])
def test_neighbours_come_from_the_pool(prepared: Path, encoding: str, pool: str) -> None:
    data = PreparedDataset(prepared)
    pi = data.encoded(encoding)
    for split in range(2):
        rows = data.split(split)
        for part in PARTS:
            candidates = {"open": np.arange(60), "closed": rows[part], "train": rows["train"]}[pool]
            expected = nearest(pi, data.features, rows[part], candidates, 6)
            stored = data.part(split, encoding, pool, part, max_rank=6)
            np.testing.assert_array_equal(stored.rows, rows[part])
            np.testing.assert_array_equal(stored.neighbours, expected.neighbours)
            np.testing.assert_array_equal(stored.distances, expected.distances)


def test_small_pools_store_fewer_neighbours(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = prepare(table.settings(sizes="40,5,4", encodings=("id",)), tmp_path / "out")
    # The images less the image itself: 60 - 1 would do, 4 - 1 and 40 - 1 are what there is.
    assert {name: stored["M"] for name, stored in summary["neighbours"].items()} == {
        "id-open": 6,
        "id-closed": 3,
        "id-train": 6,
    }
    assert (
        "id-closed: M = 3 instead of 6: the smallest pool has 4 images" in capsys.readouterr().out
    )
    assert PreparedDataset(tmp_path / "out").part(1, "id", "closed", "test", 3).rows.shape == (4,)


def test_a_pool_of_one_image_is_refused(table: Table, tmp_path: Path) -> None:
    settings = table.settings(sizes="40,1,4", encodings=("id",))
    with pytest.raises(InputError, match="id-closed: every pool must have at least 2 images"):
        prepare(settings, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_open_pool_is_searched_once(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def spy(pi, features, rows, pool, *others):
        searched.append((len(rows), len(pool)))
        return nearest(pi, features, rows, pool, *others)

    monkeypatch.setattr(neighbours.neighbours, "nearest", spy)
    prepare(table.settings(encodings=("id",), pools=("open",), splits=3), tmp_path / "out")
    assert searched == [(60, 60)]


def test_wordnet_vectors_give_wnet(table: Table, tmp_path: Path) -> None:
    settings = table.settings(**QUICK, word_vectors=None, wordnet_vectors=table.word_vectors)
    summary = prepare(settings, tmp_path / "out")
    assert summary["encodings"] == ["id", "wnet"]
    assert (tmp_path / "out" / "embeddings" / "wnet.npz").exists()


def test_demo(tmp_path: Path) -> None:
    settings = Settings.of(source="demo", pools=("train",), M=2)
    summary = prepare(settings, tmp_path / "out")
    assert summary["name"] == "demo"
    assert summary["images"] == 4200
    assert summary["split_sizes"] == {"train": 2600, "validation": 600, "test": 1000}
    assert summary["backbone"] == "efficientnet_lite0"
    assert summary["encodings"] == ["id", "w2v", "wnet"]
    for encoding, dim, known in (("w2v", 300, 1231), ("wnet", 650, 1252)):  # DATA_LICENSES.md
        found = summary["embeddings"][encoding]
        assert (found["n"], found["known"], found["rules"]["as it is"]) == (dim, known, known)


# --- Splits -------------------------------------------------------------------------------


def test_splits_are_disjoint_sorted_and_depend_on_seed_and_index_only() -> None:
    split = draw_split([36, 12, 12], 60, seed=3, index=1)
    again = draw_split([36, 12, 12], 60, seed=3, index=1)
    for part in PARTS:
        assert split[part].dtype == np.int32
        assert (np.diff(split[part]) > 0).all()
        np.testing.assert_array_equal(split[part], again[part])
    assert sorted(itertools.chain(*split.values())) == list(range(60))
    others = [draw_split([36, 12, 12], 60, seed, index) for seed, index in [(3, 0), (1, 3), (4, 1)]]
    for other in others:
        assert (other["train"] != split["train"]).any()


def test_more_splits_leave_the_first_as_they_were(table: Table, tmp_path: Path) -> None:
    prepare(table.settings(**QUICK), tmp_path / "out")
    before = contents(tmp_path / "out")
    prepare(table.settings(**QUICK | {"splits": 3}), tmp_path / "out")
    after = contents(tmp_path / "out")
    assert set(after) > set(before)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"dataset.json", "croissant.json", "checksums.sha256"}
    # The checksums are of every other artefact, and of no other file.
    assert set(read_checksums(tmp_path / "out")) == set(after) - {"checksums.sha256"}


@pytest.mark.parametrize(
    ("num_images", "sizes", "expected"),
    [
        (190253, "110000,40000,40253", [110000, 40000, 40253]),  # NUS-WIDE in the paper
        (10, "2,3,4", [2, 3, 4]),
        (10, ".6,.2,.2", [6, 2, 2]),
        (11, ".6,.2,.2", [7, 2, 2]),  # cut at 6.6 and 8.8: all 11 are used
        (10, "0.5,0.1,0.1", [5, 1, 1]),
    ],
)
def test_sizes(num_images: int, sizes: str, expected: list[int]) -> None:
    assert part_sizes(num_images, parse_sizes(sizes)) == expected


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "a,b,c", "0,1,1", "-1,1,1", ".5,.4,.2", "1,.2,.2", "nan,.2,.2"]
)
def test_malformed_sizes(text: str, table: Table) -> None:
    with pytest.raises(InputError, match=re.escape(f"received {text!r}")):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("50,6,5", "--sizes must not exceed 60 images; received 50,6,5"),
        (".98,.01,.001", "--sizes must leave every part an image; 60 images give 59,0,0"),
    ],
)
def test_sizes_that_do_not_fit(sizes: str, message: str, table: Table, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(table.settings(sizes=sizes), tmp_path / "out")


# --- When a stage runs again --------------------------------------------------------------


@pytest.fixture
def out(table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The table of the fixture `table`, prepared."""
    prepare(table.settings(**QUICK), tmp_path / "out")
    capsys.readouterr()
    return tmp_path / "out"


def test_nothing_runs_twice(out: Path, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare(table.settings(**QUICK), out)
    output = capsys.readouterr().out
    assert ran(output) == {}
    assert "vocabulary: up to date\n" in output
    assert "seconds: none, everything was up to date" in output
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


@pytest.mark.parametrize(
    ("changed", "stage", "reason", "others"),
    [
        (
            {"tau": 8},
            "vocabulary",
            "tau changed from 5000 to 8",
            {"embeddings-w2v", "images", *NEIGHBOURS},
        ),
        ({"seed": 1}, "splits", "seed changed from 0 to 1", NEIGHBOURS),
        ({"sizes": "40,10,10"}, "splits", "sizes changed from 0.6,0.2,0.2 to 40,10,10", NEIGHBOURS),
        ({"M": 5}, "id-train", "M changed from 6 to 5", NEIGHBOURS - {"id-train"}),
        ({"name": "other"}, "dataset", "name changed from manifest to other", set()),
    ],
)
def test_a_changed_setting_reruns_what_depends_on_it(
    out: Path,
    table: Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict,
    stage: str,
    reason: str,
    others: set[str],
) -> None:
    settings = table.settings(**QUICK, **changed)
    prepare(settings, out, dry_run=True)
    planned = set(re.findall(r"^([\w-]+): would run", capsys.readouterr().out, re.M))
    prepare(settings, out)
    reasons = ran(capsys.readouterr().out)
    assert reasons[stage] == reason
    assert set(reasons) == {stage, "dataset", *others} == planned
    prepare(settings, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_changed_file_reruns_what_depends_on_it(
    out: Path, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(table.features, table.phi[::-1])
    prepare(table.settings(**QUICK), out)
    reasons = ran(capsys.readouterr().out)
    assert reasons["images"] == f"features changed ({table.features})"
    assert set(reasons) == {"images", "dataset", *NEIGHBOURS}
    prepare(table.settings(**QUICK), tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_file_more_or_less_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.txt").write_text("1")
    (tmp_path / "out").mkdir()
    for inputs in ({}, {"ids": tmp_path / "ids.txt"}, {}):
        stage = Stage("manifest", lambda: {}, [], inputs=inputs)
        Stages(tmp_path / "out", last="dataset.json").run(stage)
    assert ran(capsys.readouterr().out) == {"manifest": "ids no longer given"}
    Stages(tmp_path / "out", last="dataset.json", dry_run=True).run(
        Stage("manifest", lambda: {}, [], inputs={"ids": tmp_path / "ids.txt"})
    )
    expected = f"manifest: would run again, ids added ({tmp_path / 'ids.txt'})\n"
    assert capsys.readouterr().out == expected


def test_a_dry_run_says_what_would_be_removed(
    out: Path, table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(out)
    prepare(table.settings(**QUICK, encodings=("id",)), out, dry_run=True)
    output = capsys.readouterr().out
    assert re.findall(r"^(.*): would be removed \(no longer requested\)$", output, re.M) == [
        "embeddings-w2v",
        "w2v-train",
    ]
    assert contents(out) == before


def test_a_file_of_the_same_size_and_time_may_have_changed(table: Table, tmp_path: Path) -> None:
    np.save(table.raw.with_name("f.npy"), table.phi)
    given = table.settings(**QUICK, features=table.raw.with_name("f.npy"), word_vectors=None)
    for sign in (1, -1):
        np.save(table.raw.with_name("f.npy"), sign * table.phi)
        os.utime(table.raw.with_name("f.npy"), (1, 1))
        prepare(given, tmp_path / "out")
        stored = PreparedDataset(tmp_path / "out").features
        np.testing.assert_array_equal(stored, (sign * table.phi).astype(np.float16))


def test_a_file_that_was_only_touched_has_not_changed(
    out: Path, table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(table.raw, (0, 0))
    prepare(table.settings(**QUICK), out)
    assert ran(capsys.readouterr().out) == {}


def test_a_damaged_artefact_is_made_again(
    out: Path, table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(out)
    (out / "splits" / "split-0.npz").unlink()
    (out / "images-00002-of-00004.tfrecord").write_bytes(b"short")
    prepare(table.settings(**QUICK), out)
    assert ran(capsys.readouterr().out) == {
        "splits": "splits/split-0.npz is missing or was modified",
        "images": "images-00002-of-00004.tfrecord is missing or was modified",
        "dataset": "dataset.json is missing or was modified",
    }
    assert contents(out) == before


def test_what_is_no_longer_asked_for_is_removed(
    out: Path, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = table.settings(**QUICK | {"splits": 2, "encodings": ("id",)})
    prepare(settings, out)
    settings = table.settings(**QUICK, encodings=("id",))
    prepare(settings, out)
    assert "w2v-train: removed (no longer requested)" in capsys.readouterr().out
    prepare(settings, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")
    assert sorted(path.name for path in (out / "neighbours").rglob("*-*") if path.is_dir()) == [
        "id-train",
        "split-0",
    ]


@pytest.mark.parametrize("broken", ["write_images", "write_neighbourhoods", "write_text"])
def test_a_stopped_run_goes_on_and_leaves_the_same(
    table: Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    module = {"write_images": pipeline.records, "write_neighbourhoods": neighbours}.get(
        broken, pipeline
    )
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, broken, lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(table.settings(**QUICK), out)
    finished = set(re.findall(r"^([\w-]+): \d+\.\d s$", capsys.readouterr().out, re.M))
    assert "vocabulary" in finished
    assert not (out / "dataset.json").exists()
    # As a kill in the middle of a write leaves them behind:
    (out / ".tmp-0123abcd-labels.txt").write_text("half")
    (out / "splits" / ".tmp-0123abcd-split-0.npz").mkdir()
    prepare(table.settings(**QUICK), out)
    assert not finished & set(ran(capsys.readouterr().out))
    prepare(table.settings(**QUICK), tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_run_that_fails_is_not_taken_for_finished(out: Path, table: Table) -> None:
    phi = table.phi.copy()
    phi[3, 2] = np.nan
    np.savez(table.features, phi)
    with pytest.raises(InputError, match=r"features\.npz: row 4, column 3: a feature must be fin"):
        prepare(table.settings(**QUICK), out)
    assert not (out / "dataset.json").exists()
    assert not list(out.rglob(".tmp-*"))


def test_a_disk_that_is_full_before_the_first_mark(
    tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        os_error_reason = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / ".stages"))
        patch.setattr(stages, "write_json", Mock(side_effect=os_error_reason))
        with pytest.raises(InputError, match=r"\.stages: cannot be written \(No space left"):
            prepare(table.settings(**QUICK), out)
    assert (out / "manifest.jsonl").exists()
    prepare(table.settings(**QUICK), out)
    prepare(table.settings(**QUICK), tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_process_that_lost_its_lock_does_not_spoil_what_another_prepares(
    tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still in the second stage, while another took over and did everything."""
    out = tmp_path / "out"
    write_vocabulary = pipeline.write_vocabulary

    def stand_still(*arguments: Any) -> dict[str, Any]:
        monkeypatch.setattr(pipeline, "write_vocabulary", write_vocabulary)
        (out / ".locks" / "prepare.lock").unlink()
        prepare(table.settings(**QUICK), out)
        before.update({path: path.stat().st_mtime_ns for path in out.rglob("*.json")})
        return write_vocabulary(*arguments)

    before: dict[Path, int] = {}
    monkeypatch.setattr(pipeline, "write_vocabulary", stand_still)
    with pytest.raises(LockLost, match="prepare.lock: lock lost"):
        prepare(table.settings(**QUICK), out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    prepare(table.settings(**QUICK), tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_dry_run_touches_nothing(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(table.settings(**QUICK), tmp_path / "out", dry_run=True) == {}
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: would run"
        for name in (
            "manifest",
            "vocabulary",
            "splits",
            "embeddings-w2v",
            "images",
            "id-train",
            "w2v-train",
            "dataset",
        )
    ]


# --- Photographs --------------------------------------------------------------------------


def photo_table(folder: Path) -> Settings:
    """Eight photographs in plain colours; the third is broken, the sixth missing."""
    folder.mkdir()
    lines = ["image_id,path,tags,labels"]
    for row in range(8):
        if row != 5:
            Image.new("RGB", (40, 30), (30 * row, 0, 90)).save(folder / f"{row}.jpg")
        lines.append(f"img{row},{row}.jpg,sea|sky,{'ab'[row % 2]}")
    (folder / "2.jpg").write_bytes(b"not a photograph")
    (folder / "table.csv").write_text("\n".join(lines))
    return Settings.of(raw=folder / "table.csv", sizes="2,2,2", M=1, pools=("open",))


def test_photographs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_features, "CHUNK", 3)
    settings = photo_table(tmp_path / "raw")
    summary = prepare(settings, tmp_path / "out")
    assert summary["images"] == 6
    assert summary["left_out"] == 2
    assert summary["feature_dim"] == 1280
    assert summary["backbone"] == "efficientnet_lite0"
    lines = (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()
    left_out = [json.loads(line) for line in lines]
    assert [image["image_id"] for image in left_out] == ["img2", "img5"]
    assert "2.jpg: not a supported image" in left_out[0]["reason"]
    assert "5.jpg: cannot be read" in left_out[1]["reason"]
    data = PreparedDataset(tmp_path / "out")
    assert data.image_ids == ("img0", "img1", "img3", "img4", "img6", "img7")
    output = capsys.readouterr().out
    assert f"left out: 2 images, see {tmp_path / 'out' / 'left_out.jsonl'}\n" in output
    assert "    1 image: cannot be read (No such file or directory); first: img5\n" in output
    # One more photograph: only the chunk that it is in is extracted again.
    Image.new("RGB", (40, 30)).save(tmp_path / "raw" / "5.jpg")
    assert prepare(settings, tmp_path / "out")["images"] == 7
    output = capsys.readouterr().out
    assert re.findall("features: photos .*", output) == ["features: photos 4 to 6"]
    assert "manifest: running again, photographs changed\n" in output
    again = PreparedDataset(tmp_path / "out")
    np.testing.assert_array_equal(again.features[[0, 1, 5, 6]], data.features[[0, 1, 4, 5]])
    # A damaged chunk is named, and made again once it is removed.
    chunk, *_ = (tmp_path / "out" / ".stages" / "photographs").glob("*.npz")
    chunk.write_bytes(chunk.read_bytes()[:-9])
    (tmp_path / "out" / ".stages" / "manifest.json").unlink()
    before = (tmp_path / "out" / "checksums.sha256").read_bytes()
    with pytest.raises(InputError, match=rf"{chunk.name}: is not a valid .*; remove the file and"):
        prepare(settings, tmp_path / "out")
    chunk.unlink()
    capsys.readouterr()
    prepare(settings, tmp_path / "out")
    assert len(re.findall("features: photos .*", capsys.readouterr().out)) == 1
    assert (tmp_path / "out" / "checksums.sha256").read_bytes() == before
    # A processor may sum a batch of three in another order than a batch of two.
    np.testing.assert_allclose(again.features[[2, 3]], data.features[[2, 3]], rtol=2e-3, atol=1e-4)


def test_no_photograph_can_be_read(tmp_path: Path) -> None:
    settings = photo_table(tmp_path / "raw")
    for photo in (tmp_path / "raw").glob("*.jpg"):
        photo.unlink()
    with pytest.raises(InputError, match=r"no photo can be read; first error: .*0\.jpg"):
        prepare(settings, tmp_path / "out")


def test_photographs_without_a_path(tmp_path: Path, table: Table) -> None:
    with pytest.raises(
        InputError, match="every image must have a path .or give --features.; 'img0'"
    ):
        prepare(table.settings(features=None), tmp_path / "out")


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"source": "nope"},
            "--source must be one of demo, table, photo_folder, nus_wide, mirflickr, twin; ",
        ),
        ({"raw": None}, "--raw is missing: --source=table needs the table's file"),
        (
            {"source": "demo"},
            "--raw is for --source=table, photo_folder, nus_wide, mirflickr; received "
            "--source=demo",
        ),
        ({"tag_set": "all"}, "--tag_set is for --source=nus_wide, mirflickr; received --source=ta"),
        (
            {"weights": Path("w.npz")},
            "--weights is for photos and must not be given with --features; received w.npz",
        ),
        (
            {"backbone": "caffenet", "features": None, "tags_only": True},
            "--backbone is for photos and must not be given with --tags_only; received caffe",
        ),
        ({"wordnet_dim": 9}, "--wordnet_dim=9 needs --wordnet; received none"),
        (
            {"pools": ("open", "half")},
            "--pools must be one of open, closed, train; received 'half'",
        ),
        ({"pools": ()}, "--pools must be one or more, each once; received ''"),
        (
            {"pools": ("open", "open")},
            "--pools must be one or more, each once; received 'open,open'",
        ),
        ({"encodings": ("glove",)}, "--encodings must be one of id, w2v, wnet; received 'glove'"),
        (
            {"encodings": ("wnet",)},
            "--encodings=wnet needs --wordnet or --wordnet_vectors; received none",
        ),
        (
            {"encodings": ("id", "w2v"), "word_vectors": None},
            "--encodings=w2v needs --word_vectors; received none",
        ),
        (
            {"backbone": "vgg"},
            "--backbone must be one of efficientnet_lite0, efficientnet_lite1, efficientnet_",
        ),
        ({"tau": 0}, "--tau must be at least 1; received 0"),
        ({"M": 0}, "--M must be at least 1; received 0"),
        ({"splits": 0}, "--splits must be at least 1; received 0"),
        ({"min_images": 0}, "--min_images must be at least 1; received 0"),
        ({"seed": -1}, "--seed must be at least 0; received -1"),
        ({"separator": ""}, "--separator must not be empty"),
        ({"sizes": "1,2"}, "--sizes must be three counts"),
    ],
)
def test_bad_settings(changed: dict, message: str, table: Table, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        prepare(table.settings(**changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["raw", "features", "word_vectors"])
def test_missing_files(name: str, table: Table, tmp_path: Path) -> None:
    getattr(table, name).unlink()
    with pytest.raises(InputError, match=f"{getattr(table, name)}: cannot be read"):
        prepare(table.settings(), tmp_path / "out")


def test_a_first_stage_that_fails_leaves_no_folder(table: Table, tmp_path: Path) -> None:
    table.raw.write_text("image_id,tags,labels\n")
    with pytest.raises(InputError, match="must hold at least one image"):
        prepare(table.settings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_separator_that_may_be_wrong_is_noted(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(table.settings(**QUICK, separator=";", word_vectors=None), tmp_path / "out")
    expected = (
        "tags: no image has more than one, and '|' stands in them; if they are separated by it, "
        "give --separator='|'\n"
    )
    assert expected in capsys.readouterr().out


def test_vectors_that_know_no_tag_or_are_not_finite(table: Table, tmp_path: Path) -> None:
    table.word_vectors.write_text("1 2\nelsewhere 1 2\n")
    with pytest.raises(InputError, match=r"vectors\.txt: has no vector for any tag of the vocab"):
        prepare(table.settings(), tmp_path / "out")
    table.word_vectors.write_text("1 2\nsky nan 2\n")
    with pytest.raises(InputError, match=r"vectors\.txt: vectors must be finite"):
        prepare(table.settings(), tmp_path / "out")


def test_what_one_left_that_was_killed_at_its_start_is_no_other_file(
    table: Table, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{TEMPORARY}0123abcd").touch()
    prepare(table.settings(**QUICK), out)
    assert not list(out.glob(f"{TEMPORARY}*"))


def test_out_that_cannot_be_used(table: Table, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; it must be a folder"):
        prepare(table.settings(), tmp_path / "file")
    with pytest.raises(InputError, match=r"file.*cannot be written \(Not a directory\)"):
        prepare(table.settings(), tmp_path / "file" / "out")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("")
    with pytest.raises(InputError, match="has other files in it; it must be new, empty or"):
        prepare(table.settings(), tmp_path / "home")


# --- The command --------------------------------------------------------------------------


def test_command(table: Table, tmp_path: Path) -> None:
    arguments = [
        f"--raw={table.raw}",
        f"--features={table.features}",
        f"--word_vectors={table.word_vectors}",
        f"--out={tmp_path / 'out'}",
        "--M=6",
        "--pools=train",
    ]
    result = data_tools_command("prepare", "--source=table", *arguments)
    assert result.returncode == 0
    assert result.stderr == "loading TensorFlow …\n"
    prepare(table.settings(**QUICK), tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_command_refuses_in_one_line() -> None:
    result = data_tools_command("prepare", "--source=demo")
    assert result.returncode == 2
    assert result.stdout == ""
    line = "error: --out is missing: the prepared directory to write"
    assert result.stderr == f"{line}\n"


def test_help_explains_every_setting() -> None:
    output = data_tools_command("prepare", "--help").stdout
    for flag in [*Settings.__dataclass_fields__, "out", "dry_run", "engine", "address"]:
        assert re.search(rf"^  --{flag} +\S.*$", output, re.M)
    assert len(output.splitlines()) <= 54
    assert max(map(len, output.splitlines())) <= 100


def test_embedding_file_fits_the_vocabulary(prepared: Path) -> None:
    words = len(PreparedDataset(prepared).vocabulary)
    assert Embedding.load(prepared / "embeddings" / "w2v.npz", words).vectors.shape == (12, 6)
