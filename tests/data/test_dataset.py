"""The prepared directory as the network sees it: tables, neighbourhoods, batches."""

import json
import shutil

import numpy as np
import pytest

from tagnet.data.batches import BatchSettings, training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.settings import Neighbourhood


@pytest.fixture
def dataset(prepared):
    return PreparedDataset(prepared)


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def batches(dataset, epochs, seed=0, m=2, max_rank=4, inputs=("row", "neighbours"), **kw):
    given = {"split": 0, "encoding": "id", "pool": "open", "batch_size": 16, "seed": seed} | kw
    settings = BatchSettings(neighbourhood=Neighbourhood(m, max_rank), **given)
    stream = training_batches(dataset, settings, list(inputs), epochs)
    return [({k: v.numpy() for k, v in x.items()}, y.numpy()) for x, y in stream]


def flat(stream, key):
    return np.concatenate([x[key] for x, _ in stream])


@pytest.mark.parametrize("table", ["device", "mmap"])
@pytest.mark.parametrize("place", [".", "copy"])
def test_a_directory_named_from_where_one_is(dataset, copy, monkeypatch, table, place):
    monkeypatch.chdir(copy if place == "." else copy.parent)
    named = PreparedDataset(place, table)
    assert named.vocabulary == dataset.vocabulary
    assert named.label_names == dataset.label_names
    for part in ("train", "test"):
        np.testing.assert_array_equal(named.split(1)[part], dataset.split(1)[part])
    np.testing.assert_array_equal(named.encoded("w2v"), dataset.encoded("w2v"))
    for (found, _), (expected, _) in zip(
        batches(named, range(1)), batches(dataset, range(1)), strict=True
    ):
        np.testing.assert_array_equal(found["neighbours"], expected["neighbours"])
    found, expected = (one.part(0, "id", "open", "test", 3) for one in (named, dataset))
    np.testing.assert_array_equal(found.neighbours, expected.neighbours)


def test_an_epoch_is_every_training_image_once(dataset):
    stream = batches(dataset, range(1))
    assert sorted(flat(stream, "row")) == dataset.split(0)["train"].tolist()
    assert [len(x["row"]) for x, _ in stream] == [16, 16, 4]  # 36 images; the rest is kept


def test_labels_are_those_of_the_rows(dataset):
    for x, labels in batches(dataset, range(1)):
        np.testing.assert_array_equal(labels, dataset.labels[x["row"]])


def test_draws_are_ordered_subsets_of_the_nearest(dataset):
    part = dataset.part(0, "id", "open", "train", 4)
    nearest = dict(zip(part.rows.tolist(), part.neighbours.tolist(), strict=True))
    for x, _ in batches(dataset, range(3)):
        for row, drawn in zip(x["row"].tolist(), x["neighbours"].tolist(), strict=True):
            ranks = [nearest[row].index(neighbour) for neighbour in drawn]
            assert ranks == sorted(ranks)
            assert len(set(ranks)) == 2


def test_draws_are_uniform(dataset):
    """Each of the 6 pairs of 4 ranks: 36 images over 60 epochs, 360 times each."""
    part = dataset.part(0, "id", "open", "train", 4)
    nearest = dict(zip(part.rows.tolist(), part.neighbours.tolist(), strict=True))
    counts: dict[tuple[int, ...], int] = {}
    for x, _ in batches(dataset, range(60), batch_size=36):
        for row, drawn in zip(x["row"].tolist(), x["neighbours"].tolist(), strict=True):
            pair = tuple(nearest[row].index(neighbour) for neighbour in drawn)
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 6
    # Standard deviation √(2160 · 1/6 · 5/6) = 17.3; five of them.
    assert max(abs(count - 360) for count in counts.values()) < 87


def test_epochs_differ_and_repeat_with_the_seed(dataset):
    first, second = batches(dataset, range(1)), batches(dataset, range(1, 2))
    assert flat(first, "row").tolist() != flat(second, "row").tolist()
    for key in ("row", "neighbours"):
        np.testing.assert_array_equal(flat(first, key), flat(batches(dataset, range(1)), key))
    other = batches(dataset, range(1), seed=1)
    assert flat(first, "row").tolist() != flat(other, "row").tolist()


def test_a_later_start_sees_the_same_batches(dataset):
    whole, late = batches(dataset, range(3)), batches(dataset, range(2, 3))
    for key in ("row", "neighbours"):
        np.testing.assert_array_equal(flat(whole[6:], key), flat(late, key))


def test_only_the_asked_inputs_come(dataset):
    """Keras 3 feeds a dict with a key too many wrongly."""
    assert {key for x, _ in batches(dataset, range(1), inputs=["row"]) for key in x} == {"row"}


def test_all_of_m_keeps_the_nearest_as_they_are(dataset):
    part = dataset.part(0, "id", "open", "train", 3)
    nearest = dict(zip(part.rows.tolist(), part.neighbours.tolist(), strict=True))
    for x, _ in batches(dataset, range(1), m=3, max_rank=3):
        assert x["neighbours"].tolist() == [nearest[row] for row in x["row"].tolist()]


def test_feeds(dataset):
    assert dataset.tables(None).pi is None
    assert isinstance(dataset.tables("id").pi, TagLists)
    assert dataset.tables("id").tag_dim == len(dataset.vocabulary)
    w2v = dataset.tables("w2v")
    expected = dataset.tags.multi_hot(len(dataset.vocabulary)) @ dataset.embedding("w2v").vectors
    np.testing.assert_allclose(w2v.pi, expected, atol=1e-5)
    assert w2v.tag_dim == dataset.embedding("w2v").vectors.shape[1]


def test_every_part_has_its_rows(dataset):
    for pool in dataset.pools:
        for part, rows in dataset.split(1).items():
            stored = dataset.part(1, "w2v", pool, part, 3)
            np.testing.assert_array_equal(stored.rows, rows)
            assert stored.neighbours.shape == stored.distances.shape == (len(rows), 3)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda d: d.split(2), r"split must be 0 to 1; received 2"),
        (lambda d: d.tables("wnet"), r"feed must be one of id, w2v; received 'wnet'"),
        (lambda d: d.max_rank("x", "open"), r"neighbours must be one of id, w2v; received 'x'"),
        (lambda d: d.max_rank("id", "x"), r"pool must be one of open, closed, train; received 'x'"),
        (lambda d: d.embedding("id"), r"embedding must be one of w2v; received 'id'"),
    ],
)
def test_unknown_names(dataset, call, line):
    with pytest.raises(InputError, match=line):
        call(dataset)


@pytest.mark.parametrize(("m", "max_rank"), [(0, 4), (5, 4)])
def test_m_and_max_rank(m, max_rank):
    with pytest.raises(InputError, match=f"m must be 1 to M; received m {m}, M 4"):
        Neighbourhood(m, max_rank)


def test_not_a_prepared_directory(tmp_path):
    with pytest.raises(InputError, match=r"not a prepared data set \(no dataset.json\)"):
        PreparedDataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"format": 99}, r"format must be 1; received 99"),
        ({"images": None}, r"lacks the field 'im"),
    ],
)
def test_another_format(copy, change, line):
    info = json.loads((copy / "dataset.json").read_text()) | change
    info = {name: value for name, value in info.items() if value is not None}
    (copy / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=line):
        PreparedDataset(copy)


@pytest.mark.parametrize("names", ["vocabulary.txt", "labels.txt"])
def test_a_list_of_names_cut_off(copy, names):
    lines = (copy / names).read_text().splitlines(keepends=True)
    (copy / names).write_text("".join(lines[:2]))
    with pytest.raises(InputError, match=rf"{names}: has 2 lines, but an image has the id"):
        PreparedDataset(copy, checked=False).tables(None)
    with pytest.raises(InputError, match=rf"{names}: checksum mismatch .*; prepare the data ag"):
        PreparedDataset(copy).tables(None)


def test_neighbourhoods_of_another_split(copy):
    folders = [copy / "neighbours" / f"split-{split}" / "id-open" for split in (0, 1)]
    shutil.rmtree(folders[0])
    shutil.copytree(folders[1], folders[0])
    with pytest.raises(
        InputError, match="test must hold the 12 images of split 0; received 12 that differ"
    ):
        PreparedDataset(copy, checked=False).part(0, "id", "open", "test", 3)
    with pytest.raises(InputError, match="test-00000-of-00001.tfrecord: checksum mismatch"):
        PreparedDataset(copy).part(0, "id", "open", "test", 3)


def test_neighbours_outside_the_set(copy):
    info = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(info | {"images": 5}))
    with pytest.raises(InputError, match="a neighbour's row must be 0 to 4; received"):
        PreparedDataset(copy, checked=False).part(0, "id", "open", "test", 3)
    with pytest.raises(InputError, match="dataset.json: checksum mismatch"):
        PreparedDataset(copy)
