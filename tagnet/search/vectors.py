"""The nearest vectors: products of blocks of them, and the compiled part that follows each."""

from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np

from tagnet.errors import InputError
from tagnet.search.compiled import compiled
from tagnet.search.rounding import ROUNDING, SLACK
from tagnet.system.files import Table

BLOCK = 4096  # candidates, and a fourth of the queries, compared at a time: bounds the memory
CHUNK = 64  # candidates passed over at once where none of them is near enough
SIFTED = 64 * CHUNK  # candidates that say how near the first nearest of a column must be


class Vectors(NamedTuple):
    """Some images' vectors.

    Attributes:
        rows: int32 [B], the images' row numbers.
        raw: float32 [B, n].
        norms: float64 [B].
        units: float32 [B, n], of length 1, or zero.
    """

    rows: np.ndarray
    raw: np.ndarray
    norms: np.ndarray
    units: np.ndarray


def search(
    vectors: Table,
    rows: np.ndarray,
    pool: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Fills in the M nearest of each query by cosine distance, equal distances by row number.

    Args:
        vectors: floating [N, n].
        rows: int32 [Q], the images whose neighbours are wanted; an image is not its own neighbour.
        pool: int32 [P], the candidates' row numbers, ascending; M of them besides each query.
        neighbours: int32 [Q, M], to be filled in.
        distances: float64 [Q, M], infinite, to be filled in.

    Raises:
        InputError: a vector is not finite.
    """
    for block, _, queries, candidates, similarity, error in _products(vectors, rows, pool):
        merge_rows(similarity, error, queries, candidates, neighbours[block], distances[block])


def search_symmetric(
    vectors: Table,
    one: np.ndarray,
    two: np.ndarray,
    best_of_one: tuple[np.ndarray, np.ndarray],
    best_of_two: tuple[np.ndarray, np.ndarray],
) -> None:
    """Fills in the nearest of `one` in `two` and of `two` in `one`, from the same products.

    Args:
        vectors: floating [N, n].
        one: int32 [Q], ascending row numbers.
        two: int32 [P], the same array, or rows that all are above those of `one`.
        best_of_one: neighbours and distances, as in `search`.
        best_of_two: the same arrays where `two` is `one`.

    Raises:
        InputError: a vector is not finite.
    """
    same = two is one
    products = _products(vectors, one, two, same)
    for block, part, queries, candidates, similarity, error in products:
        neighbours, distances = best_of_one
        merge_rows(similarity, error, queries, candidates, neighbours[block], distances[block])
        if not same or part.start >= block.stop:
            neighbours, distances = best_of_two
            merge_columns(similarity, error, candidates, queries, neighbours[part], distances[part])


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
    for block in blocks(len(rows), 4 * BLOCK):
        queries = load(vectors, rows[block])
        for part in blocks(len(pool), BLOCK, first=block.start if same else 0):
            candidates = load(vectors, pool[part])
            shape = len(queries.rows), len(candidates.rows)
            similarity = memory[: shape[0] * shape[1]].reshape(shape)
            np.matmul(queries.units, candidates.units.T, out=similarity)
            yield block, part, queries, candidates, similarity, error


def blocks(count: int, size: int, first: int = 0) -> Iterator[slice]:
    """Cuts the rows from `first` to `count` into slices of `size`."""
    for start in range(first, count, size):
        yield slice(start, min(start + size, count))


def load(vectors: Table, rows: np.ndarray) -> Vectors:
    """Reads some of the vectors as float32, with their norms and at unit length.

    Raises:
        InputError: a vector is not finite.
    """
    with np.errstate(over="ignore"):  # an overflow becomes an infinite norm
        raw = np.ascontiguousarray(vectors[rows], np.float32)
    lengths = norms(raw)
    if not np.isfinite(lengths).all():
        row = rows[np.argmin(np.isfinite(lengths))]
        raise InputError(f"neighbours: vectors must be finite; row {row} is not")
    units = (raw / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return Vectors(rows, raw, lengths, units)


@compiled(parallel=True)
def norms(vectors: np.ndarray) -> np.ndarray:
    """|x| of every row, summed like the products that it divides: float64 [N]."""
    lengths = np.empty(len(vectors))
    for row in numba.prange(len(vectors)):
        lengths[row] = np.sqrt(_product(vectors[row], vectors[row]))
    return lengths


@compiled(parallel=True)
def merge_rows(
    similarity: np.ndarray,  # float32 [B, C], cosine similarities
    error: float,  # by how much they may err
    queries: Vectors,  # B
    candidates: Vectors,  # C
    neighbours: np.ndarray,  # [B, M], the best so far
    distances: np.ndarray,  # [B, M], theirs; infinite where there is none yet
) -> None:
    """Merges a block of candidates into the M best so far of a block of queries.

    Candidates come in the order of their rows over all calls, so one that is no
    nearer than the M-th best never displaces it.
    """
    for q in numba.prange(len(queries.rows)):
        _merge(similarity[q], error, q, queries, candidates, neighbours[q], distances[q])


@compiled(parallel=True)
def merge_columns(
    similarity: np.ndarray,  # float32 [C, B]
    error: float,
    queries: Vectors,
    candidates: Vectors,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    """As `merge_rows`, where the queries are the columns of `similarity`."""
    count = len(queries.rows)
    for strip in numba.prange((count + CHUNK - 1) // CHUNK):
        first, last = strip * CHUNK, min((strip + 1) * CHUNK, count)
        limits = np.empty(last - first, np.float32)
        for q in range(first, last):
            limits[q - first] = _limit(error, queries.norms[q], distances[q])
        if distances[first, -1] == np.inf:  # then so is that of all
            part = similarity[:SIFTED, first:last]
            limits[:] = _lowest_of_nearest_columns(part, len(neighbours[0]))
            limits -= np.float32(2 * error + SLACK)
        for c in range(len(similarity)):
            if not _any_above(similarity[c, first:last], limits):
                continue
            for q in range(first, last):
                if similarity[c, q] > limits[q - first] and candidates.rows[c] != queries.rows[q]:
                    distance = _distance(queries, q, candidates, c)
                    _insert(distance, candidates.rows[c], distances[q], neighbours[q])
                    limit = _limit(error, queries.norms[q], distances[q])
                    limits[q - first] = max(limits[q - first], limit)


@compiled()
def _limit(error: float, query_norm: float, distances: np.ndarray) -> float:
    """What a similarity must exceed for its candidate to be among the nearest."""
    least = 0.0 if query_norm > 0 else 1.0  # no distance is below it
    return np.inf if distances[-1] <= least else 1 - error - distances[-1] - SLACK


@compiled()
def _merge(
    similarity: np.ndarray,  # [C]
    error: float,
    q: int,
    queries: Vectors,
    candidates: Vectors,
    neighbours: np.ndarray,  # [M]
    distances: np.ndarray,  # [M]
) -> None:
    limit = _limit(error, queries.norms[q], distances)
    if distances[-1] == np.inf:
        limit = _lowest_of_nearest(similarity, len(neighbours)) - 2 * error - SLACK
    for first in range(0, len(similarity), CHUNK):
        last = min(first + CHUNK, len(similarity))
        if _largest(similarity[first:last]) <= limit:
            continue
        for c in range(first, last):
            if similarity[c] > limit and candidates.rows[c] != queries.rows[q]:
                distance = _distance(queries, q, candidates, c)
                _insert(distance, candidates.rows[c], distances, neighbours)
                limit = max(limit, _limit(error, queries.norms[q], distances))


@compiled(parallel=True)
def merge(
    neighbours: np.ndarray,  # [Q, M], the best so far
    distances: np.ndarray,
    found: np.ndarray,  # int32 [Q, M], the best of other candidates, all of them of higher rows
    their_distances: np.ndarray,
) -> None:
    """Merges the results among other candidates into the M best so far of each query."""
    for q in numba.prange(len(neighbours)):
        for slot in range(neighbours.shape[1]):
            _insert(their_distances[q, slot], found[q, slot], distances[q], neighbours[q])


@compiled(parallel=True)
def rank(
    places: np.ndarray,  # int64 [B, K], candidates of each query, ascending; -1 is none
    queries: Vectors,
    candidates: Vectors,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Picks the M nearest of each query's own candidates; otherwise as `merge_rows`."""
    for q in numba.prange(len(queries.rows)):
        for c in places[q]:
            if c >= 0 and candidates.rows[c] != queries.rows[q]:
                distance = _distance(queries, q, candidates, c)
                _insert(distance, candidates.rows[c], distances[q], neighbours[q])


@compiled()
def _distance(queries: Vectors, q: int, candidates: Vectors, c: int) -> float:
    """1 - x·z / (|x| |z|), rounded; 1 where either is zero."""
    if queries.norms[q] == 0 or candidates.norms[c] == 0:
        return 1.0
    lengths = queries.norms[q] * candidates.norms[c]
    distance = 1 - _product(queries.raw[q], candidates.raw[c]) / lengths
    return np.round(min(max(distance, 0.0), 2.0), ROUNDING)


@compiled()
def _lowest_of_nearest(similarity: np.ndarray, M: int) -> float:
    """A similarity that M + 1 candidates reach at least (one of them may be the image itself)."""
    chunks = (len(similarity) + CHUNK - 1) // CHUNK
    if chunks <= M:
        return -np.inf
    largest = np.empty(chunks, similarity.dtype)
    for chunk in range(chunks):
        largest[chunk] = _largest(similarity[chunk * CHUNK : (chunk + 1) * CHUNK])
    return np.sort(largest)[-M - 1]


@compiled()
def _lowest_of_nearest_columns(similarity: np.ndarray, M: int) -> np.ndarray:
    """As `_lowest_of_nearest`, for each column."""
    chunks = (len(similarity) + CHUNK - 1) // CHUNK
    lowest = np.full(similarity.shape[1], -np.inf, np.float32)
    if chunks > M:
        largest = np.full((chunks, similarity.shape[1]), -np.inf, np.float32)
        for c in range(len(similarity)):
            _raise_to(largest[c // CHUNK], similarity[c])
        for q in range(similarity.shape[1]):
            lowest[q] = np.sort(largest[:, q])[-M - 1]
    return lowest


@compiled()
def _insert(distance: float, row: int, distances: np.ndarray, neighbours: np.ndarray) -> None:
    """Puts a candidate in its place among the best, behind those that are as near."""
    if not distance < distances[-1]:
        return
    slot = len(distances) - 1
    while slot > 0 and distance < distances[slot - 1]:
        distances[slot], neighbours[slot] = distances[slot - 1], neighbours[slot - 1]
        slot -= 1
    distances[slot], neighbours[slot] = distance, row


# The compiler may sum in another order than written, several terms at once, but in one order
# for one n, so that equal vectors are at equal distances.
@compiled(fastmath={"reassoc", "contract", "nsz"})
def _product(one: np.ndarray, two: np.ndarray) -> float:
    """x·z in float64."""
    total = 0.0
    for i in range(len(one)):
        total += np.float64(one[i]) * np.float64(two[i])  # float() would leave it float32 here
    return total


# Without NaN, which no similarity is, the compiler compares many numbers at once.
@compiled(fastmath={"nnan", "nsz"})
def _largest(numbers: np.ndarray) -> float:
    largest = numbers[0]
    for number in numbers:
        largest = max(largest, number)
    return largest


@compiled(fastmath={"nnan", "nsz"})
def _any_above(numbers: np.ndarray, limits: np.ndarray) -> bool:
    above = False
    for i in range(len(numbers)):
        above |= numbers[i] > limits[i]
    return above


@compiled(fastmath={"nnan", "nsz"})
def _raise_to(largest: np.ndarray, numbers: np.ndarray) -> None:
    for i in range(len(numbers)):
        largest[i] = max(largest[i], numbers[i])
