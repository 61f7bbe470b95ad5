"""Neighbours: whatever the blocks, ties and duplicates, those that a full sort would give."""

from functools import partial

import numba
import numpy as np
import pytest
from helpers import oracle
from hypothesis import given
from hypothesis import strategies as st

from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search import vectors as vector_search
from tagnet.search.neighbours import cosine, jaccard, nearest

FEATURES = np.array([[1, 0], [2, 1], [0, 1], [0, 3], [0, 0], [1, 1]], np.float16)


def assert_equals_sorting(found, distance, items, rows, pool, M):
    """`found` must be what sorting the pool by (distance, row number) gives for every row."""
    expected = [oracle.nearest(distance, items, int(row), pool.tolist(), M) for row in rows]
    assert found.rows.tolist() == rows.tolist()
    assert found.neighbours.tolist() == [[z for _, z in nearby] for nearby in expected]
    distances = np.array([[d for d, _ in nearby] for nearby in expected], np.float32)
    np.testing.assert_array_max_ulp(found.distances, distances.reshape(found.distances.shape))
    assert (found.neighbours.dtype, found.distances.dtype) == (np.int32, np.float32)
    assert not found.by_features.any()


@st.composite
def searches(draw, item):
    """(items, rows, pool, M): any queries, any pool that is large enough for M."""
    items = draw(st.lists(item, min_size=2, max_size=14))
    places = st.integers(0, len(items) - 1)
    pool = draw(st.lists(places, min_size=2, unique=True))
    rows = draw(st.lists(places, unique=True))
    M = draw(st.integers(1, len(pool) - 1))
    return items, np.array(rows, int), np.array(pool), M


def zipf_tags(num_images: int, seed: int, num_tags: int = 60, mean: float = 4) -> list[list[int]]:
    """Sets of tags of very different frequencies; some sets are empty, many are equal."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_tags + 1)
    sizes = rng.poisson(mean, num_images)
    return [rng.choice(num_tags, size, p=weights / weights.sum()).tolist() for size in sizes]


def crowded_vectors(num_images: int, seed: int, n: int = 40) -> np.ndarray:
    """Vectors with exact, scaled and almost equal copies, and zeros."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=[8, n])[rng.integers(8, size=num_images)]
    noise = rng.choice([0, 1e-6, 1e-4, 1e-2], size=[num_images, 1])
    vectors += noise * rng.normal(size=vectors.shape)
    return (vectors * rng.choice([0, 0.3, 1, 7], size=[num_images, 1])).astype(np.float32)


@given(searches(st.lists(st.integers(0, 5), max_size=5)))
def test_jaccard_equals_sorting(search):
    lists, rows, pool, M = search
    found = jaccard(TagLists.from_lists(lists), rows, pool, M)
    assert_equals_sorting(found, oracle.jaccard_distance, lists, rows, pool, M)


@pytest.mark.parametrize("seed", range(4))
def test_jaccard_equals_sorting_on_frequent_and_rare_tags(seed):
    lists = zipf_tags(400, seed)
    rng = np.random.default_rng(seed)
    rows, pool = rng.permutation(400)[:150], rng.permutation(400)[:300]
    for M in (1, 7, 24):
        found = jaccard(TagLists.from_lists(lists), rows, pool, M)
        assert_equals_sorting(found, oracle.jaccard_distance, lists, rows, pool, M)


@pytest.mark.parametrize("longest", [255, 256, 300])
def test_jaccard_counts_more_shared_tags_than_a_byte_holds(longest):
    lists = [list(range(longest)), list(range(1, longest)), list(range(longest)), [0], []]
    found = jaccard(TagLists.from_lists(lists), np.arange(5), np.arange(5), 4)
    assert_equals_sorting(found, oracle.jaccard_distance, lists, np.arange(5), np.arange(5), 4)


@given(searches(st.lists(st.integers(-2, 2), min_size=3, max_size=3)))
def test_cosine_equals_sorting(search):
    items, rows, pool, M = search
    found = cosine(np.array(items, np.float32), rows, pool, M)
    assert_equals_sorting(found, oracle.cosine_distance, items, rows, pool, M)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cosine_equals_sorting_among_almost_equal_vectors(seed, dtype):
    # The distances of the copies differ by less than a float32 product can tell.
    vectors = crowded_vectors(250, seed).astype(dtype)
    rng = np.random.default_rng(seed)
    rows, pool = rng.permutation(250)[:60], rng.permutation(250)[:200]
    for M in (1, 24):
        found = cosine(vectors, rows, pool, M)
        assert_equals_sorting(found, oracle.cosine_distance, vectors, rows, pool, M)


@pytest.mark.parametrize("scale", [1e-40, 1, 1e37])  # float32 holds 1e-45 to 3e38
def test_cosine_equals_sorting_in_a_large_pool(scale):
    # So large that the first candidates are sifted by what the nearest of them reach.
    vectors = (crowded_vectors(2500, seed=5) * np.float32(scale)).astype(np.float32)
    rows = np.arange(0, 2500, 200)
    for M in (3, 24):
        found = cosine(vectors, rows, np.arange(2500), M)
        assert_equals_sorting(found, oracle.cosine_distance, vectors, rows, np.arange(2500), M)


@pytest.mark.parametrize("block", [3, 7, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cosine_equals_sorting_where_most_of_the_pool_are_queries(monkeypatch, block, dtype):
    # Then a product of two images serves both; the blocks of 3 make strips of columns partial.
    monkeypatch.setattr(vector_search, "BLOCK", block)
    vectors = crowded_vectors(120, seed=3).astype(dtype)
    rng = np.random.default_rng(block)
    pool = rng.permutation(120)[:100]
    rows = np.concatenate([rng.permutation(pool)[:70], pool[:5]])  # in no order, some twice
    for M in (1, 24):
        found = cosine(vectors, rows, pool, M)
        assert_equals_sorting(found, oracle.cosine_distance, vectors, rows, pool, M)


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_the_size_of_the_blocks_changes_nothing(monkeypatch, block):
    tags, vectors = TagLists.from_lists(zipf_tags(150, seed=9)), crowded_vectors(150, seed=9)
    rows, pool = np.arange(0, 150, 2), np.arange(20, 150)
    whole = [jaccard(tags, rows, pool, 24), cosine(vectors, rows, pool, 24)]
    monkeypatch.setattr(vector_search, "BLOCK", block)
    cut = [jaccard(tags, rows, pool, 24), cosine(vectors, rows, pool, 24)]
    for one, other in zip(whole, cut, strict=True):
        assert (one.neighbours == other.neighbours).all()
        assert (one.distances == other.distances).all()


def test_the_number_of_threads_changes_nothing():
    tags, vectors = TagLists.from_lists(zipf_tags(150, seed=8)), crowded_vectors(150, seed=8)
    rows = np.arange(150)
    search = (partial(jaccard, tags, rows, rows, 24), partial(cosine, vectors, rows, rows, 24))
    many = [run() for run in search]
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        single = [run() for run in search]
    finally:
        numba.set_num_threads(threads)
    for one, other in zip(many, single, strict=True):
        assert (one.neighbours == other.neighbours).all()
        assert (one.distances == other.distances).all()


@pytest.mark.parametrize("search", [jaccard, cosine])
def test_a_hundred_duplicates_come_in_the_order_of_their_rows(search):
    items = (
        TagLists.from_lists([[1, 2]] * 100) if search is jaccard else np.full([100, 3], 0.1, "f4")
    )
    found = search(items, np.arange(100), np.arange(100), 5)
    assert found.neighbours[0].tolist() == [1, 2, 3, 4, 5]
    assert found.neighbours[3].tolist() == [0, 1, 2, 4, 5]
    assert found.neighbours[99].tolist() == [0, 1, 2, 3, 4]
    assert not found.distances.any()


def test_rounding_errors_break_no_tie():
    # Every candidate is the same vector at another length, which float32 cannot hold
    # exactly: without rounding the distances differ in the last places.
    base = np.random.default_rng(0).normal(size=50)
    vectors = np.array([np.ones(50), *(base * scale for scale in 0.1 * np.arange(1, 40))], "f4")
    raw = [
        1 - x @ vectors[0].astype(float) / np.sqrt(50 * (x @ x)) for x in vectors[1:].astype(float)
    ]
    assert len(set(raw)) > 1
    found = cosine(vectors, np.array([0]), np.arange(40), 10)
    assert found.neighbours.tolist() == [list(range(1, 11))]
    assert len(set(found.distances[0].tolist())) == 1


def test_an_image_without_tags_by_jaccard_is_at_distance_1_from_all():
    tags = TagLists.from_lists([[], [3], [], [3]])
    found = jaccard(tags, np.arange(4), np.arange(4), 3)
    assert found.neighbours.tolist() == [[1, 2, 3], [3, 0, 2], [0, 1, 3], [1, 0, 2]]
    assert found.distances.tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]]


def test_a_zero_vector_is_at_distance_1_from_all():
    vectors = np.array([[0, 0], [-1, 0], [1, 0], [0, 0]], np.float32)
    found = cosine(vectors, np.array([0, 2]), np.arange(4), 3)
    assert found.neighbours.tolist() == [[1, 2, 3], [0, 3, 1]]
    assert found.distances.tolist() == [[1, 1, 1], [1, 1, 2]]


def test_nearest_by_id_falls_back_on_features_where_there_are_no_tags():
    tags = TagLists.from_lists([[], [1, 2], [2], [], [1], [7]])
    rows = np.array([3, 1, 0, 5])
    found = nearest(tags, FEATURES, rows, np.arange(6), M=2)
    assert found.rows.tolist() == [3, 1, 0, 5]
    assert found.by_features.tolist() == [True, False, True, False]
    # Image 3 points where 2 does, then 5; image 0 is nearest to 1 = (2, 1), then 5 = (1, 1).
    # Image 1 shares one of two tags with 2 and 4. Image 5 has a tag, which nobody shares.
    assert found.neighbours.tolist() == [[2, 5], [2, 4], [1, 5], [0, 1]]
    expected = [[0, 1 - 0.5**0.5], [0.5, 0.5], [1 - 2 / 5**0.5, 1 - 0.5**0.5], [1, 1]]
    np.testing.assert_allclose(found.distances, expected, atol=1e-7)


def test_nearest_by_vectors_falls_back_on_features_where_they_sum_to_zero():
    # Words 1 and 2 cancel, word 3 is unknown: images 0, 3 and 5 say nothing.
    embedding = Embedding(
        np.array([[1, 0], [0, 2], [0, -2], [0, 0]], np.float32), np.array([1, 1, 1, 0], bool)
    )
    tags = TagLists.from_lists([[1, 2], [0], [0, 1], [], [2], [3]])
    found = nearest(rho(tags, embedding), FEATURES, np.arange(6), np.arange(6), M=2)
    assert found.by_features.tolist() == [True, False, False, True, False, True]
    by_tags = cosine(rho(tags, embedding), np.array([1, 2, 4]), np.arange(6), 2)
    by_features = cosine(FEATURES, np.array([0, 3, 5]), np.arange(6), 2)
    assert (found.neighbours[[1, 2, 4]] == by_tags.neighbours).all()
    assert (found.distances[[1, 2, 4]] == by_tags.distances).all()
    assert (found.neighbours[[0, 3, 5]] == by_features.neighbours).all()
    assert (found.distances[[0, 3, 5]] == by_features.distances).all()


def test_without_tags_and_features_the_lowest_rows_are_as_good_as_any():
    tags = TagLists.from_lists([[1], [1], [], []])
    found = nearest(tags, np.zeros([4, 3], np.float16), np.array([3]), np.arange(4), M=3)
    assert (found.neighbours.tolist(), found.distances.tolist()) == ([[0, 1, 2]], [[1, 1, 1]])
    assert found.by_features.tolist() == [True]


def test_no_rows_have_no_neighbours():
    found = nearest(
        TagLists.from_lists([[1], []]), FEATURES[:2], np.array([], int), np.arange(2), M=1
    )
    assert found.neighbours.shape == found.distances.shape == (0, 1)


@pytest.mark.parametrize("search", [jaccard, cosine])
@pytest.mark.parametrize(
    ("rows", "pool", "M", "line"),
    [
        ([0, 1], [0, 1, 2], 0, "M must be at least 1; received 0"),
        (
            [5, 1],
            [0, 1, 2],
            3,
            "the pool must hold at least M = 3 other images; received 2 for image 1",
        ),
        (
            [5],
            [0, 1, 1, 0],
            3,
            "the pool must hold at least M = 3 other images; received 2 for image 5",
        ),
    ],
)
def test_a_pool_too_small_for_M_is_named(search, rows, pool, M, line):
    items = FEATURES if search is cosine else TagLists.from_lists([[1]] * 6)
    with pytest.raises(InputError) as error:
        search(items, np.array(rows), np.array(pool), M)
    assert str(error.value) == f"neighbours: {line}"


def test_a_pool_of_exactly_M_others_is_enough():
    found = jaccard(TagLists.from_lists([[1]] * 4), np.array([3, 0]), np.arange(3), 2)
    assert found.neighbours.tolist() == [[0, 1], [1, 2]]


def test_tags_and_features_of_different_images_are_refused():
    with pytest.raises(InputError) as error:
        nearest(TagLists.from_lists([[1]] * 4), FEATURES, np.arange(4), np.arange(4), M=2)
    assert str(error.value) == (
        "neighbours: tags and features must have the same number of images; received 4 and 6"
    )


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])  # the last is infinite in float32
def test_vectors_that_are_not_finite_are_refused(value):
    vectors = np.ones([5, 3])
    vectors[3, 1] = value
    with pytest.raises(InputError) as error:
        cosine(vectors, np.array([0]), np.arange(5), 2)
    assert str(error.value) == "neighbours: vectors must be finite; row 3 is not"
