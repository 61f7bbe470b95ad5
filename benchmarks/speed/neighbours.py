"""Measures the search for neighbours on the twin of NUS-WIDE, beside what else one could use.

    python -m benchmarks.speed.neighbours

Jaccard: all images against all, beside blockwise products of scipy.sparse on a part of the
queries (its time for all is scaled up), which also serve as brute force to compare with.
Cosine on sums of word vectors: all images against all, and a part of them against all, beside
faiss' exact index; then faiss' approximate indexes, with the share of the nearest that they find.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from scipy import sparse

from benchmarks import machine
from data_tools.sources import twin
from data_tools.vectors.vector_files import WordTable
from data_tools.vectors.word_vectors import look_up
from tagnet.data.embeddings import rho
from tagnet.data.tags import TagLists, Vocabulary, count_tags
from tagnet.search.neighbours import Neighbourhoods, cosine, jaccard, recall

TAU = 5000  # the paper's vocabulary
M = 24
SCIPY_BLOCK = 256  # queries whose products stand in memory together


def timed(work: Callable) -> tuple[np.ndarray, Any]:
    """The seconds that `work` takes, of the clock and of the processors, and what it returns.

    On a busy machine only the second kind can be compared.
    """
    clocks = (time.perf_counter, time.process_time)
    start = np.array([clock() for clock in clocks])
    result = work()
    return np.array([clock() for clock in clocks]) - start, result


def shown(seconds: np.ndarray) -> str:
    """Both kinds of seconds as text."""
    return f"{seconds[0]:.1f} s (processors {seconds[1]:.1f} s)"


def ratios(theirs: np.ndarray, ours: np.ndarray) -> str:
    """How many times as long theirs took, by both kinds of seconds."""
    by_clock, by_processors = theirs / ours
    return f"ratio {by_clock:.2f} (processors {by_processors:.2f})"


def by_scipy(tags: TagLists, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The M nearest of `rows` by Jaccard distance through products of sparse matrices."""
    o = sparse.csr_array(
        (np.ones(len(tags.ids), np.float32), tags.ids, tags.offsets), shape=(len(tags), TAU)
    )
    transposed, sizes = o.T.tocsr(), tags.lengths
    neighbours, distances = [], []
    for first in range(0, len(rows), SCIPY_BLOCK):
        block = rows[first : first + SCIPY_BLOCK]
        shared = (o[block] @ transposed).toarray()
        united = sizes[block][:, None] + sizes - shared
        distance = 1 - np.divide(shared, united, out=np.zeros_like(united), where=united > 0)
        distance[np.arange(len(block)), block] = np.inf
        # All that are as near as the M-th, so that ties are decided by row.
        cut = np.partition(distance, M - 1, axis=1)[:, M - 1]
        for line, limit in zip(distance, cut, strict=True):
            near = np.flatnonzero(line <= limit)
            best = near[np.argsort(line[near], kind="stable")[:M]]
            neighbours.append(best)
            distances.append(line[best])
    return np.array(neighbours), np.array(distances)


def measure_jaccard(tags: TagLists, queries: int) -> None:
    """Prints our time, that of scipy, their ratio, and whether they find the same."""
    everyone = np.arange(len(tags))
    jaccard(tags, everyone[:10], everyone, M)  # compiles
    ours, found = timed(lambda: jaccard(tags, everyone, everyone, M))
    rows = np.random.default_rng(0).permutation(len(tags))[:queries]
    theirs, (neighbours, distances) = timed(lambda: by_scipy(tags, rows))
    theirs *= len(tags) / len(rows)
    same = (found.neighbours[rows] == neighbours).all() and np.allclose(
        found.distances[rows], distances, atol=1e-6
    )
    print(f"Jaccard, {len(tags):,} x {len(tags):,}, M {M}: {shown(ours)}")
    print(f"  scipy.sparse, {len(rows):,} queries scaled to all: {shown(theirs)}", end="")
    print(f"; {ratios(theirs, ours)}; identical on those queries: {'yes' if same else 'NO'}")


def measure_cosine(vectors: np.ndarray, rows: np.ndarray, share: int = 1) -> Neighbourhoods:
    """Prints our time and that of faiss' exact index for the queries `rows`, and their ratio.

    With a `share` faiss is asked for one query in so many, and its time scaled up.
    """
    everyone = np.arange(len(vectors))
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def by_faiss() -> np.ndarray:
        index = faiss.IndexFlatIP(units.shape[1])
        index.add(units)
        return index.search(units[rows[::share]], M + 1)[1]  # the image itself is among them

    faiss.omp_set_num_threads(os.cpu_count() or 1)
    theirs, near = timed(by_faiss)
    theirs *= len(rows) / len(near)
    ours, found = timed(lambda: cosine(vectors, rows, everyone, M))
    compared = zip(found.neighbours[::share], near, strict=True)
    common = [len(set(a) & set(b)) / M for a, b in compared]
    shape = f"{len(rows):,} queries x {len(vectors):,}, n {vectors.shape[1]}, M {M}"
    print(f"cosine, {shape}: {shown(ours)}")
    asked = f", {len(near):,} queries scaled to all" if share > 1 else ""
    print(f"  faiss IndexFlatIP, {os.cpu_count()} threads{asked}: {shown(theirs)}", end="")
    print(f"; {ratios(theirs, ours)}; neighbours in common: {np.mean(common):.4f}")
    return found


def measure_index(vectors: np.ndarray, kind: str, exact: Neighbourhoods) -> None:
    """Prints the time of an approximate search for the same queries, and what it found."""
    seconds, found = timed(
        lambda: cosine(vectors, exact.rows, np.arange(len(vectors)), M, index=kind)
    )
    print(f"  {kind}: {shown(seconds)}; recall {recall(found, exact):.4f}")


def main() -> None:
    """Makes the twin and runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=twin.IMAGES, help="size of the twin")
    parser.add_argument("--jaccard_queries", type=int, default=1000, help="for scipy; 0: none")
    parser.add_argument("--sizes", default="300,650", help="of word vectors, for the cosine")
    parser.add_argument("--share", type=int, default=5, help="part of the queries: one in so many")
    parser.add_argument("--indexes", default="hnsw,ivf", help="approximate ones to measure too")
    parser.add_argument(
        "--all_pairs_only", action="store_true", help="and faiss on that part, scaled up"
    )
    options = parser.parse_args()
    print(machine.described("numba", "scipy", "faiss-cpu"))
    tag_lists = [fields["tags"] for _, fields in twin.rows(options.images)]
    vocabulary = Vocabulary.of_counts(count_tags(tag_lists), TAU)
    tags = vocabulary.encode_all(tag_lists)
    print(f"{twin.NOTE}; {tags.lengths.mean():.1f} known tags an image")
    if options.jaccard_queries:
        measure_jaccard(tags, options.jaccard_queries)
    everyone = np.arange(len(tags))
    for size in map(int, options.sizes.split(",")):
        words, vectors = twin.word_vectors(size)
        embedding, _ = look_up(vocabulary, WordTable(tuple(words), vectors))
        sums = rho(tags, embedding)
        cosine(sums, everyone[:1000], everyone[:1000], M)  # compiles
        if options.all_pairs_only:
            measure_cosine(sums, everyone, options.share)
            continue
        measure_cosine(sums, everyone)
        part = measure_cosine(sums, everyone[:: options.share])
        for kind in options.indexes.split(",") if options.indexes else ():
            measure_index(sums, kind, part)


if __name__ == "__main__":
    main()
