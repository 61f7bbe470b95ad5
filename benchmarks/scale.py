"""What millions of images need: stages measured at two sizes, extrapolated, checked at a third.

    python benchmarks/scale.py [--images 25000 50000 --check 100000]

Twins of NUS-WIDE are prepared and trained on for one epoch, in processes of their own. Time and
memory are fitted through the two sizes, by a line where a stage reads each image once and by a
power of their number where images are compared with each other, and both fits are compared with
what the third size takes. Disk is what the files take. Features of photographs are timed apart, as
twins have none. Printed as Markdown; see docs/scale.md.
"""

import argparse
import dataclasses
import itertools
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import machine
import psutil

from data_tools import twin
from tagnet.features import BACKBONES, extract
from tagnet.files import read_json

TARGETS = (10**6, 10**7, 10**8)
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
SAMPLE_SECONDS = 0.05  # between two looks at a process's memory
DISK = {
    "features and tags": "images-*.tfrecord",
    "manifest": "manifest.jsonl",
    "neighbours, each encoding and pool": "neighbours/*/id-open/*",
}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A quantity as a function of the number of images.

    Attributes:
        name: what the table calls it.
        unit: `s`, `GB`.
        power: whether it is a power of the number; otherwise a line.
        points: (images, value), two of them.
        checked: what was measured at the third size.
    """

    name: str
    unit: str
    power: bool
    points: tuple[tuple[int, float], tuple[int, float]]
    checked: float

    @property
    def _slope(self) -> float:
        (n, a), (m, b) = self.points
        return math.log(b / a) / math.log(m / n) if self.power else (b - a) / (m - n)

    def at(self, images: int) -> float:
        """The fitted value."""
        n, a = self.points[0]
        return a * (images / n) ** self._slope if self.power else a + self._slope * (images - n)

    @property
    def formula(self) -> str:
        """The fit, as the table shows it; N in millions."""
        if self.power:
            return f"{self.at(10**6):.3g} N^{self._slope:.2f}"
        return f"{self.at(0):.2g} + {self._slope * 10**6:.3g} N"


def watched(*command: str) -> tuple[float, float, str]:
    """A command's seconds, its output, and between them the peak GB of its memory, maps aside."""
    peak = 0

    def watch() -> None:
        nonlocal peak
        with_self = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                held = with_self.memory_info()
                peak = max(peak, held.rss - held.shared)
            except psutil.Error:  # it ended meanwhile
                return
            time.sleep(SAMPLE_SECONDS)

    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watcher = threading.Thread(target=watch)
    watcher.start()
    output, errors = process.communicate()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors}")
    return time.perf_counter() - start, peak / 1e9, output


def measure(images: int, folder: Path) -> dict[str, float]:
    """Every figure at one size, by name."""
    found: dict[str, float] = {}
    data = folder / str(images)
    prepare = ["data_tools.prepare", "--source=twin", f"--images={images}", "--pools=open"]
    _, found["prepare, memory"], output = watched(*prepare, "--encodings=id,w2v", f"--out={data}")
    for stage, seconds in stage_seconds(output).items():
        found[f"prepare: {stage}"] = seconds
    for index in ("hnsw", "ivf"):
        _, found[f"prepare by {index}, memory"], output = watched(
            *prepare, "--encodings=w2v", f"--neighbour_index={index}", f"--out={data}-{index}"
        )
        found[f"prepare: w2v-open by {index}"] = stage_seconds(output)["w2v-open"]
    for name, pattern in DISK.items():
        found[f"disk: {name}"] = sum(path.stat().st_size for path in data.glob(pattern)) / 1e9
    for table in ("device", "mmap"):
        run = folder / f"run-{images}-{table}"
        flags = [f"--data={data}", f"--table={table}", "--max_epochs=1", f"--out={run}"]
        if table == "mmap":  # the cache is written once, when it is first asked for
            watched("experiments.run", "--arch=ltn", *flags[:-1], f"--out={run}-first")
        seconds, memory, _ = watched("experiments.run", "--arch=ltn", *flags)
        epoch = read_json(run / "metrics.json")["seconds_per_epoch"]
        found[f"run of ltn ({table}): an epoch"] = epoch
        found[f"run of ltn ({table}): all else"] = seconds - epoch
        found[f"run of ltn ({table}), memory"] = memory
    return found


def stage_seconds(output: str) -> dict[str, float]:
    """What `prepare` says of its stages."""
    return {name: float(s) for name, s in re.findall(r"^(\S+): (\d+\.\d) s$", output, re.MULTILINE)}


def measure_features(photos: int) -> float:
    """The seconds from so many JPEG files to their features."""
    files = sorted(PHOTOS.rglob("*.jpg"))
    backbone = BACKBONES["efficientnet_lite0"]
    extract(backbone, files[:1])  # builds the network
    start = time.perf_counter()
    extract(backbone, list(itertools.islice(itertools.cycle(files), photos)))
    return time.perf_counter() - start


def fits(sizes: Sequence[int], measured: Sequence[dict[str, float]]) -> list[Fit]:
    """A fit for each figure through the first two sizes, with the third to check it."""
    first, second, third = measured
    return [
        Fit(
            name,
            "GB" if "memory" in name or name.startswith("disk") else "s",
            name.startswith(("prepare: id-open", "prepare: w2v-open")),
            ((sizes[0], first[name]), (sizes[1], second[name])),
            third[name],
        )
        for name in first
        if min(first[name], second[name]) > 0.05 and second[name] > first[name]
    ]


def shown(value: float, unit: str) -> str:
    """A time or a size in a unit that people read."""
    larger = {"s": [(60, "min"), (60, "h"), (24, "days")], "GB": [(1000, "TB")]}[unit]
    for step, name in larger:
        if value < 2 * step:
            break
        value, unit = value / step, name
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def table(found: Sequence[Fit], sizes: Sequence[int]) -> str:
    """All fits as Markdown."""
    heads = ["", *(f"{size:,}" for size in sizes[:2]), "fit, N in millions"]
    heads += [f"{sizes[2]:,}: measured / fitted", *(f"10^{len(str(n)) - 1}" for n in TARGETS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for fit in found:
        cells = [fit.name, *(f"{value:.3g} {fit.unit}" for _, value in fit.points), fit.formula]
        ratio = fit.checked / fit.at(sizes[2])
        cells.append(f"{fit.checked:.3g} / {fit.at(sizes[2]):.3g} {fit.unit} = {ratio:.2f}")
        cells += [shown(fit.at(target), fit.unit) for target in TARGETS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, fits and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[25_000, 50_000])
    parser.add_argument("--check", type=int, default=100_000, help="the third size")
    parser.add_argument("--photos", type=int, nargs=3, default=[200, 400, 800])
    parser.add_argument("--dir", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    described = machine.described("tensorflow", "numpy", "numba", "faiss-cpu")
    timed = [{"features of photographs": measure_features(number)} for number in options.photos]
    print(table(fits(options.photos, timed), options.photos))
    print(flush=True)
    sizes = [*options.images, options.check]
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        measured = [measure(images, Path(folder)) for images in sizes]
    print(table(fits(sizes, measured), sizes))
    print(f"\n{described}; {twin.NOTE}")


if __name__ == "__main__":
    main()
