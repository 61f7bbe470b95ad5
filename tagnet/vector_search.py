"""The nearest vectors: the compiled part that follows a matrix product of similarities."""

import numba
import numpy as np

ROUNDING = 7  # decimals of a cosine distance; what differs less is a tie
SLACK = 2e-7  # two similarities farther apart than this are no tie
CHUNK = 64  # candidates passed over at once where none of them is near enough


@numba.njit(parallel=True, cache=True)
def norms(vectors: np.ndarray) -> np.ndarray:
    """|x| of every row, summed like the products that it divides: float64 [N]."""
    lengths = np.empty(len(vectors))
    for row in numba.prange(len(vectors)):
        lengths[row] = np.sqrt(_product(vectors[row], vectors[row]))
    return lengths


@numba.njit(parallel=True, cache=True)
def merge_nearest(
    similarity: np.ndarray,  # float32 [B, C], cosine similarities
    error: float,  # by how much they may err
    queries: np.ndarray,  # float32 [B, n]
    query_norms: np.ndarray,  # [B]
    rows: np.ndarray,  # [B], the queries' row numbers
    candidates: np.ndarray,  # float32 [C, n]
    candidate_norms: np.ndarray,  # [C]
    pool: np.ndarray,  # [C], the candidates' row numbers
    neighbours: np.ndarray,  # [B, M], the best so far
    distances: np.ndarray,  # [B, M], theirs; infinite where there is none yet
) -> None:
    """Merges a block of candidates into the M best so far of a block of queries.

    Candidates come in the order of their rows over all calls, so one that is no
    nearer than the M-th best never displaces it.
    """
    for q in numba.prange(len(rows)):
        nearest_here = -np.inf
        if distances[q, -1] == np.inf:
            nearest_here = (
                _lowest_of_nearest(similarity[q], neighbours.shape[1]) - 2 * error - SLACK
            )
        for first in range(0, len(pool), CHUNK):
            last = min(first + CHUNK, len(pool))
            passed = max(nearest_here, 1 - error - distances[q, -1])
            if distances[q, -1] == 0 or _largest(similarity[q, first:last]) <= passed:
                continue
            for c in range(first, last):
                passed = max(nearest_here, 1 - error - distances[q, -1])
                if similarity[q, c] <= passed or pool[c] == rows[q]:
                    continue
                distance = _distance(queries[q], query_norms[q], candidates[c], candidate_norms[c])
                _insert(distance, pool[c], distances[q], neighbours[q])


@numba.njit(parallel=True, cache=True)
def rank(
    places: np.ndarray,  # int64 [B, K], candidates of each query, ascending; -1 is none
    queries: np.ndarray,
    query_norms: np.ndarray,
    rows: np.ndarray,
    candidates: np.ndarray,
    candidate_norms: np.ndarray,
    pool: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Picks the M nearest of each query's own candidates; otherwise as `merge_nearest`."""
    for q in numba.prange(len(rows)):
        for c in places[q]:
            if c >= 0 and pool[c] != rows[q]:
                distance = _distance(queries[q], query_norms[q], candidates[c], candidate_norms[c])
                _insert(distance, pool[c], distances[q], neighbours[q])


@numba.njit(cache=True)
def _distance(query: np.ndarray, norm: float, candidate: np.ndarray, other_norm: float) -> float:
    """1 - x·z / (|x| |z|), rounded; 1 where either is zero."""
    if norm == 0 or other_norm == 0:
        return 1.0
    distance = 1 - _product(query, candidate) / (norm * other_norm)
    return np.round(min(max(distance, 0.0), 2.0), ROUNDING)


@numba.njit(cache=True)
def _lowest_of_nearest(similarity: np.ndarray, M: int) -> float:
    """A similarity that M + 1 candidates reach at least (one of them may be the image itself)."""
    chunks = (len(similarity) + CHUNK - 1) // CHUNK
    if chunks <= M:
        return -np.inf
    largest = np.empty(chunks, similarity.dtype)
    for chunk in range(chunks):
        largest[chunk] = _largest(similarity[chunk * CHUNK : (chunk + 1) * CHUNK])
    return np.sort(largest)[-M - 1]


@numba.njit(cache=True)
def _insert(distance: float, row: int, distances: np.ndarray, neighbours: np.ndarray) -> None:
    """Puts a candidate in its place among the best, behind those that are as near."""
    if not distance < distances[-1]:
        return
    slot = len(distances) - 1
    while slot > 0 and distance < distances[slot - 1]:
        distances[slot], neighbours[slot] = distances[slot - 1], neighbours[slot - 1]
        slot -= 1
    distances[slot], neighbours[slot] = distance, row


@numba.njit(cache=True)
def _product(one: np.ndarray, two: np.ndarray) -> float:
    """x·z in float64, in an order that depends on nothing but n: four sums side by side."""
    a = b = c = d = 0.0
    whole = len(one) // 4 * 4
    for i in range(0, whole, 4):
        a += np.float64(one[i]) * np.float64(two[i])  # float() would leave it float32 here
        b += np.float64(one[i + 1]) * np.float64(two[i + 1])
        c += np.float64(one[i + 2]) * np.float64(two[i + 2])
        d += np.float64(one[i + 3]) * np.float64(two[i + 3])
    for i in range(whole, len(one)):
        a += np.float64(one[i]) * np.float64(two[i])
    return (a + b) + (c + d)


# Without NaN, which no similarity is, the compiler compares many numbers at once.
@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _largest(numbers: np.ndarray) -> float:
    largest = numbers[0]
    for number in numbers:
        largest = max(largest, number)
    return largest
