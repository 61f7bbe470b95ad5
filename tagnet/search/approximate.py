"""Candidates from an approximate faiss index, for sets too large to compare all pairs.

They are only candidates: their distances are then computed as in the exact search.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tagnet.errors import InputError

LINKS = 32  # of a vector in the graph
BUILD_DEPTH = 80  # vectors kept in view while one is linked
CELLS_PER_ROOT = 4  # cells per square root of the number of vectors
PROBED = 16  # one cell in so many is searched


def index_of(units: np.ndarray, number: int, kind: str) -> Callable[[np.ndarray], np.ndarray]:
    """Indexes vectors by their inner product.

    A graph is built by one thread, since several would build another one each time.

    Args:
        units: float32 [P, n], of unit length or zero.
        number: K, how many candidates a search returns.
        kind: a name in `INDEXES` other than `exact`.

    Returns:
        The search: from float32 [Q, n] to the places int64 [Q, K] of near vectors,
        -1 where fewer were found.

    Raises:
        InputError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            f"neighbours: the index {kind} needs faiss (pip install 'tagnet[faiss]')"
        ) from error
    size, cosine = units.shape[1], faiss.METRIC_INNER_PRODUCT
    threads = faiss.omp_get_max_threads()
    index: Any
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(size, LINKS, cosine)
        index.hnsw.efConstruction = BUILD_DEPTH
        index.hnsw.efSearch = 2 * number
        faiss.omp_set_num_threads(1)
    else:
        cells = max(1, int(CELLS_PER_ROOT * len(units) ** 0.5))
        # faiss warns where it learns a centroid from fewer than 39 vectors.
        cells = min(cells, max(1, len(units) // 39))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, cosine)
        index.nprobe = -(-cells // PROBED)
    try:
        index.train(units)
        index.add(units)
    finally:
        faiss.omp_set_num_threads(threads)
    return lambda queries: index.search(queries, min(number, len(units)))[1]
