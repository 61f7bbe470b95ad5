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
from tagnet.system.console import progress

DAMPING = 0.75  # a; Saedi et al. 2018
TOLERANCE = 1e-5  # of the sums of G, relative to the largest
MAX_STEPS = 200
WIDTH = 32  # rows of G, or columns of a product, that a thread computes at a time
GROUP = 256  # blocks of rows that are joined at once
DIRECTIONS = 128  # by which the space grows at a time in which components are sought
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
    """PPMI of the random walk, each row divided by its length.

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
    visits, steps = _visits(step, damping)
    step, chance = step.astype(np.float32), (size / visits).astype(np.float32)

    def block(first: int) -> sparse.csr_array:
        start = np.eye(size, min(WIDTH, size - first), -first, np.float32)
        walks = next(itertools.islice(_solutions(step, start, damping), steps - 1, None))
        above_chance = walks.T * chance
        # SciPy keeps the index type; NumPy's int64 would take half as much memory again.
        nodes, others = (found.astype(np.int32) for found in np.nonzero(above_chance > 1))
        values = np.log2(above_chance[nodes, others])
        values /= np.sqrt(np.bincount(nodes, values**2))[nodes]
        return sparse.csr_array((values, (nodes, others)), shape=above_chance.shape)

    blocks = _in_threads(block, range(0, size, WIDTH), "random walks")
    groups = []
    # In groups, since the system takes back large arrays when they are freed, not small ones.
    while group := list(itertools.islice(blocks, GROUP)):
        groups.append(sparse.vstack(group, format="csr"))
    return sparse.csr_array(sparse.vstack(groups, format="csr"))


def _visits(step: sparse.csr_array, damping: float) -> tuple[np.ndarray, int]:
    """Solves for the column sums of G: they [V], and how many steps they took."""
    ones = np.ones(step.shape[0])
    found = itertools.islice(_solutions(step, ones, damping), MAX_STEPS)
    for count, sums in enumerate(found, 1):
        if np.abs(ones + step @ sums - sums).max() <= TOLERANCE * np.abs(sums).max():
            return sums, count
    raise InputError(f"graph: most links must go both ways; {MAX_STEPS} steps did not solve it")


def _solutions(step: sparse.csr_array, start: np.ndarray, damping: float) -> Iterator[np.ndarray]:
    """Yields ever better x of x = start + step x, without end.

    Where links go both ways, as nearly all of WordNet's do, the eigenvalues of `step` are
    real and between -a and a; there the iteration of Golub and Varga (1961), x ←
    x_before + w (start + step x - x_before), gains in one step what summing the series gains
    in three.
    """
    before, now, factor = np.zeros_like(start), start, 2.0
    while True:
        factor = 1 / (1 - damping**2 * factor / 4)
        after = step @ now  # in place from here on, as this takes as long as the product
        after += start
        after -= before
        after *= factor
        after += before
        before, now = now, after
        yield now


def principal_components(rows: sparse.csr_array, dim: int, seed: int = 0) -> np.ndarray:
    """PCA of sparse rows by the block Lanczos method; the matrix is never centred or copied.

    Golub and Van Loan, Matrix Computations, section 10.3.6, with all blocks kept
    orthogonal to each other, on the covariance. The solvers of SciPy and scikit-learn multiply
    by one vector at a time, which takes several times as long, or do not centre.

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
    block = min(DIRECTIONS, columns)
    width = min(max(round(SPACE * dim), 3 * block), columns)
    mean = (rows.sum(axis=0, dtype=np.float64) / size).astype(np.float32)

    def project(directions: np.ndarray) -> np.ndarray:
        return rows @ directions - mean @ directions

    def covary(directions: np.ndarray) -> np.ndarray:  # times V; projections add up to zero
        return rows.T @ project(directions)

    basis = np.empty([columns, width], np.float32)
    reduced = np.zeros([width, width])  # the covariance in the basis
    new = np.random.default_rng(seed).standard_normal([columns, block], np.float32)
    for first in range(0, width, block):
        known = basis[:, :first]
        for _ in range(2):  # the second time removes what rounding left
            new = np.linalg.qr(new - known @ (known.T @ new))[0]
        last = min(first + block, width)
        basis[:, first:last] = new[:, : last - first]
        new = _by_columns(covary, basis[:, first:last])
        reduced[:last, first:last] = basis[:, :last].T @ new
    vectors = np.linalg.eigh(reduced, UPLO="U")[1][:, ::-1][:, :dim]
    found = _by_columns(project, basis @ vectors.astype(np.float32))
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    return found * np.where(largest < 0, -1, 1).astype(np.float32)


def _by_columns(multiply: Callable[[np.ndarray], np.ndarray], basis: np.ndarray) -> np.ndarray:
    """Multiplies by every `WIDTH` columns of `basis`, which the cache holds beside the rows."""
    parts = [basis[:, first : first + WIDTH].copy() for first in range(0, basis.shape[1], WIDTH)]
    return np.hstack(list(_in_threads(multiply, parts, "principal components")))


def _in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Yields `work` of each item in order; it runs in as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from progress(threads.map(work, items), what, len(items))
