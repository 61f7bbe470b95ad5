"""Conditions: which words are in use, which tags images have, and which neighbours they get."""

import dataclasses
import shutil

import numpy as np
import pytest
from helpers import oracle

from experiments.paper.conditions import OLD_HALF, UNCHANGED, Perturbation
from experiments.paper.perturbed import Setup, deal, perturbed
from tagnet.data.dataset import PreparedDataset
from tagnet.data.embeddings import rho

SPLIT, SEED = 1, 3


@pytest.fixture(scope="module")
def dataset(prepared):
    return PreparedDataset(prepared)


def situation(dataset, **changes):
    return Setup(dataset, dataclasses.replace(UNCHANGED, **changes), SPLIT, SEED)


def test_halves_have_a_word_of_every_pair_and_share_none():
    old, new = (deal(101, overlap, np.random.default_rng(5)) for overlap in (1, 0))
    assert (old // 2 == np.arange(50)).all()
    assert sorted([*old, *new]) == list(range(100))
    assert (old % 2).any()
    assert not (old % 2).all()


def test_growing_overlaps_keep_ever_more_of_the_same_words():
    old = set(deal(80, 1, np.random.default_rng(5)))
    shared = [set(deal(80, o, np.random.default_rng(5))) & old for o in (0, 0.25, 0.5, 0.75, 1)]
    assert [len(words) for words in shared] == [0, 10, 20, 30, 40]
    assert all(one < other for one, other in zip(shared, shared[1:], strict=False))


def test_splits_and_seeds_have_halves_of_their_own(dataset):
    halves = {
        tuple(Setup(dataset, OLD_HALF, split, seed).words) for split in (0, 1) for seed in range(4)
    }
    assert len(halves) > 4


def test_all_images_have_the_new_tags(dataset):
    new = situation(dataset, overlap=0.0)
    for row, own in enumerate(dataset.tags):
        assert new.tags[row].tolist() == [tag for tag in own if tag in new.words]


@pytest.mark.parametrize("encoding", ["id", "w2v"])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_neighbours_are_those_of_an_oracle_on_the_new_tags(dataset, encoding, overlap):
    new = situation(dataset, overlap=overlap)
    found = new.nearest("test", encoding, "open", 6)
    tags = [set(own) & set(new.words) for own in dataset.tags]
    vectors = rho(new.tags, dataset.embedding("w2v"))
    for place, row in enumerate(found.rows):
        others = [other for other in range(len(tags)) if other != row]
        usable = tags[row] if encoding == "id" else vectors[row].any()
        assert found.by_features[place] == (not usable)
        if usable and encoding == "id":
            distances = [oracle.jaccard_distance(tags[row], tags[other]) for other in others]
        elif usable:
            distances = [oracle.cosine_distance(vectors[row], vectors[other]) for other in others]
        else:
            phi = dataset.features.astype(np.float64)
            distances = [oracle.cosine_distance(phi[row], phi[other]) for other in others]
        np.testing.assert_allclose(found.distances[place], np.sort(distances)[:6], atol=1e-6)


def test_words_of_another_half_are_unknown_to_ids(dataset):
    new, old = situation(dataset, overlap=0.0), situation(dataset, overlap=1.0)
    assert not new.encoded("id", old.words).lengths.any()
    known = old.encoded("id", old.words)
    for row, own in enumerate(old.tags):
        assert old.words[known[row]].tolist() == own.tolist()


@pytest.mark.parametrize("field", ["dropped", "wrong"])
def test_the_other_parts_keep_their_tags(dataset, field):
    changed = situation(dataset, **{field: 0.75})
    others = np.concatenate([dataset.split(SPLIT)[part] for part in ("train", "validation")])
    for row in others:
        assert changed.tags[row].tolist() == dataset.tags[row].tolist()
    assert any(changed.tags[row].tolist() != own.tolist() for row, own in enumerate(dataset.tags))


def test_dropped_tags_stay_dropped(dataset):
    test = dataset.split(SPLIT)["test"]
    levels = [situation(dataset, dropped=share).tags for share in (0.0, 0.3, 0.6, 0.9, 1.0)]
    for row in test:
        kept = [set(tags[row]) for tags in levels]
        assert all(more <= less for less, more in zip(kept, kept[1:], strict=False))
        assert kept[0] == set(dataset.tags[row])
        assert not kept[-1]


def test_wrong_tags_are_new_to_the_image_and_as_many_as_asked_for(dataset):
    test = dataset.split(SPLIT)["test"]
    levels = [situation(dataset, wrong=share).tags for share in (0.0, 0.5, 1.0, 2.0)]
    for row in test:
        own, *mixed = (set(tags[row]) for tags in levels)
        assert own == set(dataset.tags[row])
        assert own <= mixed[0] <= mixed[1] <= mixed[2]
        assert len(own) / 2 - 1 < len(mixed[0] - own) < len(own) / 2 + 1
        assert [len(tags) for tags in mixed[1:]] == [2 * len(own), 3 * len(own)]


def test_more_wrong_tags_than_there_are_words(dataset):
    row = next(row for row in dataset.split(SPLIT)["test"] if len(dataset.tags[row]))
    assert len(situation(dataset, wrong=50.0).tags[row]) == len(dataset.vocabulary)


def test_wrong_tags_are_drawn_by_frequency(dataset):
    counts = np.zeros(len(dataset.vocabulary))
    test = dataset.split(SPLIT)["test"]
    lists = dataset.tags.select(test)
    for seed in range(40):
        tags = Setup(dataset, Perturbation(wrong=0.5), SPLIT, seed).tags.select(test)
        counts += np.bincount(tags.ids, minlength=len(counts))
    added = counts - 40 * np.bincount(lists.ids, minlength=len(counts))
    frequency = np.bincount(dataset.tags.ids, minlength=len(counts))
    assert np.corrcoef(added, frequency)[0, 1] > 0.7


def test_shuffled_neighbours_are_the_same_in_another_order(dataset):
    usual = situation(dataset).nearest("test", "id", "open", 6)
    other = situation(dataset, shuffled=True).nearest("test", "id", "open", 6)
    assert (usual.neighbours != other.neighbours).any()
    for field in ("neighbours", "distances"):
        one, two = (np.sort(getattr(found, field)) for found in (usual, other))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("pool", ["open", "closed", "train"])
def test_the_usual_neighbours_are_those_that_were_prepared(dataset, pool):
    for part in ("train", "test"):
        stored = dataset.part(SPLIT, "w2v", pool, part, 6)
        found = situation(dataset, pool=pool).nearest(part, "w2v", "open", 6)
        np.testing.assert_array_equal(found.neighbours, stored.neighbours)
        np.testing.assert_array_equal(found.distances, stored.distances)


def test_other_tags_are_not_read_from_the_cache_of_the_prepared_ones(prepared, tmp_path):
    """Where the tables are mapped from disk; Φ is the same table for both."""
    dataset = PreparedDataset(shutil.copytree(prepared, tmp_path / "data"), "mmap")
    half = perturbed(dataset, OLD_HALF, SPLIT, SEED, tmp_path / "neighbours")
    whole = dataset.encoded("w2v")  # writes the cache
    ours = situation(dataset, overlap=1.0).encoded("w2v")
    assert (ours != whole).any()
    np.testing.assert_array_equal(half.encoded("w2v"), ours)
    assert half.tables(None).phi is dataset.tables(None).phi


def test_a_run_is_trained_with_the_old_half_alone(dataset, tmp_path):
    half = perturbed(dataset, OLD_HALF, SPLIT, SEED, tmp_path / "neighbours")
    old = situation(dataset, overlap=1.0)
    assert half.vocabulary.words == tuple(dataset.vocabulary.words[word] for word in old.words)
    for row, own in enumerate(half.tags):
        words = set(half.vocabulary.decode(own))
        assert words == set(dataset.vocabulary.decode(dataset.tags[row])) & set(
            half.vocabulary.words
        )
    np.testing.assert_array_equal(half.encoded("w2v"), old.encoded("w2v"))
    np.testing.assert_array_equal(half.labels, dataset.labels)
    for part in ("train", "validation", "test"):
        stored = half.part(SPLIT, "id", "open", part, 6)
        found = old.nearest(part, "id", "open", 6)
        np.testing.assert_array_equal(stored.neighbours, found.neighbours)
        np.testing.assert_array_equal(stored.distances, found.distances)


def test_names_of_conditions_differ_where_they_do():
    conditions = [
        UNCHANGED,
        OLD_HALF,
        Perturbation(overlap=0.0),
        Perturbation(dropped=0.1),
        Perturbation("train"),
    ]
    assert [condition.name for condition in conditions] == [
        *("usual", "overlap_1.0", "overlap_0.0", "dropped_0.1", "pool_train")
    ]
