"""The search in pieces: whatever they are, what the search in one piece finds."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from tagnet.data.embeddings import Embedding, Sums, rho
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search import neighbours
from tagnet.search.neighbours import Neighbourhoods, cosine, jaccard, nearest

SIZES = ("QUERIES", "SETS", "VECTORS")  # of the pieces
Piecewise = Callable[..., list[Neighbourhoods]]


def elsewhere(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """As `map`, by way of what another process would be given, and would answer."""
    given = pickle.dumps(work)
    for item in items:
        yield pickle.loads(pickle.dumps(pickle.loads(given)(pickle.loads(pickle.dumps(item)))))


@pytest.fixture(params=[5, 16])
def piecewise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Piecewise:
    """Runs a search in one piece, then elsewhere in pieces of so many images: what both find."""

    def found(search: Callable[..., Neighbourhoods], *given: Any) -> list[Neighbourhoods]:
        whole = search(*given)
        for name in SIZES:
            monkeypatch.setattr(neighbours, name, request.param)
        return [search(*given, run=elsewhere), whole]

    return found


def assert_same(found: Neighbourhoods, expected: Neighbourhoods) -> None:
    for name in ("rows", "neighbours", "distances", "by_features"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=name)


def draw_tags(num_images: int) -> TagLists:
    """Few tags, so that most distances are ties."""
    rng = np.random.default_rng(0)
    return TagLists.from_lists([rng.integers(6, size=rng.integers(4)) for _ in range(num_images)])


@pytest.mark.parametrize("queries", ["all", "some", "others", "none"])
def test_by_sets(piecewise: Piecewise, queries: str) -> None:
    tags, pool = draw_tags(70), np.arange(0, 60)
    rows = {"all": pool, "some": pool[3:50:7], "others": np.arange(60, 70), "none": pool[:0]}
    assert_same(*piecewise(jaccard, tags, rows[queries], pool, 4))


@pytest.mark.parametrize("queries", ["all", "most", "some", "others", "none"])
def test_by_vectors(piecewise: Piecewise, queries: str) -> None:
    """Of few different vectors, some of them zero: equal ones are as near, by row."""
    rng = np.random.default_rng(1)
    vectors = rng.integers(-1, 2, size=[70, 3]).astype(np.float32)
    vectors[::9] += 1e-4 * rng.normal(size=[8, 3])
    pool = np.arange(0, 60)
    rows = {
        "all": pool,
        "most": pool[5:45],
        "some": pool[3:50:7],
        "others": np.arange(60, 70),
        "none": pool[:0],
    }[queries]
    assert_same(*piecewise(cosine, vectors, rows, pool, 4, "exact"))


def test_distances_that_are_one_number_in_float32_are_no_ties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "SETS", 2)
    size = 9000  # 1 - 8999 / 9000 and 1 - 8998 / 8999 differ by 1.2e-8
    tags = TagLists.from_lists([range(size), range(size - 2), range(size - 1), range(size - 3), []])
    assert jaccard(tags, np.array([0]), np.arange(5), 1).neighbours.tolist() == [[2]]


def test_images_without_tags_and_vectors_summed_where_they_are_needed(piecewise: Piecewise) -> None:
    tags, rng = draw_tags(60), np.random.default_rng(2)
    embedding = Embedding(rng.integers(-1, 2, [6, 3]).astype(np.float32), np.ones(6, bool))
    features, rows = rng.random([60, 5], np.float32), np.arange(50)
    summed = nearest(rho(tags, embedding), features, rows, np.arange(60), 4)
    for pi in (tags, Sums(tags, embedding)):
        found, whole = piecewise(nearest, pi, features, rows, np.arange(60), 4)
        assert_same(found, whole if pi is tags else summed)
        assert found.by_features.any()


def test_what_is_refused_in_one_piece_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "VECTORS", 16)
    vectors = np.ones([60, 2], np.float32)
    vectors[40] = np.inf
    with pytest.raises(InputError, match="vectors must be finite; row 40 is not"):
        cosine(vectors, np.arange(60), np.arange(60), 3, run=elsewhere)
