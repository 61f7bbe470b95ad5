"""What millions of images need: stages measured at two sizes, extrapolated, checked at a third.

    python -m benchmarks.endurance.scale --keep=FOLDER --out=docs/evidence/scale.md

Twins of NUS-WIDE are prepared and trained on for one epoch, in processes of their own; disk is
what the files take, network what the pieces of the work are pickled to. Features of photographs
are timed apart, as twins have none, and so are the searches for neighbours, which at such sizes
are a small part of their stages. What is in the folder is not measured again; `--measure`
measures one part alone, so that times can be had on a machine with nothing else to do and the
rest at any time.
"""

import argparse
import itertools
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import machine
from benchmarks.endurance.scale_page import LEAST, PAGE, TARGETS, fits, quickest, table
from data_tools.engines import Local
from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.sources import twin
from data_tools.sources.registry import Twin
from data_tools.vectors.vector_files import WordTable
from data_tools.vectors.word_vectors import look_up
from tagnet.backbones.features import BACKBONES, extract
from tagnet.data.embeddings import rho
from tagnet.data.tags import Vocabulary, count_tags
from tagnet.search import neighbours, sets
from tagnet.search.neighbours import cosine, jaccard
from tagnet.settings import INDEXES
from tagnet.system.files import read_json, write_json

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SAMPLE_SECONDS = 0.05  # between two looks at a process's memory
DISK = {
    "features and tags": "images-*.tfrecord",
    "manifest": "manifest.jsonl",
    "neighbours": "neighbours/*/id-open/*",
    "cache": "cache/*",
}
BY_TAGS, BY_PRODUCTS = "neighbours by tags, answers", "neighbours by vectors, answers"
RECORDS = "vocabulary and records, items and answers"
SHARED = "to each machine"
PIECES = {BY_TAGS: neighbours.SETS, BY_PRODUCTS: neighbours.VECTORS}
EXACT, SEARCH, BY_VECTORS = "exact", "w2v-open", "by vectors"


def watched(*command: str) -> tuple[float, float, str]:
    """A command's seconds, the peak of its memory in MB, maps aside, and its output."""
    peak = 0

    def watch() -> None:
        nonlocal peak
        watched_one = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                held = watched_one.memory_info()
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
    return time.perf_counter() - start, peak / 1e6, output


def measure_size(images: int, folder: Path) -> dict[str, dict[str, float]]:
    """Time, memory, disk and recall at one size, each by the name of what it is of."""
    memory: dict[str, float] = {}
    data = folder / "data"
    command = ["data_tools.prepare", "--source=twin", f"--images={images}", "--pools=open"]
    command += ["--encodings=id,w2v", f"--out={data}"]
    _, memory["prepare"], output = watched(*command)
    seconds = stage_seconds(output)
    # What a mapped table reads is written once, when it is first asked for.
    flags = [f"--data={data}", "--max_epochs=1"]
    watched(
        "experiments.run", "--arch=v_only", *flags, "--placement=mmap", f"--out={folder / 'first'}"
    )
    for where in ("device", "mmap"):
        run = folder / where
        took, memory[f"run, {where}"], _ = watched(
            "experiments.run", "--arch=ltn", *flags, f"--placement={where}", f"--out={run}"
        )
        epoch = read_json(run / "metrics.json")["seconds_per_epoch"]
        seconds |= {f"run, {where}: an epoch": epoch, f"run, {where}: all else": took - epoch}
    disk = {
        name: sum(path.stat().st_size for path in data.glob(pattern)) / 1e6
        for name, pattern in DISK.items()
    }
    recall = {}
    for index in (name for name in INDEXES if name != EXACT):  # in its place, and nothing else
        _, memory[f"prepare, {index} alone"], _ = watched(*command, f"--neighbour_index={index}")
        recall[index] = read_json(data / "dataset.json")["neighbours"][SEARCH]["recall"]
    return {"s": seconds, "memory": memory, "disk": disk, "recall": recall}


def stage_seconds(output: str) -> dict[str, float]:
    """What `prepare` says of its stages."""
    return {name: float(s) for name, s in re.findall(r"^(\S+): (\d+\.\d) s$", output, re.MULTILINE)}


class Counted:
    """Does everything here, and counts the MB that go to and from a cluster's workers."""

    def __init__(self) -> None:
        self.sent: defaultdict[str, float] = defaultdict(float)

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.map`."""
        name = kind_of_work(work)
        self._count(SHARED, work)
        for item in items:
            self._count(name, item)
            answer = work(item)
            self._count(name, answer)
            yield answer

    def map_with_state(self, make: Callable[[], Any], items: Sequence[Any]) -> Iterator[Any]:
        """As `Engine.map_with_state`; twins have no photographs."""
        return Local().map_with_state(make, items)

    def _count(self, name: str, sent: Any) -> None:
        self.sent[name] += len(pickle.dumps(sent, pickle.HIGHEST_PROTOCOL)) / 1e6


def kind_of_work(work: Callable[[Any], Any]) -> str:
    """What the table calls the work of a stage."""
    if isinstance(work, partial) and work.func is neighbours._search_symmetric_piece:
        return BY_PRODUCTS
    if isinstance(work, partial) and work.args[:1] == (sets.search,):
        return BY_TAGS
    return RECORDS


def measure_network(images: int, folder: Path) -> dict[str, dict[str, float]]:
    """What is sent at one size."""
    engine = Counted()
    settings = Settings(Twin(images=images), pools=("open",), encodings=("id", "w2v"))
    prepare(settings, folder / "data", engine=engine)
    return {"network": dict(engine.sent)}


def measure_photos(photos: int, folder: Path) -> dict[str, dict[str, float]]:
    """The seconds from so many JPEG files to their features."""
    files = sorted(PHOTOS.rglob("*.jpg"))
    backbone = BACKBONES["efficientnet_lite0"]
    extract(backbone, files[:1])  # builds the network
    start = time.perf_counter()
    extract(backbone, list(itertools.islice(itertools.cycle(files), photos)))
    return {"s": {"features of photographs": time.perf_counter() - start}}


def measure_search(images: int, folder: Path) -> dict[str, dict[str, float]]:
    """The seconds that processors take to find all images' neighbours among all."""
    names = [row["tags"] for _, row in twin.rows(images)]
    vocabulary = Vocabulary.of_counts(count_tags(names), Settings.tau)
    tags = vocabulary.encode_all(names)
    words, vectors = twin.word_vectors()
    embedding, _ = look_up(vocabulary, WordTable(tuple(words), vectors))
    searches: dict[str, Callable[..., Any]] = {"by tags": partial(jaccard, tags)}
    for index in INDEXES:
        searches[f"{BY_VECTORS}, {index}"] = partial(cosine, rho(tags, embedding), index=index)
    everyone = np.arange(images)
    seconds = {}
    for name, search in searches.items():
        search(rows=everyone[:100], pool=everyone[:1000], M=Settings.M)  # compiles
        start = time.process_time()
        search(rows=everyone, pool=everyone, M=Settings.M)
        seconds[name] = time.process_time() - start
    return {"s": seconds}


MEASURES = {
    "size": measure_size,
    "search": measure_search,
    "network": measure_network,
    "photos": measure_photos,
}


def kept(what: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """What was measured, from the folder if it is there, and into it if not."""
    path = options.keep / f"{what}-{number}.json"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            found = MEASURES[what](number, Path(folder))
        described = machine.described("tensorflow", "numpy", "numba", "faiss-cpu")
        write_json(path, found | {"described": described})
    return read_json(path)


def page(sizes: Sequence[int], options: argparse.Namespace) -> str:
    """Measures what is not in the folder, and writes docs/evidence/scale.md."""
    photos = [kept("photos", number, options) for number in options.photos]
    network = [kept("network", images, options) for images in sizes]
    measured = [kept("size", images, options) for images in sizes]

    def of(kind: str, unit: str, found: Sequence[dict[str, Any]] = measured) -> list[Any]:
        return fits(sizes, [one[kind] for one in found], unit, PIECES)

    searches = [kept("search", images, options)["s"] for images in options.searched]
    of_search = fits(options.searched, searches, "s", PIECES)
    of_photos = fits(options.photos, [one["s"] for one in photos], "s", PIECES)
    stages = [{k: v for k, v in one["s"].items() if "-open" not in k} for one in measured]
    times = fits(sizes, stages, "s", PIECES)
    shown = {fit.name for fit in times}
    recall = {
        index: ", ".join(f"{one['recall'][index]:.1%}" for one in measured)
        for index in measured[0]["recall"]
    }
    return PAGE.format(
        command="python -m benchmarks.endurance.scale --keep=FOLDER "
        f"--images {sizes[0]} {sizes[1]} --check {sizes[2]} "
        f"--searched {' '.join(map(str, options.searched))} --out=docs/evidence/scale.md",
        factor=TARGETS[-1] / sizes[-1],
        beside=f"{options.beside} " if options.beside else "",
        described=measured[-1]["described"],
        note=twin.NOTE,
        time=table(times) + "\n\n" + table(of_photos),
        search=table(of_search),
        least=LEAST,
        second=sizes[1],
        left_out=", ".join(name for name in stages[1] if name not in shown),
        share=float(twin.SIZES.split(",")[0]),
        photos=len(list(PHOTOS.rglob("*.jpg"))),
        memory=table(of("memory", "MB")),
        disk=table(of("disk", "MB")),
        network=table(of("network", "MB", network)),
        sets=neighbours.SETS,
        vectors=neighbours.VECTORS,
        targets=" | ".join(f"10^{len(str(target)) - 1}" for target in TARGETS),
        quickest=quickest(of_search, of("memory", "MB")),
        sizes=", ".join(f"{size:,}" for size in sizes),
        **recall,
    )


def main() -> None:
    """Measures and writes the page, or measures a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[25_000, 50_000])
    parser.add_argument("--check", type=int, default=100_000, help="the third size")
    parser.add_argument("--searched", type=int, nargs=3, default=[25_000, 50_000, 100_000])
    parser.add_argument("--photos", type=int, nargs=3, default=[200, 400, 800])
    parser.add_argument("--keep", type=Path, required=True, help="a folder for what was measured")
    parser.add_argument("--measure", nargs=2, metavar=("PART", "NUMBER"), help=f"{list(MEASURES)}")
    parser.add_argument("--beside", default="", help="what the page says the machine did besides")
    parser.add_argument("--dir", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--out", type=Path, help="a file for the page")
    options = parser.parse_args()
    if options.measure:
        part, number = options.measure
        print(kept(part, int(number), options))
        return
    text = page([*options.images, options.check], options)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
