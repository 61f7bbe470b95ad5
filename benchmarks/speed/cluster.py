"""Measures preparation by a Ray cluster beside the preparation in one process, on a twin.

    python -m benchmarks.speed.cluster [--images=40000]

The cluster runs on this machine: two nodes, each a set of processes with an object store of its
own, with one worker in all (the head has no processor), then one on each. Every preparation is a
command by itself: one split, `id` and `w2v`, open pool. Prints the seconds of every stage and of
the whole, their ratio to those of the engine `local`, which uses all processors, and whether all
files have the same checksums; ends with status 1 if they have not.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from benchmarks import machine
from data_tools.sources import twin
from tagnet.system.checksums import CHECKSUMS

STAGES = ("vocabulary", "images", "id-open", "w2v-open")  # those that an engine works on


def prepare(out: Path, num_images: int, *flags: str) -> dict[str, float]:
    """Prepares the twin in a process of its own; the seconds of its stages and of the whole."""
    command = [sys.executable, "-m", "data_tools.prepare", "--source=twin", "--pools=open"]
    command += ["--encodings=id,w2v", f"--images={num_images}", f"--out={out}", *flags]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    whole = time.perf_counter() - start
    found = re.search(r"seconds: (.*)", done.stdout)
    assert found
    stages = (stage.rsplit(" ", 1) for stage in found[1].split(", "))
    return {name: float(seconds) for name, seconds in stages} | {"whole command": whole}


def by_cluster(out: Path, num_images: int, processors: tuple[int, int]) -> dict[str, float]:
    """The same by a cluster of two nodes that have so many processors."""
    head, other = processors
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": head, "include_dashboard": False, "object_store_memory": 2**30},
    )
    try:
        cluster.add_node(num_cpus=other, object_store_memory=2**30)
        return prepare(out, num_images, "--engine=ray", f"--address={cluster.address}")
    finally:
        cluster.shutdown()


def row(name: str, seconds: dict[str, float], local: dict[str, float], same: str) -> str:
    """A line of the table."""
    cells = [
        f"{seconds[stage]:.1f} ({seconds[stage] / max(local[stage], 0.05):.2f})"
        for stage in (*STAGES, "whole command")
    ]
    return f"| {name} | {' | '.join(cells)} | {same} |"


def main() -> None:
    """Prepares three times and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=twin.IMAGES, help="size of the twin")
    parser.add_argument("--dir", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    print(machine.described("ray", "tensorflow", "numpy", "numba"))
    print(f"{options.images:,} images; seconds (times those of `local`)\n")
    print(f"| engine | {' | '.join(STAGES)} | whole command | same bytes |")
    print("|---" * (len(STAGES) + 3) + "|")
    different = 0
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        local = prepare(Path(folder) / "local", options.images)
        sums = (Path(folder) / "local" / CHECKSUMS).read_bytes()
        print(row("local", local, local, "–"), flush=True)
        for name, processors in (("ray, 1 worker", (0, 1)), ("ray, 2 workers", (1, 1))):
            out = Path(folder) / f"ray-{sum(processors)}"
            seconds = by_cluster(out, options.images, processors)
            same = (out / CHECKSUMS).read_bytes() == sums
            different += not same
            print(row(name, seconds, local, "yes" if same else "NO"), flush=True)
    print(f"\n{twin.NOTE}")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
