"""Does annotating a hundred thousand photographs stay as fast and as small as it began?

    python -m benchmarks.endurance.many_photos --out=runs/many --count=100000

`experiments.annotate` with --jsonl, --csv and --html over a library of small photographs (see
`photo_library.py`), killed --kills times by SIGKILL, evenly spread, and started again each time.
Memory and the lines and pages written are sampled meanwhile; every thousand photographs has a row
in samples.csv. Ends with status 1 if a photograph has no answer or several, if the memory of the
last tenth is more than a tenth above that of the first, or the speed more than a fifth below.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks import machine
from benchmarks.endurance.photo_library import IN_FOLDER, TRAINED_ON, train, write_photographs

EVERY = 0.5  # seconds between samples
MORE_MEMORY, LESS_SPEED = 1.1, 0.8  # the last tenth by the first


class Watch:
    """Samples of the processes that annotate, one after the other.

    Args:
        jsonl: the file of answers.
        pages: the folder of the gallery's pages.
    """

    def __init__(self, jsonl: Path, pages: Path) -> None:
        self._jsonl, self._pages = jsonl, pages
        self._read = self.lines = 0
        self.rows: list[tuple[int, float, int, int, float]] = []

    def until(self, process: subprocess.Popen, piece: int, lines: int) -> None:
        """Samples a process until it ends, or has written so many lines and is killed."""
        watched = psutil.Process(process.pid)
        begun = time.monotonic()
        while process.poll() is None:
            self._count()
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = watched.memory_info()
                own = (memory.rss - memory.shared) / 1e6
                now = time.monotonic() - begun
                self.rows.append((piece, now, self.lines, self._written_pages(), own))
            if self.lines >= lines:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(EVERY)

    def samples(self) -> pd.DataFrame:
        """A row a sample: `piece`, `seconds` in it, `lines`, `pages` and `memory_mb`."""
        return pd.DataFrame(self.rows, columns=["piece", "seconds", "lines", "pages", "memory_mb"])

    def _count(self) -> None:
        """Counts the lines that came since; a command that resumes may cut the last off."""
        if not self._jsonl.exists():
            return
        if self._jsonl.stat().st_size < self._read:
            self._read = self.lines = 0
        with open(self._jsonl, "rb") as file:
            file.seek(self._read)
            while block := file.read(1 << 20):
                self._read += len(block)
                self.lines += block.count(b"\n")

    def _written_pages(self) -> int:
        """Of the gallery that is being written, under a temporary name."""
        found = self._pages.parent.glob(f".tmp-*-{self._pages.name}")
        return max((sum(1 for _ in folder.glob("*.html")) for folder in found), default=0)


def by_thousand(samples: pd.DataFrame) -> pd.DataFrame:
    """A row a thousand photographs: `photos` so far, `per_second`, `memory_mb`.

    A thousand that a kill divides is left out. The seconds before the first answer of a process,
    and those in which it makes the pages of answers that were there, are no one's.
    """
    rows = []
    for _, piece in samples.groupby("piece"):
        lines = piece["lines"].to_numpy()
        new = piece[np.concatenate([[False], lines[1:] > lines[:-1]])]
        if len(new) < 2:
            continue
        first = -(-new["lines"].iloc[0] // IN_FOLDER) * IN_FOLDER
        edges = np.arange(first, new["lines"].iloc[-1] + 1, IN_FOLDER)
        seconds = np.interp(edges, new["lines"], new["seconds"])
        memory = np.interp(edges[1:], new["lines"], new["memory_mb"])
        speed = IN_FOLDER / np.diff(seconds)
        rows += list(zip(edges[1:], speed, memory, strict=True))
    return pd.DataFrame(rows, columns=["photos", "per_second", "memory_mb"])


def answered(jsonl: Path) -> Counter[str]:
    """How many lines each photograph has."""
    with open(jsonl, encoding="ascii") as file:
        return Counter(json.loads(line)["photo"] for line in file)


def annotate(options: argparse.Namespace, run: Path, photos: Path) -> Watch:
    """Runs the command, kills it and starts it again until it ends by itself."""
    jsonl, html = options.out / "answers.jsonl", options.out / "gallery.html"
    watch = Watch(jsonl, html.with_name("gallery_pages"))
    flags = [f"--model={run}", f"--jsonl={jsonl}", f"--csv={options.out / 'labels.csv'}"]
    command = [sys.executable, "-m", "experiments.annotate", *flags, f"--html={html}", str(photos)]
    for piece in range(1, options.kills + 2):
        with open(options.out / f"annotate-{piece}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        last = piece > options.kills
        limit = options.count * piece // (options.kills + 1)
        watch.until(process, piece, options.count + 1 if last else limit)
        print(f"piece {piece}: {watch.lines:,} lines, status {process.returncode}", flush=True)
    if process.returncode != 0:
        raise SystemExit(f"the command failed; see {options.out / f'annotate-{piece}.log'}")
    return watch


def judged(options: argparse.Namespace, thousands: pd.DataFrame) -> bool:
    """Prints what was found; whether all of it is within the bounds."""
    tenth = max(1, len(thousands) // 10)
    first, last = (part.mean() for part in (thousands[:tenth], thousands[-tenth:]))
    lines = answered(options.out / "answers.jsonl")
    pages = sorted((options.out / "gallery_pages").glob("*.html"))
    megabytes = [page.stat().st_size / 1e6 for page in pages]
    size = (options.out / "answers.jsonl").stat().st_size / 1e6
    print(f"{options.count:,} photographs, {options.kills} kills")
    print(f"  own memory, MB: {first['memory_mb']:.0f} at first, {last['memory_mb']:.0f} at last,")
    print(f"    at most {thousands['memory_mb'].max():.0f}")
    print(f"  photographs/s: {first['per_second']:.0f} at first, {last['per_second']:.0f} at last")
    print(f"    ({thousands['per_second'].min():.0f} to {thousands['per_second'].max():.0f})")
    print(f"  answers: {sum(lines.values()):,} lines of {len(lines):,} photographs, {size:.0f} MB")
    print(f"  gallery: {len(pages):,} pages of at most {max(megabytes):.2f} MB, ", end="")
    print(f"{sum(megabytes):.0f} MB together")
    once = len(lines) == sum(lines.values()) == options.count
    flat = last["memory_mb"] <= MORE_MEMORY * first["memory_mb"]
    return once and flat and bool(last["per_second"] >= LESS_SPEED * first["per_second"])


def main() -> None:
    """Makes the library and the model where they are not there, annotates, and judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder; its library is kept")
    parser.add_argument("--count", type=int, default=100_000, help="photographs")
    parser.add_argument("--kills", type=int, default=1)
    options = parser.parse_args()
    if options.count < TRAINED_ON or options.kills < 0:
        parser.error(f"--count must be at least {TRAINED_ON}, --kills at least 0")
    if (options.out / "answers.jsonl").exists():
        parser.error(f"--out must hold no answers; {options.out / 'answers.jsonl'} is there")
    photos = options.out / f"photos-{options.count}"
    write_photographs(photos, options.count)
    run = train(options.out / "model", photos)
    watch = annotate(options, run, photos)
    watch.samples().to_csv(options.out / "raw_samples.csv", index=False)
    thousands = by_thousand(watch.samples())
    thousands.to_csv(options.out / "samples.csv", index=False)
    within = judged(options, thousands)
    print(machine.described("tensorflow", "onnxruntime", "pillow"))
    sys.exit(not within)


if __name__ == "__main__":
    main()
