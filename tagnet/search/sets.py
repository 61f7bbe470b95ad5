"""The nearest tag sets: an inverted index of the candidates, and the compiled search in it."""

from typing import NamedTuple

import numba
import numpy as np
from scipy import sparse

from tagnet.data.tags import TagLists
from tagnet.search.compiled import compiled

DENSE = 1 / 32  # a tag carried by more of the candidates than this is also kept as a row of 0 and 1
CHUNK = 256  # candidates passed over at once where none of them shares enough tags


class SetIndex(NamedTuple):
    """An inverted index of P candidates by tag; a candidate's place is its rank by size.

    Attributes:
        pool: int32 [P], their row numbers, ascending.
        by_size: int32 [P], the row number at each place; sets of one size by row.
        size_starts: int64 [S + 2], the first place of each size 0 … S, and P.
        postings: int32 [total], tag by tag, the places of the candidates that carry it.
        starts: int32 [τ + 1], where in them a tag's begin.
        dense_of: int32 [τ], where in `dense` a frequent tag is; -1 for others.
        dense: [frequent tags, P] of 0 and 1, of the type in which shared tags are counted.
    """

    pool: np.ndarray
    by_size: np.ndarray
    size_starts: np.ndarray
    postings: np.ndarray
    starts: np.ndarray
    dense_of: np.ndarray
    dense: np.ndarray


class Queries(NamedTuple):
    """Q images whose neighbours are searched for.

    Attributes:
        rows: int32 [Q], their row numbers.
        ids: int32 [total], their tags, one image's after the other's.
        offsets: int64 [Q + 1]; image q has `ids[offsets[q]:offsets[q + 1]]`.
    """

    rows: np.ndarray
    ids: np.ndarray
    offsets: np.ndarray


def search(
    tags: TagLists,
    rows: np.ndarray,
    pool: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Fills in the M nearest of each query by Jaccard distance, equal distances by row number.

    Args:
        tags: the tag ids of N images.
        rows: int32 [Q], the images whose neighbours are wanted; an image is not its own neighbour.
        pool: int32 [P], the candidates' row numbers, ascending; M of them besides each query.
        neighbours: int32 [Q, M], to be filled in.
        distances: float64 [Q, M], to be filled in.
    """
    asked = tags.select(rows)
    index = _build(tags, pool, longest=int(asked.lengths.max(initial=0)))
    _search(
        index,
        Queries(rows, asked.ids, asked.offsets),
        numba.get_num_threads(),
        neighbours,
        distances,
    )


def _build(tags: TagLists, pool: np.ndarray, longest: int) -> SetIndex:
    """Indexes the images `pool`, in ascending order, for queries of at most `longest` tags."""
    sizes = tags.lengths[pool]
    by_size = pool[np.argsort(sizes, kind="stable")]
    candidates = tags.select(by_size)
    words = int(tags.ids.max(initial=-1)) + 1
    carried = np.ones(len(candidates.ids), bool)
    of_place = (carried, candidates.ids, candidates.offsets)
    of_tag = sparse.csr_array(of_place, shape=(len(pool), words)).tocsc()
    postings, starts = of_tag.indices, of_tag.indptr
    frequent = np.flatnonzero(np.diff(starts) > DENSE * len(pool))
    dense = np.zeros([len(frequent), len(pool)], np.min_scalar_type(longest))
    for row, tag in enumerate(frequent):
        dense[row, postings[starts[tag] : starts[tag + 1]]] = 1
    dense_of = np.full(words, -1, np.int32)
    dense_of[frequent] = np.arange(len(frequent))
    size_starts = np.searchsorted(candidates.lengths, np.arange(sizes.max(initial=0) + 2))
    return SetIndex(pool, by_size, size_starts, postings, starts, dense_of, dense)


@compiled(parallel=True)
def _search(
    index: SetIndex,
    queries: Queries,
    threads: int,  # among which the queries are divided
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    M = neighbours.shape[1]
    for thread in numba.prange(threads):
        counts = np.zeros(len(index.pool), index.dense.dtype)  # how many tags each place shares
        shared = np.zeros(M, np.int64)  # |t_x ∩ t_z| of the best so far
        united = np.ones(M, np.int64)  # |t_x ∪ t_z|
        for q in range(thread, len(queries.rows), threads):
            ids = queries.ids[queries.offsets[q] : queries.offsets[q + 1]]
            row = queries.rows[q]
            _count_shared(index, ids, counts)
            found = _pick_nearest(index, counts, len(ids), row, shared, united, neighbours[q])
            for slot in range(found):
                distances[q, slot] = 1 - shared[slot] / united[slot]
            _fill_up(neighbours[q], distances[q], found, row, index.pool)


@compiled()
def _count_shared(index: SetIndex, ids: np.ndarray, counts: np.ndarray) -> None:
    """Counts for every candidate how many of the tags `ids` it carries."""
    counts[:] = 0
    for tag in ids:
        if index.dense_of[tag] >= 0:
            line = index.dense[index.dense_of[tag]]
            for place in range(len(counts)):  # the compiler adds many of them at once
                counts[place] += line[place]
        else:
            for place in index.postings[index.starts[tag] : index.starts[tag + 1]]:
                counts[place] += 1


@compiled()
def _pick_nearest(
    index: SetIndex,
    counts: np.ndarray,
    size: int,  # of the query
    own_row: int,
    shared: np.ndarray,
    united: np.ndarray,
    neighbours: np.ndarray,
) -> int:
    """Finds the nearest of the candidates that share a tag; returns how many there are.

    Sets of the query's own size come first, since they can be nearest; where not even a
    set that shares all it can would be near enough, those farther in size need no look.
    """
    by_size, size_starts = index.by_size, index.size_starts
    M, largest = len(neighbours), len(size_starts) - 2
    found, smaller, larger = 0, min(size, largest), size + 1
    while size > 0 and (smaller > 0 or larger <= largest):
        if larger > largest or (smaller > 0 and smaller * larger >= size * size):
            other = smaller
            smaller -= 1
        else:
            other = larger
            larger += 1
        if found == M and min(size, other) * united[-1] < shared[-1] * max(size, other):
            break
        last = size_starts[other + 1]
        for first in range(size_starts[other], last, CHUNK):
            least = 1
            if found == M:  # to be as near as the worst: s / (size + other - s) >= shared / united
                limit = shared[-1] * (size + other)
                least = -(-limit // (united[-1] + shared[-1]))
            end = min(first + CHUNK, last)
            most = counts[first]
            for count in counts[first:end]:  # the compiler compares many of them at once
                if count > most:
                    most = count
            if most < least:
                continue
            for place in range(first, end):
                common = np.int64(counts[place])  # int() would leave it unsigned here
                if common >= least and by_size[place] != own_row:
                    union = size + other - common
                    found = _insert(
                        shared, united, neighbours, found, common, union, by_size[place]
                    )
    return found


@compiled()
def _insert(
    shared: np.ndarray,
    united: np.ndarray,
    neighbours: np.ndarray,
    found: int,
    common: int | np.int64,
    union: int | np.int64,
    row: int,
) -> int:
    """Puts a candidate in its place among the `found` best, if it has one; returns how many."""
    slot = found
    while slot > 0:
        left, right = common * united[slot - 1], shared[slot - 1] * union  # exact, unlike a ratio
        if left < right or (left == right and row > neighbours[slot - 1]):
            break
        slot -= 1
        if slot + 1 < len(shared):
            shared[slot + 1], united[slot + 1] = shared[slot], united[slot]
            neighbours[slot + 1] = neighbours[slot]
    if slot < len(shared):
        shared[slot], united[slot], neighbours[slot] = common, union, row
    return min(found + 1, len(shared))


@compiled()
def _fill_up(
    neighbours: np.ndarray, distances: np.ndarray, found: int, own_row: int, pool: np.ndarray
) -> None:
    """Where fewer than M share a tag: the lowest rows besides, at distance 1."""
    sharing = neighbours[:found].copy()
    place = 0
    while found < len(neighbours):
        if pool[place] != own_row and not (sharing == pool[place]).any():
            neighbours[found], distances[found] = pool[place], 1
            found += 1
        place += 1
