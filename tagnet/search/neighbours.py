"""The M nearest images of an image: by tags (eqs. 5 and 7), or by pixels where it has none.

The search is exact: it finds what sorting all candidates by (distance, row number)
would. An image is never its own neighbour.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search import approximate, sets
from tagnet.search import vectors as vector_search
from tagnet.search.vectors import Vectors
from tagnet.system.console import progress
from tagnet.system.files import Table

BLOCK = 4096  # queries, and candidates, compared at a time: bounds the memory, not the result
CANDIDATES = 4  # that an approximate index gives for each neighbour wanted


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """The M nearest images of Q images.

    Attributes:
        rows: int32 [Q], the images.
        neighbours: int32 [Q, M], row numbers, nearest first, equal distances by row.
        distances: float32 [Q, M].
        by_features: bool [Q], whether an image had no usable tags, so that its
            neighbours are the nearest by Φ.
    """

    rows: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    by_features: np.ndarray

    def select(self, places: np.ndarray) -> "Neighbourhoods":
        """Those of the images at `places` among `rows`."""
        return Neighbourhoods(*(getattr(self, field.name)[places] for field in fields(self)))


class Best(NamedTuple):
    """The M nearest of Q images among some candidates, before distances are rounded to float32.

    Attributes:
        neighbours: int32 [Q, M], row numbers, nearest first, equal distances by row.
        distances: float64 [Q, M].
    """

    neighbours: np.ndarray
    distances: np.ndarray


def nearest(
    pi: TagLists | Table,
    features: Table,
    rows: np.ndarray,
    pool: np.ndarray,
    M: int,
    index: str = "exact",
    by_sets: Callable[..., Neighbourhoods] | None = None,
    by_vectors: Callable[..., Neighbourhoods] | None = None,
) -> Neighbourhoods:
    """The M nearest by tags; by Φ for an image whose tags say nothing.

    Tags say nothing where an image has none of the vocabulary or, as vectors, where
    these sum to zero. Such an image gets the nearest by cosine distance on Φ, so
    that it has M true neighbours as any other.

    Args:
        pi: the tags of N images: their ids, for the Jaccard distance on tag sets, or
            ρ(o_x; β) [N, n] with β of `w2v` or `wnet`, for the cosine distance.
        features: Φ [N, D].
        rows: the Q images whose neighbours are wanted.
        pool: the candidates' row numbers; the images themselves may be among them.
        M: how many neighbours.
        index: how the nearest by ρ are searched for, see `cosine`.
        by_sets: searches in place of `jaccard`.
        by_vectors: searches in place of the exact `cosine`.

    Raises:
        InputError: the pool is too small for M, tags and features differ in length,
            or a feature is not finite.
    """
    by_sets, by_vectors = by_sets or jaccard, by_vectors or cosine
    if len(features) != len(pi):
        raise InputError(
            "neighbours: tags and features must be of the same images; "
            f"received {len(pi)} and {len(features)}"
        )
    rows = np.asarray(rows, np.int32)
    usable = says_something(pi)[rows]
    if isinstance(pi, TagLists):
        by_tags = by_sets(pi, rows[usable], pool, M)
    elif index == "exact":
        by_tags = by_vectors(pi, rows[usable], pool, M)
    else:
        by_tags = cosine(pi, rows[usable], pool, M, index)
    by_features = by_vectors(features, rows[~usable], pool, M)
    found = _empty(rows, M)
    for part, source in [(usable, by_tags), (~usable, by_features)]:
        found.neighbours[part] = source.neighbours
        found.distances[part] = source.distances
    found.by_features[:] = ~usable
    return found


def says_something(pi: TagLists | Table) -> np.ndarray:
    """Whether neighbours can be found by an image's encoded tags: bool [N], see `nearest`."""
    if isinstance(pi, TagLists):
        return pi.lengths > 0
    blocks = (np.arange(len(pi))[block] for block in _blocks(len(pi)))
    return np.concatenate([np.zeros(0, bool), *(pi[rows].any(axis=1) for rows in blocks)])


def jaccard(tags: TagLists, rows: np.ndarray, pool: np.ndarray, M: int) -> Neighbourhoods:
    """The M nearest by Jaccard distance 1 - |t_x ∩ t_z| / |t_x ∪ t_z| (eq. 5).

    A candidate that shares no tag has distance 1, also where both have none. Ties
    are decided on the exact fractions.

    Args:
        tags: the tag ids of N images.
        rows: the Q images whose neighbours are wanted.
        pool: the candidates' row numbers.
        M: how many neighbours.

    Raises:
        InputError: the pool is too small for M.

    >>> tags = TagLists.from_lists([[1, 2], [], [1, 2, 3, 4], [2]])
    >>> found = jaccard(tags, rows=np.array([0]), pool=np.arange(4), M=3)
    >>> found.neighbours.tolist(), found.distances.tolist()
    ([[2, 3, 1]], [[0.5, 0.5, 1.0]])
    """
    rows, pool = checked(rows, pool, M)
    return of_best(rows, best_by_sets(tags, rows, pool, M))


def best_by_sets(tags: TagLists, rows: np.ndarray, pool: np.ndarray, M: int) -> Best:
    """What `jaccard` finds, of rows and an ascending pool that are checked."""
    index = sets.build(tags, pool, longest=int(tags.lengths[rows].max(initial=0)))
    best = no_best(len(rows), M)
    for block in _blocks(len(rows), "neighbours by tags"):
        sets.search(
            index,
            tags.select(rows[block]),
            rows[block],
            pool,
            best.neighbours[block],
            best.distances[block],
        )
    return best


def cosine(
    vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int, index: str = "exact"
) -> Neighbourhoods:
    """The M nearest by cosine distance 1 - x·z / (|x| |z|) (eq. 7).

    Distances are summed in float64 in a fixed order, clipped to [0, 2] and rounded
    to 7 decimals before ties are decided, so that rounding errors break none. A
    zero vector has distance 1 from everything. A matrix product in float32 serves
    only to pass over candidates that are too far whatever its rounding errors.

    Args:
        vectors: floating [N, n].
        rows: the Q images whose neighbours are wanted.
        pool: the candidates' row numbers.
        M: how many neighbours.
        index: `exact`, or how candidates are found (`settings.INDEXES`). The distances
            are exact all the same, but a nearer image may be missed.

    Raises:
        InputError: the pool is too small for M, or a vector is not finite.

    >>> vectors = np.array([[1, 0], [0, 1], [2, 0], [-1, 0]], np.float32)
    >>> found = cosine(vectors, rows=np.array([0]), pool=np.arange(4), M=3)
    >>> found.neighbours.tolist(), found.distances.tolist()
    ([[2, 1, 3]], [[0.0, 1.0, 2.0]])
    """
    rows, pool = checked(rows, pool, M)
    if index != "exact":
        return _cosine_by_index(vectors, rows, pool, M, index)
    if not is_mutual(rows, pool):
        return of_best(rows, best_by_vectors(vectors, rows, pool, M))
    best, _ = best_of_both(vectors, pool, pool, M)
    return of_best(pool, best).select(np.searchsorted(pool, rows))


def is_mutual(rows: np.ndarray, pool: np.ndarray) -> bool:
    """Whether it takes less to find the nearest of the whole pool than of the queries alone.

    Where most of the pool are queries too, x·z serves x and z: half the products are enough.
    """
    return 2 * len(np.unique(rows)) > len(pool) and bool(np.isin(rows, pool).all())


def best_by_vectors(vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int) -> Best:
    """What `cosine` finds, of rows and an ascending pool that are checked."""
    best = no_best(len(rows), M)
    for block, _, queries, candidates, similarity, error in _products(vectors, rows, pool):
        vector_search.merge_rows(
            similarity, error, queries, candidates, *(values[block] for values in best)
        )
    return best


def best_of_both(vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int) -> tuple[Best, Best]:
    """The nearest of `rows` in `pool` and of `pool` in `rows`, by the same products.

    Both are ascending. Either they are the same, or every row of `pool` is above all of `rows`.
    """
    same = rows is pool
    best = no_best(len(rows), M)
    others = best if same else no_best(len(pool), M)
    for block, part, queries, candidates, similarity, error in _products(vectors, rows, pool, same):
        vector_search.merge_rows(
            similarity, error, queries, candidates, *(values[block] for values in best)
        )
        if not same or part.start >= block.stop:
            vector_search.merge_columns(
                similarity, error, candidates, queries, *(values[part] for values in others)
            )
    return best, others


def _products(
    vectors: Table, rows: np.ndarray, pool: np.ndarray, same: bool = False
) -> Iterator[tuple[slice, slice, Vectors, Vectors, np.ndarray, float]]:
    """Yields blocks of queries and of candidates with their similarities, and how these may err.

    Where both are the `same`, without those of which the mirror image has come.
    """
    # A float32 sum of n products, in any order, errs by at most n·u / (1 - n·u) of |x| |z|,
    # u = 2^-24 (Higham 2002, section 3.1); 8 more units cover the rounding to unit length.
    n = vectors.shape[1] + 8
    error = n * 2.0**-24 / (1 - n * 2.0**-24)
    # One piece of memory for all products: asking for it anew takes longer than merging.
    memory = np.empty(min(4 * BLOCK, len(rows)) * min(BLOCK, len(pool)), np.float32)
    for block in _blocks(len(rows), "neighbours by vectors", 4 * BLOCK):
        queries = _load(vectors, rows[block])
        for part in _blocks(len(pool), first=block.start if same else 0):
            candidates = _load(vectors, pool[part])
            shape = len(queries.rows), len(candidates.rows)
            similarity = memory[: shape[0] * shape[1]].reshape(shape)
            np.matmul(queries.units, candidates.units.T, out=similarity)
            yield block, part, queries, candidates, similarity, error


def _cosine_by_index(
    vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int, index: str
) -> Neighbourhoods:
    candidates = _load(vectors, pool)
    search = approximate.index_of(candidates.units, CANDIDATES * M + 1, index)
    found = _empty(rows, M)
    for block in _blocks(len(rows), "neighbours by vectors"):
        queries = _load(vectors, rows[block])
        places = np.sort(search(queries.units), axis=1)
        best = np.full([len(queries.rows), M], np.inf)
        vector_search.rank(places, queries, candidates, found.neighbours[block], best)
        found.distances[block] = best
    short = (found.neighbours < 0).any(axis=1)  # the index found fewer than M
    if short.any():
        searched = cosine(vectors, rows[short], pool, M)
        found.neighbours[short], found.distances[short] = searched.neighbours, searched.distances
    return found


def recall(found: Neighbourhoods, exact: Neighbourhoods) -> float:
    """The share of the true nearest that were found, for the same images.

    A neighbour that is as near as the farthest of the true ones counts as one of them.
    """
    return float((found.distances <= exact.distances[:, -1:]).mean())


def checked(rows: np.ndarray, pool: np.ndarray, M: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and the pool in ascending order without repeats: both int32."""
    rows, pool = np.asarray(rows, np.int32), np.unique(pool).astype(np.int32)
    if M < 1:
        raise InputError(f"neighbours: M must be at least 1; received {M}")
    others = len(pool) - np.isin(rows, pool)
    if (others < M).any():
        short = np.argmin(others)
        raise InputError(
            f"neighbours: the pool must hold at least M = {M} images besides the image itself; "
            f"received {others[short]} for image {rows[short]}"
        )
    return rows, pool


def _empty(rows: np.ndarray, M: int) -> Neighbourhoods:
    return Neighbourhoods(
        rows=rows,
        neighbours=np.full([len(rows), M], -1, np.int32),
        distances=np.ones([len(rows), M], np.float32),
        by_features=np.zeros(len(rows), bool),
    )


def _blocks(
    count: int, what: str | None = None, size: int | None = None, first: int = 0
) -> Iterator[slice]:
    """Cuts `count` rows into slices of `BLOCK`, under a progress bar where it has a name."""
    size = size or BLOCK
    starts = range(first, count, size)
    for start in progress(starts, what) if what else starts:
        yield slice(start, min(start + size, count))


def no_best(queries: int, M: int) -> Best:
    """Of nobody yet."""
    return Best(np.full([queries, M], -1, np.int32), np.full([queries, M], np.inf))


def of_best(rows: np.ndarray, best: Best) -> Neighbourhoods:
    """As neighbourhoods, none of them by features."""
    distances = best.distances.astype(np.float32)
    return Neighbourhoods(rows, best.neighbours, distances, np.zeros(len(rows), bool))


def _load(vectors: Table, rows: np.ndarray) -> Vectors:
    """Some of the vectors as float32, with their norms and at unit length."""
    with np.errstate(over="ignore"):  # an overflow becomes an infinite norm
        raw = np.ascontiguousarray(vectors[rows], np.float32)
    norms = vector_search.norms(raw)
    if not np.isfinite(norms).all():
        row = rows[np.argmin(np.isfinite(norms))]
        raise InputError(f"neighbours: vectors must be finite; received others in row {row}")
    units = (raw / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    return Vectors(rows, raw, norms, units)
