"""The M nearest images of an image: by tags (eqs. 5 and 7), or by features if it has none.

The search is exact: it finds what sorting all candidates by (distance, row number)
would. An image is never its own neighbour.

The work is cut into pieces, blocks of queries against parts of the candidates, for which other
processes may search. A piece finds the M nearest within its part, and merged these are the M
nearest of the whole. Until then distances stay in float64, in which what differs stays
different: in float32 two fractions of sets of tags, or two distances of seven decimals, can be
one number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numpy as np

from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search import approximate, sets
from tagnet.search import vectors as vector_search
from tagnet.system.console import progress
from tagnet.system.files import Run, Table

QUERIES = 2**15  # of a piece
SETS = (
    2**18
)  # candidates of a piece by tags: an index of them passes over most, the more the better
VECTORS = 2**15  # candidates of a piece by vectors, and queries where one product serves both
BLOCK = 4096  # images looked at together where there are no pieces: bounds the memory
CANDIDATES = 4  # that an approximate index gives for each neighbour wanted

Piece = tuple[slice, slice]  # of the queries, of the candidates


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
        """The neighbourhoods of the images at `places` among `rows`."""
        return Neighbourhoods(*(getattr(self, field.name)[places] for field in fields(self)))


class Best(NamedTuple):
    """The M nearest of Q images among some candidates, before distances are rounded to float32.

    Attributes:
        neighbours: int32 [Q, M], row numbers, nearest first, equal distances by row.
        distances: float64 [Q, M].
    """

    neighbours: np.ndarray
    distances: np.ndarray


Found = list[tuple[slice, Best]]  # the nearest of some of the queries in a part of the candidates


def nearest(
    pi: TagLists | Table,
    features: Table,
    rows: np.ndarray,
    pool: np.ndarray,
    M: int,
    index: str = "exact",
    run: Run = map,
) -> Neighbourhoods:
    """The M nearest by tags; by Φ for an image without a usable tag.

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
        run: searches the pieces: `map`, or an engine's.

    Raises:
        InputError: the pool is too small for M, tags and features differ in length,
            or a feature is not finite.
    """
    if len(features) != len(pi):
        raise InputError(
            "neighbours: tags and features must have the same number of images; "
            f"received {len(pi)} and {len(features)}"
        )
    rows = np.asarray(rows, np.int32)
    usable = has_known_tags(pi)[rows]
    if isinstance(pi, TagLists):
        by_tags = jaccard(pi, rows[usable], pool, M, run)
    else:
        by_tags = cosine(pi, rows[usable], pool, M, index, run)
    by_features = cosine(features, rows[~usable], pool, M, run=run)
    found = to_neighbourhoods(rows, empty_best(len(rows), M))
    for part, source in [(usable, by_tags), (~usable, by_features)]:
        found.neighbours[part] = source.neighbours
        found.distances[part] = source.distances
    found.by_features[:] = ~usable
    return found


def has_known_tags(pi: TagLists | Table) -> np.ndarray:
    """Whether an image has tags to find neighbours by: bool [N], see `nearest`."""
    if isinstance(pi, TagLists):
        return pi.lengths > 0
    blocks = (np.arange(len(pi))[block] for block in vector_search.blocks(len(pi), BLOCK))
    return np.concatenate([np.zeros(0, bool), *(pi[rows].any(axis=1) for rows in blocks)])


def jaccard(
    tags: TagLists, rows: np.ndarray, pool: np.ndarray, M: int, run: Run = map
) -> Neighbourhoods:
    """The M nearest by Jaccard distance 1 - |t_x ∩ t_z| / |t_x ∪ t_z| (eq. 5).

    A candidate that shares no tag has distance 1, also where both have none. Ties
    are decided on the exact fractions.

    Args:
        tags: the tag ids of N images.
        rows: the Q images whose neighbours are wanted.
        pool: the candidates' row numbers.
        M: how many neighbours.
        run: searches the pieces: `map`, or an engine's.

    Raises:
        InputError: the pool is too small for M.

    >>> tags = TagLists.from_lists([[1, 2], [], [1, 2, 3, 4], [2]])
    >>> found = jaccard(tags, rows=np.array([0]), pool=np.arange(4), M=3)
    >>> found.neighbours.tolist(), found.distances.tolist()
    ([[2, 3, 1]], [[0.5, 0.5, 1.0]])
    """
    rows, pool = validate(rows, pool, M)
    search = partial(_search_piece, sets.search, tags, rows, pool, M)
    pieces = list(product(_parts(len(rows), QUERIES), _parts(len(pool), SETS, M)))
    best = _best_of_pieces(run, search, pieces, empty_best(len(rows), M), "tags")
    return to_neighbourhoods(rows, best)


def cosine(
    vectors: Table,
    rows: np.ndarray,
    pool: np.ndarray,
    M: int,
    index: str = "exact",
    run: Run = map,
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
            are exact all the same, but a nearer image may be missed. This process searches.
        run: searches the pieces of an exact search: `map`, or an engine's.

    Raises:
        InputError: the pool is too small for M, or a vector is not finite.

    >>> vectors = np.array([[1, 0], [0, 1], [2, 0], [-1, 0]], np.float32)
    >>> found = cosine(vectors, rows=np.array([0]), pool=np.arange(4), M=3)
    >>> found.neighbours.tolist(), found.distances.tolist()
    ([[2, 1, 3]], [[0.0, 1.0, 2.0]])
    """
    rows, pool = validate(rows, pool, M)
    if index != "exact":
        return _cosine_by_index(vectors, rows, pool, M, index)
    parts = _parts(len(pool), VECTORS, M)
    if is_self_search(rows, pool):
        search = partial(_search_symmetric_piece, vectors, pool, M)
        pieces = list(combinations_with_replacement(parts, 2))
        best = _best_of_pieces(run, search, pieces, empty_best(len(pool), M), "vectors")
        return to_neighbourhoods(pool, best).select(np.searchsorted(pool, rows))
    search = partial(_search_piece, vector_search.search, vectors, rows, pool, M)
    pieces = list(product(_parts(len(rows), QUERIES), parts))
    best = _best_of_pieces(run, search, pieces, empty_best(len(rows), M), "vectors")
    return to_neighbourhoods(rows, best)


def is_self_search(rows: np.ndarray, pool: np.ndarray) -> bool:
    """Whether searching the pool for all its images costs less than for the queries only.

    Where most of the pool are queries too, x·z serves x and z: half the products are enough.
    """
    return 2 * len(np.unique(rows)) > len(pool) and bool(np.isin(rows, pool).all())


def _cosine_by_index(
    vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int, index: str
) -> Neighbourhoods:
    candidates = vector_search.load(vectors, pool)
    search = approximate.index_of(candidates.units, CANDIDATES * M + 1, index)
    best = empty_best(len(rows), M)
    blocks = list(vector_search.blocks(len(rows), BLOCK))
    for block in progress(blocks, "neighbours by vectors"):
        queries = vector_search.load(vectors, rows[block])
        places = np.sort(search(queries.units), axis=1)
        vector_search.rank(places, queries, candidates, *(values[block] for values in best))
    found = to_neighbourhoods(rows, best)
    short = (found.neighbours < 0).any(axis=1)  # the index found fewer than M
    if short.any():
        searched = cosine(vectors, rows[short], pool, M)
        found.neighbours[short], found.distances[short] = searched.neighbours, searched.distances
    return found


def recall(found: Neighbourhoods, exact: Neighbourhoods) -> float:
    """The share of the true nearest neighbours that were found, for the same images.

    A neighbour that is as near as the farthest of the true ones counts as one of them.
    """
    return float((found.distances <= exact.distances[:, -1:]).mean())


def validate(rows: np.ndarray, pool: np.ndarray, M: int) -> tuple[np.ndarray, np.ndarray]:
    """Checks and converts: the rows, and the pool in ascending order without repeats; both int32.

    Raises:
        InputError: M is below 1, or the pool is too small for it.
    """
    rows, pool = np.asarray(rows, np.int32), np.unique(pool).astype(np.int32)
    if M < 1:
        raise InputError(f"neighbours: M must be at least 1; received {M}")
    others = len(pool) - np.isin(rows, pool)
    if (others < M).any():
        short = np.argmin(others)
        raise InputError(
            f"neighbours: the pool must hold at least M = {M} other images; "
            f"received {others[short]} for image {rows[short]}"
        )
    return rows, pool


def empty_best(queries: int, M: int) -> Best:
    """An empty result for so many images: no neighbours (-1), at infinite distances."""
    return Best(np.full([queries, M], -1, np.int32), np.full([queries, M], np.inf))


def to_neighbourhoods(rows: np.ndarray, best: Best) -> Neighbourhoods:
    """The neighbourhoods of `rows`, none of them by features, with distances in float32."""
    distances = best.distances.astype(np.float32)
    return Neighbourhoods(rows, best.neighbours, distances, np.zeros(len(rows), bool))


# --- Pieces -------------------------------------------------------------------------------
# Arrays that came from another process are read-only, for which numba would compile anew: hence
# the copies.


def _parts(count: int, size: int, M: int = 0) -> list[slice]:
    """Splits so many images into parts of about `size`, each larger than M if possible."""
    number = min(-(-count // size), max(1, count // (M + 1)))
    bounds = np.linspace(0, count, number + 1).astype(int).tolist()
    return list(map(slice, bounds, bounds[1:]))


def _best_of_pieces(
    run: Run, search: Callable[[Piece], Found], pieces: Sequence[Piece], best: Best, what: str
) -> Best:
    """Fills in the nearest; for each query the candidates of a later piece have higher rows."""
    for found in progress(run(search, pieces), f"neighbours by {what}", len(pieces)):
        for part, (neighbours, distances) in found:
            near = neighbours.copy(), distances.copy()
            vector_search.merge(best.neighbours[part], best.distances[part], *near)
    return best


def _search_piece(
    search: Callable[..., None],
    items: TagLists | Table,
    rows: np.ndarray,
    pool: np.ndarray,
    M: int,
    piece: Piece,
) -> Found:
    """The nearest of some of `rows` in a part of `pool`."""
    queries, candidates = piece
    best = empty_best(queries.stop - queries.start, M)
    search(items, rows[queries].copy(), pool[candidates].copy(), *best)
    return [(queries, best)]


def _search_symmetric_piece(vectors: Table, pool: np.ndarray, M: int, piece: Piece) -> Found:
    """The nearest between two parts of `pool`, in both directions; or within one part."""
    parts = piece[:1] if piece[0] == piece[1] else piece
    rows = [pool[part].copy() for part in parts]
    found = [empty_best(len(part), M) for part in rows]
    vector_search.search_symmetric(vectors, rows[0], rows[-1], found[0], found[-1])
    return list(zip(parts, found, strict=True))
