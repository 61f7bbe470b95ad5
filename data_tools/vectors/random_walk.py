"""Vectors for the nodes of a graph: random walks of unbounded length, PPMI, PCA.

With P the links, each row divided by its sum, G = (I - a P)^-1 = I + a P + a² P² + … says how
often walks from i that go on with probability a come by j. What stands above chance,
PPMI_ij = max(0, log2(V G_ij / Σ_i G_ij)), is kept; rows are divided by their length and
reduced by PCA. G is never held: it is solved for in blocks of rows, of which only the few
positive PPMI are stored.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tagnet.errors import InputError
from tagnet.search.compiled import compiled
from tagnet.system.console import progress

DAMPING = 0.75  # a; Saedi et al. 2018
TOLERANCE = 1e-5  # of the sums of G, relative to the largest
MAX_STEPS = 200
WIDTH = 64  # rows of G, or columns of a product, that a thread computes at a time
GROUP = 64  # blocks of rows whose results are joined at once
SPACE = 2.1  # in how many dimensions a principal component is sought, for each that is wanted

Item = TypeVar("Item")
Result = TypeVar("Result")


def walk_vectors(links: sparse.csr_array, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors of all nodes of a graph.

    Args:
        links: [V, V], weights ≥ 0. A walk ends at a node without links.
        dim: how many principal components; there are V at most.
        seed: of the random start of the search for them.

    Returns:
        float32 [V, min(dim, V)], the component of the largest variance first.

    Raises:
        InputError: the links are too one-sided for `ppmi`.
    """
    # Neighbours get near numbers, so that a walk finds most of what it reads in the cache.
    order = reverse_cuthill_mckee(sparse.csr_matrix(links + links.T), symmetric_mode=True)
    vectors = principal_components(ppmi(sparse.csr_array(links[order][:, order])), dim, seed)
    result = np.empty_like(vectors)
    result[order] = vectors
    return result


def ppmi(links: sparse.csr_array, damping: float = DAMPING) -> sparse.csr_array:
    """PPMI of the unbounded random walk, each row divided by its length.

    Args:
        links: [V, V], weights ≥ 0.
        damping: a, the probability that a walk goes on.

    Returns:
        float32 [V, V].

    Raises:
        InputError: the iteration that solves for G does not converge.
    """
    size = links.shape[0]
    sums = links.sum(axis=1)
    scale = np.divide(damping, sums, out=np.zeros(size), where=sums > 0)
    # A row g of G is e_i + g a P, which is e_i + step g.
    step = sparse.csr_array((sparse.diags_array(scale) @ links).T.tocsr())
    visits, factors = _visits(step, damping)
    matrix = step.indptr, step.indices, step.data.astype(np.float32)
    chance = (size / visits).astype(np.float32)

    def rows(first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        last = min(first + WIDTH, size)
        walks = _walk(*matrix, factors.astype(np.float32), first, last)
        return _positive(walks, chance, last - first)

    counts: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    blocks = _in_threads(rows, range(0, size, WIDTH), "random walks")
    # In groups, since the system takes back large arrays when they are freed, not small ones.
    while group := list(itertools.islice(blocks, GROUP)):
        for parts, part in zip((counts, columns, values), zip(*group, strict=True), strict=True):
            parts.append(np.concatenate(part))
    # Joined one after the other, each freeing its parts: that keeps the peak low.
    joined = []
    for parts in (values, columns):
        joined.append(np.concatenate(parts))
        parts.clear()
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    # With offsets of another type than the columns SciPy would copy these.
    number = np.int32 if offsets[-1] < 2**31 else np.int64
    return sparse.csr_array((*joined, offsets.astype(number)), shape=(size, size))


def _visits(step: sparse.csr_array, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Solves for the column sums of G.

    Where links go both ways, as nearly all of WordNet's do, the eigenvalues of `step` are
    real and between -a and a; there the iteration of Golub and Varga (1961), x ←
    x_before + w (e + step x - x_before), gains in one step what summing the series gains in
    three.

    Returns:
        The sums [V] and the factors w of the steps that they took.
    """
    ones = np.ones(step.shape[0])
    before, now = np.zeros_like(ones), ones
    factors = [1.0]
    while len(factors) < MAX_STEPS:
        factors.append(1 / (1 - damping**2 * factors[-1] / (4 if len(factors) > 1 else 2)))
        after = before + factors[-1] * (ones + step @ now - before)
        before, now = now, after
        if np.abs(ones + step @ now - now).max() <= TOLERANCE * np.abs(now).max():
            return now, np.array(factors)
    raise InputError(f"graph: most links must go both ways; no solution after {MAX_STEPS} steps")


def principal_components(rows: sparse.csr_array, dim: int, seed: int = 0) -> np.ndarray:
    """PCA of sparse rows by the block Lanczos method; the matrix is never centred or copied.

    Golub and Van Loan, Matrix Computations, section 10.3.6, with all blocks kept
    orthogonal to each other, on the covariance.

    Args:
        rows: float32 [V, D].
        dim: how many components.
        seed: of the random start.

    Returns:
        float32 [V, min(dim, V, D)]: the centred rows in the basis of the components, the
        largest variance first; each component's largest number in size is positive.
    """
    size, columns = rows.shape
    dim = min(dim, size, columns)
    block = min(2 * WIDTH, columns)
    width = min(max(round(SPACE * dim), 3 * block), columns)
    mean = rows.sum(axis=0, dtype=np.float64) / size
    basis = np.empty([columns, width], np.float32)
    reduced = np.zeros([width, width])  # the covariance in the basis
    new = np.random.default_rng(seed).standard_normal([columns, block], np.float32)
    for first in range(0, width, block):
        known = basis[:, :first]
        for _ in range(2):  # the second time removes what rounding left
            new = np.linalg.qr(new - known @ (known.T @ new))[0]
        last = min(first + block, width)
        basis[:, first:last] = new[:, : last - first]
        new = _product(_covariance, rows, mean, basis[:, first:last], columns)
        reduced[:last, first:last] = basis[:, :last].T @ new
    vectors = np.linalg.eigh(reduced, UPLO="U")[1][:, ::-1][:, :dim]
    found = _product(_projection, rows, mean, basis @ vectors.astype(np.float32), size)
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    return found * np.where(largest < 0, -1, 1).astype(np.float32)


def _product(
    kernel: Callable, rows: sparse.csr_array, mean: np.ndarray, basis: np.ndarray, height: int
) -> np.ndarray:
    """Runs `kernel` on every `WIDTH` columns of `basis` [D, w]: float32 [height, w]."""
    result = np.empty([height, basis.shape[1]], np.float32)

    def columns(first: int) -> None:
        part = basis[:, first : first + WIDTH]
        padded = np.zeros([len(basis), WIDTH], np.float32)
        padded[:, : part.shape[1]] = part
        shift = (mean @ padded).astype(np.float32)
        computed = np.zeros([height, WIDTH], np.float32)
        kernel(rows.indptr, rows.indices, rows.data, padded, shift, computed)
        result[:, first : first + WIDTH] = computed[:, : part.shape[1]]

    for _ in _in_threads(columns, range(0, basis.shape[1], WIDTH), "principal components"):
        pass
    return result


def _in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Yields `work` of each item in order; it runs in as many threads as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as threads:
        yield from progress(threads.map(work, items), what, len(items))


@compiled(nogil=True, fastmath=True)
def _walk(
    offsets: np.ndarray,  # of the matrix `step` in compressed rows
    indices: np.ndarray,
    data: np.ndarray,
    factors: np.ndarray,  # float32 [steps + 1], of the iteration
    first: int,
    last: int,
) -> np.ndarray:
    """The rows `first` to `last` of G as columns: float32 [V, WIDTH]."""
    size = len(offsets) - 1
    before = np.zeros((size, WIDTH), np.float32)
    now = np.zeros((size, WIDTH), np.float32)
    total = np.empty(WIDTH, np.float32)
    for row in range(first, last):
        now[row, row - first] = 1
    for factor in factors[1:]:
        for node in range(size):
            total[:] = 0
            if first <= node < last:
                total[node - first] = 1
            for at in range(offsets[node], offsets[node + 1]):
                weight, other = data[at], indices[at]
                for k in range(WIDTH):
                    total[k] += weight * now[other, k]
            for k in range(WIDTH):
                before[node, k] += factor * (total[k] - before[node, k])
        before, now = now, before
    return now


@compiled(nogil=True, fastmath=True)
def _positive(
    walks: np.ndarray,  # float32 [V, WIDTH], rows of G as columns; overwritten
    chance: np.ndarray,  # float32 [V], V / Σ_i G_ij
    rows: int,  # how many of the columns are rows of G
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of the PPMI, each of length 1: their counts, column numbers and values."""
    counts = np.zeros(rows, np.int64)
    lengths = np.zeros(rows, np.float32)
    for node in range(len(walks)):
        for row in range(rows):
            walks[node, row] = np.log2(max(walks[node, row] * chance[node], np.float32(1)))
            counts[row] += walks[node, row] > 0
            lengths[row] += walks[node, row] ** 2
    ends = np.cumsum(counts)
    at = ends - counts
    columns = np.empty(ends[-1], np.int32)
    values = np.empty(ends[-1], np.float32)
    for node in range(len(walks)):
        for row in range(rows):
            if walks[node, row] > 0:
                columns[at[row]] = node
                values[at[row]] = walks[node, row] / np.sqrt(lengths[row])
                at[row] += 1
    return counts, columns, values


@compiled(nogil=True, fastmath=True)
def _projection(
    offsets: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    basis: np.ndarray,  # float32 [D, WIDTH]
    shift: np.ndarray,  # float32 [WIDTH], the rows' mean times the basis
    result: np.ndarray,  # float32 [V, WIDTH], written
) -> None:
    """The centred rows times the basis."""
    for row in range(len(offsets) - 1):
        for k in range(WIDTH):
            result[row, k] = -shift[k]
        for at in range(offsets[row], offsets[row + 1]):
            weight, column = data[at], indices[at]
            for k in range(WIDTH):
                result[row, k] += weight * basis[column, k]


@compiled(nogil=True, fastmath=True)
def _covariance(
    offsets: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    basis: np.ndarray,  # float32 [D, WIDTH]
    shift: np.ndarray,  # float32 [WIDTH], the rows' mean times the basis
    result: np.ndarray,  # float32 [D, WIDTH] of zeros, written
) -> None:
    """V times the covariance of the rows' columns, times the basis.

    The rows need not be centred a second time: the projections add up to zero.
    """
    total = np.empty(WIDTH, np.float32)
    for row in range(len(offsets) - 1):
        for k in range(WIDTH):
            total[k] = -shift[k]
        for at in range(offsets[row], offsets[row + 1]):
            weight, column = data[at], indices[at]
            for k in range(WIDTH):
                total[k] += weight * basis[column, k]
        for at in range(offsets[row], offsets[row + 1]):
            weight, column = data[at], indices[at]
            for k in range(WIDTH):
                result[column, k] += weight * total[k]
