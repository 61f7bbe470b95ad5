"""Readers of files that come from elsewhere, and random bytes for them.

A reader is given whole files with changes in them, and bytes that are no file at all. It
must answer or raise `InputError` with a single line; a warning is an error like any other.
"""

import contextlib
import dataclasses
import gzip
import json
import random
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from helpers.mirflickr import write_lists, write_published
from helpers.nus_wide import IMAGES, write_raw
from helpers.photographs import iim, write, xmp
from helpers.records import write as write_shards
from helpers.tables import make_table
from helpers.weights import BIAS, KERNEL, Stored, Tensor, caffemodel, torch_modules, write_pth
from helpers.wordnet import write as write_wordnet

from data_tools.sources import image_features, manifest, mirflickr, nus_wide
from data_tools.sources.table import read_table
from data_tools.vectors.vector_files import read_vectors
from data_tools.vectors.wordnet import read_graph
from tagnet.backbones.weights import read_caffe_weights, read_torch_weights
from tagnet.data import records
from tagnet.data.embeddings import Embedding
from tagnet.data.tags import Vocabulary
from tagnet.errors import InputError
from tagnet.photos.folders import Photograph
from tagnet.photos.images import read_image
from tagnet.photos.keywords import read_keywords
from tagnet.system.checksums import read_checksums
from tagnet.system.files import read_json

LONG = 10.0  # seconds of a processor that no input may take: the files have few bytes
LARGE = 512  # MB that a reader may add to the memory of the process
# What breaks readers that trust: large and odd numbers, ends of fields and lines, letters that
# are none, entities.
HOSTILE = (
    *(b"\0", b"\xff", b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xed\xa0\x80", b"\xc2\x85"),
    *(b"1000000000000", b"-1", b"nan", b"1e999", b"0x1", b"\xc2\xb2", b"\xe2\x80\xa8", b"\x1b[2J"),
    *(b"\n", b"\r", b"\t", b" ", b",", b"|", b'"', b"\\", b"/", b"{", b"[", b"&a;", b"../"),
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        file: the file that is damaged, below a folder.
        read: reads it; is given the folder.
        make: writes the file, and what else the reader needs, into the folder.
    """

    file: str
    read: Callable[[Path], Any]
    make: Callable[[Path], Any]


def as_written(content: bytes) -> Callable[[Path], Any]:
    """The file holds `content`."""
    return lambda path: path.write_bytes(content)


def reader(file: str, read: Callable[[Path], Any], make: Callable[[Path], Any]) -> Reader:
    """A reader of one file, whose functions take its path."""
    return Reader(file, lambda folder: read(folder / file), lambda folder: make(folder / file))


ROWS = [
    {"image_id": "a", "path": "a.jpg", "tags": ["sea", "sky"], "labels": ["beach"]},
    {"image_id": "b", "path": None, "tags": [], "labels": ["city", "night"]},
]
CSV = b'image_id,path,tags,labels\na,a.jpg,"sea|sky\ny",beach\nb,,,"city|n ""1"""\n'
JSONL = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()


def table(path: Path) -> None:
    """Reads a table whatever its ending."""
    read_table(path, "|")


def all_features(path: Path) -> None:
    for block in image_features.from_file(path, 4).blocks():
        assert np.isfinite(block).all()


def write_features(path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["phi"] = array
    else:
        (np.save if path.suffix == ".npy" else np.savez)(path, array)


def write_vectors(path: Path) -> None:
    text = make_table(path.parent / "table").word_vectors.read_bytes()
    content = text
    if "glove" in path.name:
        content = text.split(b"\n", 1)[1]
    if ".bin" in path.name:
        rows = [line.split() for line in text.splitlines()[1:]]
        content = text.split(b"\n", 1)[0] + b"\n"
        content += b"".join(
            row[0] + b" " + np.array(row[1:], "<f4").tobytes() + b"\n" for row in rows
        )
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_torch(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        torch = torch_modules(patched)
        storage = Stored(torch.FloatStorage, "7", np.arange(7, dtype="<f4"))
        tensor = Tensor(torch._utils._rebuild_tensor_v2, storage, 1, (2, 3), (3, 1))
        write_pth(path, {"a.weight": tensor}, [storage])


def write_caffe(path: Path) -> None:
    if path.suffix == ".npz":
        np.savez(path, conv1_weights=KERNEL, conv1_biases=BIAS)
    else:
        path.write_bytes(caffemodel(shaped="new" in path.name, field="layers"))


def write_photograph(path: Path) -> None:
    packet = xmp(dc_subject=["sea"], lr_hierarchicalSubject=["places|Rome"])
    write(path, packet, b"" if path.suffix == ".png" else iim(b"sky", b"caf\xe9"))


def keywords(path: Path) -> None:
    """Keywords are never a reason to stop: damage is told in lines beside them."""
    found, damaged = read_keywords(Photograph(path.name, path, ()))
    assert all(isinstance(level, str) for keyword in found for level in keyword)
    assert all(len(line.splitlines()) == 1 for line in damaged)


def sidecar(path: Path) -> None:
    found, damaged = read_keywords(Photograph("absent.jpg", path.with_name("absent.jpg"), (path,)))
    assert all(isinstance(level, str) for keyword in found for level in keyword)
    assert all(len(line.splitlines()) == 1 for line in damaged)


def neighbourhoods(folder: Path) -> None:
    for _ in records.read_neighbourhoods(folder, "test", 2):
        pass


def write_neighbourhoods(folder: Path) -> None:
    numbers = np.arange(6).reshape(3, 2)
    records.write_neighbourhoods(folder, "test", np.arange(3), numbers, numbers / 7)


NUS_WIDE = {
    "ImageList/Imagelist.txt": "all",
    "ImageList/TestImagelist.txt": "all",
    "ConceptsList/Concepts81.txt": "all",
    "Groundtruth/AllLabels/Labels_lake.txt": "all",
    "Groundtruth/TrainTestLabels/Labels_lake_Train.txt": "all",
    "NUS_WID_Tags/All_Tags.txt": "all",
    "NUS_WID_Tags/Final_Tag_List.txt": "final",
    "NUS_WID_Tags/AllTags1k.txt": "1k",
    "NUS_WID_Tags/TagList1k.txt": "1k",
}
READERS = {
    "table-csv": reader("t.csv", table, as_written(CSV)),
    "table-jsonl": reader("t.jsonl", table, as_written(JSONL)),
    "table-parquet": reader(
        "t.parquet", table, lambda path: pd.DataFrame(ROWS).to_parquet(path, index=False)
    ),
    "manifest": reader("manifest.jsonl", manifest.load, as_written(JSONL)),
    **{
        f"features-{ending}": reader(f"f.{ending}", all_features, write_features)
        for ending in ("npy", "npz", "h5")
    },
    **{
        f"nus-wide-{Path(file).stem}": Reader(
            file, lambda folder, tag_set=tag_set: nus_wide.read(folder, tag_set), write_raw
        )
        for file, tag_set in NUS_WIDE.items()
    },
    "nus-wide-ids": reader(
        "ids.txt",
        lambda path: nus_wide.read(path.parent, ids=path),
        lambda path: (write_raw(path.parent), path.write_text("11\n22\n" + IMAGES[4])),
    ),
    **{
        f"mirflickr-{name}": Reader(f"tags_and_labels/{name}.txt", mirflickr.read, write_lists)
        for name in ("all_imgs", "all_tags", "all_labels")
    },
    "mirflickr-tags": Reader("mirflickr/meta/tags/tags1.txt", mirflickr.read, write_published),
    "mirflickr-labels": Reader(
        "mirflickr25k_annotations_v080/sea.txt", mirflickr.read, write_published
    ),
    **{
        f"vectors-{name}": reader(name, read_vectors, write_vectors)
        for name in ("v.txt", "v.bin", "glove.txt", "v.txt.gz", "v.bin.gz")
    },
    "wordnet": Reader("data.noun", read_graph, write_wordnet),
    "weights-pth": reader("w.pth", read_torch_weights, write_torch),
    **{
        f"weights-{name}": reader(name, read_caffe_weights, write_caffe)
        for name in ("w.npz", "new.caffemodel", "old.caffemodel")
    },
    **{
        f"photograph-{ending}": reader(f"p.{ending}", read_image, write_photograph)
        for ending in ("jpg", "png", "tif", "webp")
    },
    **{
        f"keywords-{ending}": reader(f"p.{ending}", keywords, write_photograph)
        for ending in ("jpg", "png", "tif", "webp")
    },
    "sidecar": reader(
        "p.xmp", sidecar, as_written(xmp(dc_subject=["sea"], digiKam_TagsList=["a/b"]))
    ),
    "records-images": Reader(
        "images-00001-of-00004.tfrecord",
        lambda folder: records.read_images(folder, 10, 3),
        write_shards,
    ),
    "records-neighbourhoods": Reader(
        "test-00000-of-00001.tfrecord", neighbourhoods, write_neighbourhoods
    ),
    "checksums": reader(
        "checksums.sha256",
        lambda path: read_checksums(path.parent),
        as_written(b"0" * 64 + b"  a b.txt\n"),
    ),
    "vocabulary": reader("vocabulary.txt", Vocabulary.load, as_written(b"sea\nsky\nnew_york\n")),
    "embedding": reader(
        "e.npz",
        lambda path: Embedding.load(path, 3),
        lambda path: Embedding(np.eye(3, 2, dtype=np.float32), np.ones(3, bool)).save(path),
    ),
    "json": reader(
        "dataset.json", read_json, as_written(json.dumps({"rows": ROWS, "n": 1e9}).encode())
    ),
}


@dataclasses.dataclass
class TrialResult:
    """What came of one reader's inputs.

    Attributes:
        accepted, refused: inputs that were read, and that were refused with a line.
        wrong: what was neither, each with its bytes.
        megabytes: by how much the inputs made the process larger than it ever was.
    """

    accepted: int = 0
    refused: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    megabytes: float = 0.0


class TooLong(BaseException):
    """An input takes more than its time; unlike an `Exception` no reader takes it for damage."""


def try_out(reader: Reader, folder: Path, number: int) -> TrialResult:
    """Gives a reader `number` files in an empty folder, the same ones every time."""
    folder.mkdir(exist_ok=True)
    reader.make(folder)
    reader.read(folder)
    path = folder / reader.file
    whole, rng = path.read_bytes(), random.Random(reader.file)
    found, before = TrialResult(), peak()
    with warnings.catch_warnings(), timed() as restart:
        warnings.simplefilter("error")
        for _ in range(number):
            content = changed(whole, rng)
            path.write_bytes(content)
            restart()
            try:
                reader.read(folder)
                found.accepted += 1
            except InputError as error:
                found.refused += 1
                if len(str(error).splitlines()) != 1:
                    found.wrong.append(str(error))
            except (Exception, TooLong) as error:
                found.wrong.append(f"{type(error).__name__}: {error}; of {content!r}")
    found.megabytes = peak() - before
    return found


def changed(whole: bytes, rng: random.Random) -> bytes:
    """A file with a few changes, or now and then bytes that nobody wrote."""
    if rng.randrange(10) == 0:
        return rng.randbytes(rng.randint(0, 200))
    content = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(content))
        removed = rng.choice((0, 1, 1, 1, 4, len(content)))
        few = rng.randbytes(rng.randint(0, 4))
        content[at : at + removed] = rng.choice((few, rng.choice(HOSTILE)))
    return bytes(content)


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def timed() -> Iterator[Callable[[], object]]:
    """Raises `TooLong` once `LONG` seconds of a processor are over; gives what restarts it."""

    def over(*_: Any) -> None:
        raise TooLong(f"{LONG:g} seconds")

    previous = signal.signal(signal.SIGPROF, over)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, LONG)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
