"""Reads a vocabulary's vectors out of a large word2vec file: time and memory, beside gensim.

    python -m benchmarks.speed.word_vectors --words=300000 --wanted=5000

A synthetic binary file of 300 numbers a word is written to a temporary folder. Each reader
runs in a process of its own; memory is the process's peak less what it had before reading.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors

from benchmarks import machine
from data_tools.vectors.vector_files import read_vectors

DIM = 300


def write_file(path: Path, words: int) -> None:
    """Writes words w0, w1, … with random vectors; a block of them at a time."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(f"{words} {DIM}\n".encode())
        for first in range(0, words, 1000):
            block = rng.standard_normal([min(1000, words - first), DIM], np.float32)
            for row, vector in enumerate(block, first):
                file.write(f"w{row} ".encode() + vector.tobytes())


def read(reader: str, path: Path, names: list[str]) -> np.ndarray:
    """The vectors of `names`."""
    if reader == "gensim":
        return KeyedVectors.load_word2vec_format(str(path), binary=True)[names]
    table = read_vectors(path, set(names).__contains__)
    row_of = {word: row for row, word in enumerate(table.words)}
    return table.vectors[[row_of[name] for name in names]]


def peak() -> float:
    """The process's largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Runs the benchmark, or one reader of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=300_000)
    parser.add_argument("--wanted", type=int, default=5000)
    parser.add_argument("--reader", help="(used by the benchmark itself)")
    parser.add_argument("--file", type=Path, help="(used by the benchmark itself)")
    flags = parser.parse_args()
    names = [f"w{row}" for row in range(0, flags.words, max(1, flags.words // flags.wanted))]
    if flags.reader:
        before, start = peak(), time.perf_counter()
        checksum = float(read(flags.reader, flags.file, names).sum(dtype=np.float64))
        print(time.perf_counter() - start, peak() - before, checksum)
        return
    print(machine.described("numpy", "gensim"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.bin"
        write_file(path, flags.words)
        print(f"{len(names):,} of {flags.words:,} words, {path.stat().st_size / 1e6:,.0f} MB")
        seconds, memory, checksums = {}, {}, {}
        for reader in ("tagnet", "gensim"):
            command = [sys.executable, __file__, *sys.argv[1:]]
            command += [f"--reader={reader}", f"--file={path}"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds[reader], memory[reader], checksums[reader] = map(float, output.split()[-3:])
            print(f"  {reader}: {seconds[reader]:.2f} s, {memory[reader]:,.0f} MB")
        assert checksums["tagnet"] == checksums["gensim"]
        print(
            f"  ratio, gensim to tagnet: time {seconds['gensim'] / seconds['tagnet']:.1f}, "
            f"memory {memory['gensim'] / memory['tagnet']:.1f}"
        )


if __name__ == "__main__":
    main()
