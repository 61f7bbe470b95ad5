"""Measures the whole preparation of the twin of NUS-WIDE: one split, id and w2v, open pool.

    python -m benchmarks.speed.prepare

Prints the time of every stage and the peak memory; then the time of an audit of what was
made. The stage that writes the images is compared with a plain loop that makes the same
features and writes them, and nothing else, to one file: what any preparation must do.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from data_tools.sources import twin


def run(*arguments: str) -> tuple[float, str]:
    """Runs a command of this project; the seconds it takes, and what it prints."""
    start = time.perf_counter()
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, done.stdout


def plain_loop(num_images: int, path: Path) -> float:
    """The seconds to make the twin's features and to write them as float16."""
    start = time.perf_counter()
    with open(path, "wb") as file:
        for block in twin.feature_blocks(num_images):
            file.write(block.astype(np.float16).tobytes())
    return time.perf_counter() - start


def main() -> None:
    """Prepares, audits and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=twin.IMAGES, help="size of the twin")
    parser.add_argument("--dir", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    print(machine.described("tensorflow", "numpy", "numba"))
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        flags = ["--source=twin", f"--images={options.images}", "--pools=open"]
        seconds, output = run(
            "data_tools.prepare", *flags, "--encodings=id,w2v", f"--out={folder}/data"
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"preparing {options.images:,} images: {seconds:.0f} s of the clock, "
            f"{used.ru_utime + used.ru_stime:.0f} s of the processors, "
            f"peak memory {used.ru_maxrss / 2**20:.2f} GiB"
        )
        stages = re.search(r"seconds: (.*)", output)
        assert stages
        print(f"  stages: {stages[1]}")
        images = re.search(r"images (\S+?),", stages[1])
        assert images
        plain = plain_loop(options.images, Path(folder) / "features.bin")
        ratio = float(images[1]) / plain
        print(f"  plain loop that writes the features alone: {plain:.1f} s; ratio {ratio:.2f}")
        seconds, output = run("data_tools.audit", f"{folder}/data")
        print(f"audit: {seconds:.0f} s; {output.splitlines()[-1]}")
    print(twin.NOTE)


if __name__ == "__main__":
    main()
