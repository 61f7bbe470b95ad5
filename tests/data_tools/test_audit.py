"""The audit: a sound directory passes, and each damage is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.tables import make_table

from data_tools import audit, audit_plots, checks
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from tagnet.data.dataset import PreparedDataset
from tagnet.data.records import write_images, write_neighbourhoods
from tagnet.data.tags import TagLists
from tagnet.settings import PARTS
from tagnet.system import console
from tagnet.system.checksums import CHECKSUMS
from tagnet.system.files import write_arrays, write_json


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images (6 without tags), w2v of n 6, M 6, the pool `train` of one split."""
    folder = tmp_path_factory.mktemp("small")
    prepare(make_table(folder / "raw").settings(splits=1, pools=("train",)), folder / "data")
    return folder / "data"


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A prepared directory to break."""
    return Path(shutil.copytree(small, tmp_path / "data"))


def run(*arguments: str | Path) -> int:
    try:
        return console.execute(audit.Options, audit.main, "usage", ["audit", *map(str, arguments)])
    except SystemExit as ended:
        return int(ended.code or 0)


def test_a_sound_directory_passes(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(prepared) == 0
    output = capsys.readouterr().out
    assert output.endswith("all checks passed\n")
    for line in (
        "ok      60 images in row order",
        "ok      11 of 12 tags have 6 numbers",
        "ok      6 images without tags",
        "ok      no image is in two parts",
        "ok      train: 6 neighbours for each of 36 images",
        "ok      test: a new search for 12 images finds the same",
    ):
        assert line in output
    assert "FAILED" not in output


def test_what_it_says_about_neighbours(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, report = checks.audit(small)
    data = PreparedDataset(small)
    counts, likeness = [0] * 60, []
    for part in PARTS:
        found = data.part(0, "id", "train", part, 6)
        for row, nearby in zip(found.rows, found.neighbours, strict=True):
            for other in nearby:
                counts[other] += 1
                one, two = (set(np.flatnonzero(data.labels[image])) for image in (row, other))
                likeness.append(len(one & two) / len(one | two))
    assert report.in_degrees["id-train"].tolist() == counts
    text = capsys.readouterr().out.split("neighbours id-train of split 0")[1].split("w2v-train")[0]
    hub = data.image_ids[int(np.argmax(counts))]
    assert f"most frequent neighbour: {hub} (of {max(counts)} images);" in text
    assert f"label Jaccard: {np.mean(likeness):.3f} with" in text


def change_neighbours(copy: Path, change: Callable[[np.ndarray, np.ndarray], None]) -> None:
    """Rewrites the stored neighbours of the test part, split 0, `id`, pool `train`."""
    data = PreparedDataset(copy)
    part = data.part(0, "id", "train", "test", 6)
    neighbours, distances = part.neighbours.copy(), part.distances.copy()
    change(neighbours, distances)
    folder = data.neighbourhood_directory(0, "id", "train")
    write_neighbourhoods(folder, "test", part.rows, neighbours, distances)


def own_neighbour(copy: Path) -> None:
    row = PreparedDataset(copy).split(0)["test"][3]
    change_neighbours(copy, lambda neighbours, _: neighbours.__setitem__((3, 0), row))


def twice(copy: Path) -> None:
    change_neighbours(copy, lambda neighbours, _: neighbours.__setitem__((2, 1), neighbours[2, 0]))


def farthest_first(copy: Path) -> None:
    change_neighbours(copy, lambda _, distances: distances.__setitem__((2, 0), 1.0))


def not_a_number(copy: Path) -> None:
    change_neighbours(copy, lambda _, distances: distances.__setitem__((2, 5), np.nan))


def too_far(copy: Path) -> None:
    change_neighbours(copy, lambda _, distances: distances.__setitem__((1, 5), 1.5))


def outside_the_pool(copy: Path) -> None:
    row = PreparedDataset(copy).split(0)["test"][0]
    change_neighbours(copy, lambda neighbours, _: neighbours.__setitem__((3, 0), row))


def ties_by_row(copy: Path) -> None:
    def change(neighbours: np.ndarray, distances: np.ndarray) -> None:
        distances[:] = 1
        neighbours[:] = np.sort(neighbours, axis=1)[:, ::-1]

    change_neighbours(copy, change)


def another_neighbour(copy: Path) -> None:
    # Of the pool, in order, and yet not among the nearest.
    train = PreparedDataset(copy).split(0)["train"]

    def change(neighbours: np.ndarray, distances: np.ndarray) -> None:
        distances[0, -1] = 1
        neighbours[0, -1] = max(set(train) - set(neighbours[0]))

    change_neighbours(copy, change)


def overlapping_parts(copy: Path) -> None:
    split = PreparedDataset(copy).split(0)
    split["test"][0] = split["train"][0]
    write_arrays(copy / "splits" / "split-0.npz", split)


def rows_of_no_image(copy: Path) -> None:
    split = PreparedDataset(copy).split(0)
    split["test"][-1] = 60
    write_arrays(copy / "splits" / "split-0.npz", split)


def other_counts(copy: Path) -> None:
    summary = json.loads((copy / "dataset.json").read_text())
    write_json(copy / "dataset.json", summary | {"images_without_tags": 5, "labels": 4})


def a_lost_field(copy: Path) -> None:
    summary = json.loads((copy / "dataset.json").read_text())
    del summary["split_sizes"]
    write_json(copy / "dataset.json", summary)


def a_lost_image(copy: Path) -> None:
    summary = json.loads((copy / "dataset.json").read_text())
    write_json(copy / "dataset.json", summary | {"images": 61})


def a_repeated_id(copy: Path) -> None:
    data = PreparedDataset(copy)
    labels = TagLists.from_lists([np.flatnonzero(row) for row in data.labels])
    names = ["img7", *data.image_ids[1:]]
    write_images(
        copy,
        names,
        lambda first, last: [data.features[first:last]],
        data.tags,
        labels,
        data.feature_dim,
    )


def infinite_features(copy: Path) -> None:
    data = PreparedDataset(copy)
    labels = TagLists.from_lists([np.flatnonzero(row) for row in data.labels])
    data.features[4, 2] = np.inf
    write_images(
        copy,
        data.image_ids,
        lambda first, last: [data.features[first:last]],
        data.tags,
        labels,
        data.feature_dim,
    )


def a_missing_vocabulary(copy: Path) -> None:
    (copy / "vocabulary.txt").unlink()


def a_word_more(copy: Path) -> None:
    with np.load(copy / "embeddings" / "w2v.npz") as arrays:
        changed = dict(arrays)
    changed["known"][:] = True
    write_arrays(copy / "embeddings" / "w2v.npz", changed)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (own_neighbour, "test: no image is its own neighbour; not so for 1 image, first row"),
        (twice, "test: no neighbour is repeated; not so for 1 image, first row"),
        (farthest_first, "test: nearest first; not so for 1 image, first row"),
        (not_a_number, "test: distances are 0 to 1; not so for 1 image, first row"),
        (too_far, "test: distances are 0 to 1; not so for 1 image, first row"),
        (outside_the_pool, "test: neighbours belong to the pool; not so for 1 image, first row"),
        (ties_by_row, "test: equal distances are ordered by row; not so for 12 images, first row"),
        (another_neighbour, "test: a new search for 12 images finds the same; not for row"),
        (overlapping_parts, "no image is in two parts; 1 are"),
        (rows_of_no_image, "row numbers are valid; found [60]"),
        (other_counts, "5 images without tags; found 6"),
        (other_counts, "4 labels; found 5"),
        (a_lost_field, "are complete; the field 'split_sizes' is missing"),
        (a_lost_image, "images (see dataset.json); received 15"),
        (a_repeated_id, "image ids are unique; 1 are repeated"),
        (a_repeated_id, "manifest.jsonl lists the same images"),
        (infinite_features, "8 finite features per image"),
        (a_missing_vocabulary, "vocabulary.txt: checksum"),
        (a_word_more, "11 of 12 tags have 6 numbers; found 12 with 6"),
    ],
)
def test_what_is_broken_is_named(
    copy: Path, capsys: pytest.CaptureFixture[str], damage: Callable, line: str
) -> None:
    damage(copy)
    assert run(copy) == 1
    output = capsys.readouterr().out
    assert any(found.startswith("  FAILED") and line in found for found in output.splitlines())
    told = sum(found.startswith("  FAILED") for found in output.splitlines())
    assert output.endswith(f"{told} check{'s' if told > 1 else ''} failed\n")


@pytest.mark.parametrize("file", ["manifest.jsonl", "labels.txt", "images-00001-of-00004.tfrecord"])
def test_a_changed_byte_is_found(copy: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((copy / file).read_bytes())
    content[20] ^= 1
    (copy / file).write_bytes(content)
    assert run(copy) == 1
    assert f"FAILED  {file}: checksum" in capsys.readouterr().out


def test_checksums_must_be_a_list_of_checksums(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / CHECKSUMS).write_text("abc  dataset.json\n")
    assert run(copy) == 1
    line = "line 1 must be a SHA-256, two spaces and a file name; received 'abc  dataset.json'"
    assert line in capsys.readouterr().out


def write_again(directory: Path, data: PreparedDataset, labels: np.ndarray) -> None:
    """Writes the images with other labels [N, L], and with the features that `data` has now."""
    write_images(
        directory,
        data.image_ids,
        lambda first, last: [data.features[first:last]],
        data.tags,
        TagLists.from_lists([np.flatnonzero(row) for row in labels]),
        data.feature_dim,
    )


def test_labels_that_a_part_lacks_are_said(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = PreparedDataset(copy)
    labels = data.labels.copy()
    labels[data.split(0)["test"], :2] = 0
    write_again(copy, data, labels)
    run(copy)
    assert "          test has no image with 2 labels: animal, beach\n" in capsys.readouterr().out


def test_equal_photographs_are_counted(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = PreparedDataset(copy)
    split = data.split(0)
    data.features[split["test"][:3]] = data.features[split["train"][0]]
    write_again(copy, data, data.labels)
    run(copy)
    output = capsys.readouterr().out
    assert "          3 images with the same features as an earlier image\n" in output
    assert "          3 test images with the same features as a training image\n" in output


def test_plots_are_written(small: Path, tmp_path: Path) -> None:
    assert run(small, f"--plots={tmp_path / 'plots'}") == 0
    for name in audit_plots.FILES:
        content = (tmp_path / "plots" / name).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 5000


def test_a_folder_that_is_not_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "not a prepared data set (no dataset.json)" in capsys.readouterr().err
    assert run() == 2
    assert "give one prepared directory; received 0" in capsys.readouterr().err


def test_vectors_of_impossible_length(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedding = PreparedDataset(copy).embedding("w2v")
    word = int(np.flatnonzero(embedding.known)[2])
    embedding.vectors[word, 0] = 7.6e35
    embedding.save(copy / "embeddings" / "w2v.npz")
    assert run(copy) == 1
    name = PreparedDataset(copy, checked=False).vocabulary.words[word]
    output = capsys.readouterr().out
    assert f"no vector is far longer than the others; that of {name!r} has length 7.6e+35" in output


def test_labels_that_look_odd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.csv"
    labels = ["sky", "Sky", "sea, sky", "city, sky"]
    path.write_text(
        "image_id,tags,labels\n" + "".join(f'p{row},a|b,"{labels[row % 4]}"\n' for row in range(12))
    )
    given = {"raw": path, "tags_only": True, "M": 1, "pools": ("open",), "sizes": "6,2,2"}
    prepare(Settings.of(**given), tmp_path / "out")
    spellings = "labels: differ only by capitals or the like, and are kept apart: 'Sky' and 'sky'"
    assert spellings in capsys.readouterr().out
    assert run(tmp_path / "out") == 0
    output = capsys.readouterr().out
    assert spellings in output
    assert "labels: may be lists that were not split (see --label_separator): 'city, sky'" in output
    assert "2 images in no part" in output
