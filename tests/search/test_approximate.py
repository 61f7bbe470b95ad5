"""The approximate search: true distances, a recall that is measured, and what it needs."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tables import Table

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search.neighbours import Neighbourhoods, cosine, nearest, recall


def clustered(num_images: int = 3000, n: int = 12) -> np.ndarray:
    """Vectors around forty centres, with copies and zeros."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=[40, n])[rng.integers(40, size=num_images)]
    vectors += 0.3 * rng.normal(size=vectors.shape)
    vectors[::50] = vectors[0]
    vectors[7::500] = 0
    return vectors.astype(np.float32)


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_most_of_the_nearest_are_found_and_distances_are_exact(index: str) -> None:
    vectors = clustered()
    rows, pool = np.arange(0, 3000, 3), np.arange(100, 3000)
    found, exact = cosine(vectors, rows, pool, 10, index), cosine(vectors, rows, pool, 10)
    assert recall(found, exact) > 0.9
    assert (found.neighbours != rows[:, None]).all() and np.isin(found.neighbours, pool).all()
    x = vectors[rows].astype(float)[:, None]
    z = vectors[found.neighbours].astype(float)
    lengths = np.linalg.norm(x, axis=2) * np.linalg.norm(z, axis=2)
    expected = 1 - (x * z).sum(axis=2) / np.where(lengths > 0, lengths, np.inf)
    np.testing.assert_allclose(found.distances, expected, atol=2e-7)
    rising, by_row = np.diff(found.distances, axis=1), np.diff(found.neighbours, axis=1)
    assert ((rising > 0) | ((rising == 0) & (by_row > 0))).all()


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_the_same_again(index: str) -> None:
    vectors, rows = clustered(1500), np.arange(0, 1500, 5)
    one, two = (cosine(vectors, rows, np.arange(1500), 5, index) for _ in range(2))
    assert (one.neighbours == two.neighbours).all()


def test_a_query_for_which_too_few_are_found_is_searched_exactly() -> None:
    # Of 33 cells 3 are searched, in which there are never 200 of 1300 vectors.
    vectors = np.random.default_rng(0).normal(size=[1300, 8]).astype(np.float32)
    rows = np.arange(0, 1300, 13)
    found = cosine(vectors, rows, np.arange(1300), 200, "ivf")
    exact = cosine(vectors, rows, np.arange(1300), 200)
    np.testing.assert_array_equal(found.neighbours, exact.neighbours)
    np.testing.assert_array_equal(found.distances, exact.distances)


def test_recall_counts_neighbours_as_near_as_the_true_ones() -> None:
    def of(distances: list[list[float]]) -> Neighbourhoods:
        numbers = np.array(distances, np.float32)
        return Neighbourhoods(np.arange(2), np.zeros([2, 2], int), numbers, np.zeros(2, bool))

    # The first found one of its two nearest, the second others at the same distances.
    assert recall(of([[0.1, 0.3], [0.5, 0.5]]), of([[0.1, 0.2], [0.5, 0.5]])) == 0.75


def test_jaccard_stays_exact() -> None:
    tags = TagLists.from_lists([[image % 7, image % 5] for image in range(100)])
    rows, features = np.arange(100), np.ones([100, 2], np.float32)
    one = nearest(tags, features, rows, rows, 5)
    two = nearest(tags, features, rows, rows, 5, index="hnsw")
    assert (one.neighbours == two.neighbours).all()


def test_preparing_prints_and_stores_the_recall(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = table.settings(neighbour_index="hnsw", pools=("open", "train"), splits=1)
    summary = prepare(settings, tmp_path / "out")
    stored = summary["neighbours"]
    assert set(stored["id-open"]) == {"M", "by_features"}
    for name in ("w2v-open", "w2v-train"):
        assert stored[name]["index"] == "hnsw"
        # Sixty vectors are linked so well that none is missed.
        assert stored[name]["recall"] == 1
        line = f"{name}: hnsw found 100.00% of the true neighbours of 12 images\n"
        assert line in capsys.readouterr().out or name == "w2v-train"
    prepare(table.settings(pools=("open", "train"), splits=1), tmp_path / "out")
    output = capsys.readouterr().out
    assert "w2v-open: running again, neighbour_index changed from hnsw to exact" in output
    assert "id-open: up to date" in output


def test_faiss_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError) as error:
        cosine(clustered(50), np.arange(5), np.arange(50), 3, "ivf")
    assert str(error.value) == (
        "neighbours: the index ivf needs faiss (pip install 'tagnet[faiss]')"
    )


def test_an_unknown_index_is_refused() -> None:
    with pytest.raises(InputError) as error:
        Settings.of(source="demo", neighbour_index="lsh")
    assert str(error.value) == "--neighbour_index must be one of exact, hnsw, ivf; received 'lsh'"
