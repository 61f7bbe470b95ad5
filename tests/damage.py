"""Damage to an artefact on disk, and what is made of it."""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import conftest  # and with it tagnet, before TensorFlow reads how much it shall log
import numpy as np
import tensorflow as tf

from data_tools.stages import MARKS
from tagnet.data.cache import CACHE
from tagnet.errors import HINT_PREPARE, InputError
from tagnet.serving import export
from tagnet.system.checksums import HINT_RERUN

KINDS = ("missing", "empty", "cut off", "a bit flipped", "of another set", "older format")
OUTCOMES = ("detected", "mended", "harmless", "wrong")
CURES = (
    HINT_PREPARE,
    HINT_RERUN,
    export.HINT_PREPARE,
    "make one with python -m data_tools.prepare",
)
CURES += ("must be a finished run or a SavedModel of one", "choose another --out or remove")
CURES += ("was the data set prepared?", "must hold a finished run")
CURES += ("choose another file",)


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to damage a file.

    Attributes:
        kind: one of `KINDS`.
        content: what then stands in it; None where it is gone.
    """

    kind: str
    content: bytes | None


@dataclasses.dataclass(frozen=True)
class Subject:
    """A folder, and how it is read.

    Attributes:
        name: what the table calls it.
        folder: with all artefacts whole.
        other: the folder of another data set, of the same sizes.
        files: the artefacts, relative to the folder.
        answer: reads the folder: all that depends on its artefacts, or an `InputError`. It may
            make them again, and returns how they are then.
        older: for artefacts that tell their format, what an older one held.
    """

    name: str
    folder: Path
    other: Path
    files: Sequence[str]
    answer: Callable[[Path], Any]
    older: dict[str, Callable[[bytes], bytes]] = dataclasses.field(default_factory=dict)

    def cases(self, file: str, cuts: int, flips: int) -> Iterator[Case]:
        """All ways to damage a file, at so many places; the places depend on its name alone."""
        whole = (self.folder / file).read_bytes()
        rng = np.random.default_rng(list(hashlib.sha256(file.encode()).digest()))
        yield Case("missing", None)
        yield Case("empty", b"")
        for place in rng.integers(1, max(2, len(whole)), cuts).tolist():
            yield Case("cut off", whole[:place])
        for place in rng.integers(0, 8 * len(whole), flips).tolist():
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            yield Case("a bit flipped", bytes(flipped))
        theirs = self.other / file
        if theirs.exists() and theirs.read_bytes() != whole:
            yield Case("of another set", theirs.read_bytes())
        if file in self.older:
            yield Case("older format", self.older[file](whole))

    def expected(self) -> Any:
        """The answer of whole artefacts."""
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
            return self.answer(Path(shutil.copytree(self.folder, Path(place) / self.folder.name)))

    def outcome(self, file: str, case: Case, expected: Any) -> tuple[str, str]:
        """One of `OUTCOMES`, and what was said or answered; the folder is left as it was."""
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copytree(self.folder, Path(place) / self.folder.name))
            path = copy / file
            times = path.stat()
            if case.content is None:
                path.unlink()
            else:
                path.write_bytes(case.content)
                # A disk that errs leaves the time of a file as it is.
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    found = self.answer(copy)
            except InputError as error:
                line = str(error)
                some = f"{path.name.partition('-')[0]}-*{path.suffix}"  # where none of them is left
                named = path.name in line or some in line
                cured = any(cure in line for cure in CURES)
                clear = named and cured and len(line.splitlines()) == 1
                return ("detected" if clear else "wrong"), line
            if found != expected:
                return "wrong", f"another answer: {differing(expected, found)}"
            again = path.exists() and path.read_bytes() == (self.folder / file).read_bytes()
            if again and case.content != path.read_bytes():
                return "mended", said.getvalue()
            return "harmless", ""


def differing(one: Any, two: Any) -> str:
    """Where two answers differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        return ", ".join(sorted(k for k in one.keys() | two.keys() if one.get(k) != two.get(k)))
    return f"{one!r} and {two!r}"


def digest(value: Any) -> str:
    """Tells values apart to the bit: arrays, tensors, and what JSON can hold."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, tf.Tensor | tf.Variable):
            part = part.numpy()
        if isinstance(part, np.ndarray) and part.dtype != object:
            found.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        elif isinstance(part, dict):
            for name in sorted(part):
                found.update(str(name).encode())
                add(part[name])
        elif isinstance(part, list | tuple | np.ndarray):
            found.update(str(len(part)).encode())
            for one in part:
                add(one)
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file below a folder."""
    return {file: digest(content) for file, content in conftest.contents(folder).items()}


def artefact(file: str) -> str:
    """What the table calls a file: shards and parts of one kind together."""
    path = Path(file)
    if path.parts[0] in ("neighbours", "packed"):
        return f"{path.parts[0]}/…tfrecord"
    if path.name.startswith("images-"):
        return "images-…tfrecord"
    if path.parts[0] == CACHE:
        stem, _, ending = path.name.partition("-")
        return f"{CACHE}/{stem}-….{ending.partition('.')[2]}"
    if path.parts[0] == "tensorboard":
        return "tensorboard/…"
    if path.parts[:2] == (MARKS, "photographs"):
        return f"{MARKS}/photographs/….{path.name.partition('.')[2]}"
    if path.parts[0] == MARKS:
        return f"{MARKS}/….json"
    if "conditions" in path.parts:
        return "ROW/conditions/….json"
    return file.replace(".data-00000-of-00001", ".data-…")
