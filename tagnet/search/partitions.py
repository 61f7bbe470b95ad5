"""The exact search for neighbours in pieces: blocks of queries against parts of the candidates.

A piece finds the M nearest within its part; merged, in order of distance and row, they are those
of the whole. Distances stay in float64 until then, in which what differs stays different: two
fractions of sets of tags, or two distances of seven decimals, can be one number in float32.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tagnet.data.records import Run
from tagnet.data.tags import TagLists
from tagnet.search.neighbours import (
    Best,
    Neighbourhoods,
    best_by_sets,
    best_by_vectors,
    best_of_both,
    checked,
    is_mutual,
    no_best,
    of_best,
)
from tagnet.system.files import Table

QUERIES = 2**15  # of a piece
SETS = 2**17  # candidates of a piece by tags; to index them takes little beside the search
VECTORS = 2**15  # candidates of a piece by vectors, and queries where one product serves both

Piece = tuple[slice, slice]  # of the queries, of the candidates


def jaccard(run: Run, tags: TagLists, rows: np.ndarray, pool: np.ndarray, M: int) -> Neighbourhoods:
    """`neighbours.jaccard`, whose pieces `run` searches."""
    rows, pool = checked(rows, pool, M)
    return _best_of_pieces(run, functools.partial(_by_sets, tags), rows, pool, M, SETS)


def cosine(run: Run, vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int) -> Neighbourhoods:
    """`neighbours.cosine`, the exact one, whose pieces `run` searches."""
    rows, pool = checked(rows, pool, M)
    if not is_mutual(rows, pool):
        search = functools.partial(_by_vectors, vectors)
        return _best_of_pieces(run, search, rows, pool, M, VECTORS)
    parts = list(_parts(len(pool), VECTORS, M))
    pieces = [(one, two) for number, one in enumerate(parts) for two in parts[number:]]
    best = no_best(len(pool), M)
    for (one, two), (found, others) in zip(
        pieces, run(functools.partial(_of_both, vectors, pool, M), pieces), strict=True
    ):
        _merge(best, one, found)
        if others is not None:
            _merge(best, two, others)
    return of_best(pool, best).select(np.searchsorted(pool, rows))


def _best_of_pieces(
    run: Run,
    search: Callable[[np.ndarray, np.ndarray, int, Piece], Best],
    rows: np.ndarray,
    pool: np.ndarray,
    M: int,
    size: int,
) -> Neighbourhoods:
    """The nearest of `rows` in `pool`, `size` candidates a piece."""
    pieces = [(q, c) for q in _parts(len(rows), QUERIES) for c in _parts(len(pool), size, M)]
    best = no_best(len(rows), M)
    for (queries, _), found in zip(
        pieces, run(functools.partial(search, rows, pool, M), pieces), strict=True
    ):
        _merge(best, queries, found)
    return of_best(rows, best)


def _parts(count: int, size: int, M: int = 0) -> Iterator[slice]:
    """Cuts so many images into parts of about `size`, each of more than M."""
    number = max(1, min(-(-count // size), count // (M + 1)))
    bounds = np.linspace(0, count, number + 1).astype(int).tolist()
    return map(slice, bounds, bounds[1:])


# Arrays that another process was given cannot be written to, for which the compiled search would
# be compiled anew: hence the copies.


def _by_sets(tags: TagLists, rows: np.ndarray, pool: np.ndarray, M: int, piece: Piece) -> Best:
    queries, candidates = piece
    return best_by_sets(tags, rows[queries].copy(), pool[candidates].copy(), M)


def _by_vectors(vectors: Table, rows: np.ndarray, pool: np.ndarray, M: int, piece: Piece) -> Best:
    queries, candidates = piece
    return best_by_vectors(vectors, rows[queries].copy(), pool[candidates].copy(), M)


def _of_both(vectors: Table, pool: np.ndarray, M: int, piece: Piece) -> tuple[Best, Best | None]:
    one, two = (pool[part].copy() for part in piece)
    if piece[0] == piece[1]:
        return best_of_both(vectors, one, one, M)[0], None
    return best_of_both(vectors, one, two, M)


def _merge(best: Best, queries: slice, found: Best) -> None:
    """Puts what was found for some queries, in candidates not seen before, into the best."""
    neighbours = np.concatenate([best.neighbours[queries], found.neighbours], axis=1)
    distances = np.concatenate([best.distances[queries], found.distances], axis=1)
    nearest = np.lexsort([neighbours, distances], axis=1)[:, : best.neighbours.shape[1]]
    best.neighbours[queries] = np.take_along_axis(neighbours, nearest, axis=1)
    best.distances[queries] = np.take_along_axis(distances, nearest, axis=1)
