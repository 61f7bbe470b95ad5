"""Time, memory and quality of the WordNet vectors, against the dense way of making them.

    python -m benchmarks.speed.wordnet --similarity=DIR

DIR has any of SimLex-999, WordSim-353, RG-65, MEN and MTurk-771, each a file of lines with two
words and a score. The dense way (NumPy: inverse, PPMI and PCA of the whole matrix) is timed
in the same run on the `--dense` words with most relations, and the vectors of both ways are
compared there.
"""

import argparse
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks import machine
from data_tools.vectors.random_walk import DAMPING, walk_vectors
from data_tools.vectors.wordnet import SIZE, most_linked, read_graph

Pairs = list[tuple[str, str, float]]


def read_pairs(path: Path) -> Pairs:
    """The lines of a similarity file that are two words and a number; others are titles."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = re.split("[\t,]+", line)
        try:
            pairs.append((fields[0].lower(), fields[1].lower(), float(fields[2])))
        except (IndexError, ValueError):
            continue
    return pairs


def spearman(pairs: Pairs, row_of: dict[str, int], vectors: np.ndarray) -> tuple[float, int]:
    """Rank correlation of the cosines with people's scores, over the pairs that are known."""
    known = [pair for pair in pairs if pair[0] in row_of and pair[1] in row_of]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [float(unit[row_of[a]] @ unit[row_of[b]]) for a, b, _ in known]
    return spearmanr(cosines, [score for _, _, score in known]).statistic, len(known)


def dense(links: np.ndarray, dim: int) -> np.ndarray:
    """The method by its words, in float32."""
    size = len(links)
    sums = links.sum(axis=1, keepdims=True)
    walks = np.linalg.inv(np.eye(size, dtype=np.float32) - DAMPING * links / np.maximum(sums, 1))
    walks = np.log2(np.maximum(size * walks / walks.sum(axis=0), 1))
    walks /= np.linalg.norm(walks, axis=1, keepdims=True)
    walks -= walks.mean(axis=0)
    sizes, right = np.linalg.eigh(walks.T @ walks)
    return walks @ right[:, ::-1][:, :dim]


def timed(what: str, work: Callable) -> tuple:
    """Runs `work` and prints how long it took: (its result, seconds)."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    print(f"  {what}: {seconds:.1f} s", flush=True)
    return result, seconds


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--similarity", type=Path)
    parser.add_argument("--words", type=int, default=SIZE)
    parser.add_argument("--dims", type=int, nargs="+", default=[850, 650])
    parser.add_argument("--dense", type=int, default=6000)
    parser.add_argument("--weights", default="equal")
    flags = parser.parse_args()
    if not flags.database.is_dir():
        print(f"skipped: {flags.database} is not there (Debian: apt-get install wordnet-base)")
        return
    print(machine.described("numpy", "scipy", "numba"))

    files = sorted(flags.similarity.glob("*.tsv")) if flags.similarity else []
    sets = {path.stem: read_pairs(path) for path in files}
    tested = {word for pairs in sets.values() for a, b, _ in pairs for word in (a, b)}
    print(f"{flags.words:,} words, {max(flags.dims)} numbers")
    whole, reading = timed(
        "reading the database", lambda: read_graph(flags.database, flags.weights)
    )
    graph = most_linked(whole, flags.words, tested.__contains__)
    dim = max(flags.dims)
    vectors, walking = timed("walks, PPMI and PCA", lambda: walk_vectors(graph.links, dim))
    total = reading + walking
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  together {total:.0f} s, peak memory {peak:.2f} GB")
    row_of = {word: row for row, word in enumerate(graph.words)}
    for name, pairs in sets.items():
        scores = [spearman(pairs, row_of, vectors[:, :dim]) for dim in flags.dims]
        figures = ", ".join(
            f"{score:.3f} at {dim}" for (score, _), dim in zip(scores, flags.dims, strict=True)
        )
        print(f"  {name}: Spearman {figures} ({scores[0][1]} of {len(pairs)} pairs)")
    small = most_linked(whole, flags.dense, lambda word: False).links
    dim = min(dim, flags.dense // 4)
    print(f"{flags.dense:,} words, {dim} numbers")
    ours, sparsely = timed("this way", lambda: walk_vectors(small, dim))
    theirs, densely = timed("the dense way", lambda: dense(small.toarray(), dim))
    kept = (ours.astype(np.float64) ** 2).sum() / (theirs.astype(np.float64) ** 2).sum()
    print(f"  ratio {densely / sparsely:.1f}; variance kept, of the dense way's: {kept:.4f}")


if __name__ == "__main__":
    main()
