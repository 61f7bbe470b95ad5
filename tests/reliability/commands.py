"""The commands of the project, where each begins, and how what it made is compared.

All work in one folder, by relative paths: what one has made is there for the next.
"""

import csv
import dataclasses
import fnmatch
import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import conftest  # noqa: F401  # and with it tagnet, which keeps TensorFlow quiet
import h5py
import numpy as np
from helpers.graphs import TINY
from helpers.photographs import write, xmp
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from data_tools import prepare  # noqa: F401  # forks have them loaded
from data_tools.sources import image_features
from experiments.annotation import batch  # noqa: F401
from tagnet.backbones import catalogue, features
from tagnet.system.files import TEMPORARY

ROW = "ltn-n_id-m12-M24"
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")
SMALL = ("--hidden=4", "--max_epochs=2")
# TensorBoard gets a file at every start, costs are seconds, and the fingerprint and the journal
# have times in them. A lock says who works, not what was made. What is unfinished in a cache
# another process may be writing.
LEFT_OUT = (
    *("*/tensorboard/*", "*/costs.csv", "*/fingerprint.pb", "*.journal", "*.lock"),
    f"*/cache/{TEMPORARY}*",
)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, and what it meets.

    Attributes:
        name: what tables call it.
        module: what `python -m` is given.
        flags: its flags and arguments, relative to the folder that it works in.
        after: the command whose folder it begins in; `inputs` is a folder with nothing but
            photographs and word vectors.
        without: patterns of the files that are removed from it first.
        reads: patterns of files that are compared with checksums when they are read.
        trusts: patterns of files that are read without; no bits are flipped in them.
        writes: whether it is killed, and tried on full disks.
        shared: whether several may be started at once in one folder.
        close: patterns of files whose numbers may differ in their last digits.
    """

    name: str
    module: str
    flags: tuple[str, ...]
    after: str = "inputs"
    without: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    writes: bool = True
    shared: bool = True
    close: tuple[str, ...] = ()


PREPARE = Command(
    "prepare",
    "data_tools.prepare",
    (
        *("--source=photo_folder", "--raw=photos", "--backbone=tiny", "--out=data"),
        *("--word_vectors=vectors.txt", "--splits=2", "--pools=open", "--M=6"),
    ),
)
RUN = Command(
    "run",
    "experiments.run",
    ("--arch=v_only", "--data=data", "--placement=mmap", *SMALL, "--out=run"),
    after="prepare",
)
RUN_WITH_TAGS = Command(
    "run with tags",
    "experiments.run",
    ("--arch=ltwin", "--data=data", *SMALL, "--out=run"),
    after="prepare",
    reads=(
        *("data/dataset.json", "data/checksums.sha256", "data/vocabulary.txt", "data/labels.txt"),
        *("data/embeddings/w2v.npz", "data/images-*", "data/splits/split-0.npz"),
        "data/neighbours/split-0/id-open/*",
    ),
    writes=False,  # nothing that `run` does not write
)
SWEEP = Command(
    "sweep",
    "experiments.sweep",
    ("--data=data", "--tables=2", f"--only={ROW}", *SMALL, "--out=sweep"),
    after="prepare",
)
SEARCH = Command(
    "search",
    "experiments.search",
    (
        *("--data=data", "--arch=ltn", "--what=dropout", "--trials=2", "--splits=0"),
        *(*SMALL, "--out=search"),
    ),
    after="prepare",
)
ROBUSTNESS = Command(
    "robustness",
    "experiments.robustness",
    ("--data=data", "--curve=wrong_tags", f"--only={ROW}", "--splits=0", *SMALL, "--out=sweep"),
    after="sweep",
    reads=(f"sweep/{ROW}-split0/checkpoints/best.weights.h5",),
)
ANNOTATE = Command(
    "annotate",
    "experiments.annotate",
    (
        *("--model=run", "--jsonl=answers/a.jsonl", "--csv=answers/a.csv", "--xmp"),
        *("--html=answers/page.html", "new"),
    ),
    after="run",
    reads=("run/saved_model/*",),
    shared=False,
    close=("answers/*",),
)
COMMANDS = {
    command.name: command
    for command in (
        PREPARE,
        dataclasses.replace(
            PREPARE,
            name="prepare again",
            after="prepare",
            reads=("data/[!.]*",),
            trusts=("data/.stages/*.json",),
            writes=False,
        ),
        dataclasses.replace(
            PREPARE,
            name="prepare after a stop",
            after="prepare",
            without=("data/[!.]*", "data/.stages/*.json"),
            trusts=("data/.stages/photographs/*.npz",),
            writes=False,
        ),
        RUN,
        dataclasses.replace(
            RUN,
            name="run after a stop",
            after="run",
            without=(
                *("run/saved_model", "run/metrics.json", "run/checksums.sha256"),
                *("run/predictions.npz", "run/history.csv"),
            ),
            reads=("run/config.json", "run/checkpoints/*"),
        ),
        dataclasses.replace(
            RUN,
            name="run with cached tables",
            after="run",
            without=("run",),
            trusts=("data/cache/*.np[yz]",),
            writes=False,
        ),
        RUN_WITH_TAGS,
        SWEEP,
        SEARCH,
        dataclasses.replace(
            SEARCH,
            name="search without its journal",
            after="search",
            without=("search/*.journal",),
            reads=("search/*/config.json", "search/*/validation.json", "search/*/checksums.sha256"),
            writes=False,
        ),
        ROBUSTNESS,
        dataclasses.replace(
            ROBUSTNESS,
            name="robustness again",
            after="robustness",
            reads=(),
            trusts=(f"sweep/{ROW}-split0/conditions/*",),
            writes=False,
        ),
        Command("report", "experiments.report", ("sweep",), after="sweep"),
        Command(
            "report of a run",
            "experiments.report",
            ("run",),
            after="run",
            reads=(
                *("run/config.json", "run/metrics.json", "run/history.csv"),
                *("run/predictions.npz", "run/checksums.sha256"),
            ),
            writes=False,
        ),
        ANNOTATE,
        dataclasses.replace(
            ANNOTATE,
            name="annotate after a stop",
            after="annotate",
            reads=(),
            trusts=("answers/a.jsonl",),
            writes=False,
        ),
    )
}


def make_small() -> None:
    """Gives this process a backbone without a CNN, and chunks of few photographs."""
    features.BACKBONES["tiny"] = TINY
    catalogue.BACKBONE_NAMES = (*catalogue.BACKBONE_NAMES, "tiny")
    batch.CHUNK = image_features.CHUNK = 16


def write_inputs(folder: Path) -> None:
    """Writes what the first command begins with, and photographs to annotate."""
    rng = np.random.default_rng(0)
    words = ("sea", "sky", "sand", "dog", "cat", "tree")
    for number in range(72):
        label = number % 3
        # Two words and a colour belong to each label; every ninth photograph has no words.
        own = [words[2 * label + number // 3 % 2], words[rng.integers(len(words))]]
        keywords = xmp(dc_subject=[] if number % 9 == 8 else sorted(set(own)))
        colour = tuple(rng.integers(0, 120, 3) + 120 * (np.arange(3) == label))
        place = f"photos/{'abc'[label]}" if number < 48 else "new"
        write(folder / place / f"{number}.png", keywords, colour=tuple(map(int, colour)))
    lines = [f"{word} {' '.join(map(str, rng.normal(size=5).round(3)))}" for word in words]
    (folder / "vectors.txt").write_text("\n".join([f"{len(words)} 5", *lines, ""]))


def files(folder: Path, *patterns: str) -> list[str]:
    """The files below a folder, by their paths in it, that fit one of the patterns."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if any(fnmatch.fnmatch(path, one) for one in patterns))


def contents(folder: Path, command: Command) -> dict[str, str]:
    """What every file below a folder tells, without how long it took; to compare by `same`."""
    left_out = set(files(folder, *LEFT_OUT))
    close = set(files(folder, *command.close))
    return {
        file: told(folder / file, file in close)
        for file in files(folder, "*")
        if file not in left_out
    }


def same(one: str | None, other: str | None) -> bool:
    """Whether two files tell the same, up to the last digit of numbers with 4 decimals."""
    if one is None or other is None or NUMBER.sub("", one) != NUMBER.sub("", other):
        return False
    numbers = (np.array(NUMBER.findall(text), float) for text in (one, other))
    return np.allclose(*numbers, rtol=0, atol=1.1e-4)


def told(path: Path, close: bool) -> str:
    """The checksum of what a file tells, without how long it took, or its text."""
    content = path.read_bytes()
    if close:  # each line of answers has its own checksum
        return re.sub(rb', "sum": "\w+"', b"", content).decode()
    if path.suffix == ".json":
        content = repr(untimed(json.loads(content))).encode()
    elif path.name == "history.csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        content = repr([untimed(row) for row in rows]).encode()
    elif path.name == "checksums.sha256":  # of files of which some have seconds in them
        content = b"\n".join(line.partition(b"  ")[2] for line in content.splitlines())
    elif path.suffix == ".npz":
        content = repr(digests(np.load(io.BytesIO(content)))).encode()
    elif path.suffix == ".h5":
        content = repr(digests(h5py.File(io.BytesIO(content)))).encode()
    elif path.suffix == ".keras":  # it has the date in it, and numbers operations by the process
        weights = zipfile.ZipFile(io.BytesIO(content)).read("model.weights.h5")
        content = repr(digests(h5py.File(io.BytesIO(weights)))).encode()
    elif path.name == "saved_model.pb":  # TensorFlow names functions otherwise in each process
        graph = SavedModel.FromString(content).meta_graphs[0].graph_def
        nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
        content = repr(sorted(Counter(node.op for node in nodes).items())).encode()
    return hashlib.sha256(content).hexdigest()


def digests(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The checksums of named arrays, those in groups too."""
    found = {}
    for name in sorted(arrays):
        value = arrays[name]
        if isinstance(value, h5py.Group):
            found[name] = digests(value)
            continue
        array = np.asarray(value)
        if name == "history":  # JSON
            array = np.array(json.dumps(untimed(json.loads(array.item()))))
        kind = f"{array.dtype} {array.shape}"
        found[name] = hashlib.sha256(kind.encode() + array.tobytes()).hexdigest()
    return found


def untimed(value: Any) -> Any:
    """What JSON holds, without the entries that say how long something took, or when."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if not k.startswith(("seconds", "ctime"))}
    if isinstance(value, list):
        return [untimed(one) for one in value]
    return value
