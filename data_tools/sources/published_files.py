"""The files of a published data set, in folders or in the zips they were published in."""

import codecs
import contextlib
import functools
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from tagnet.data.tags import normalise
from tagnet.errors import InputError, reason_of


@dataclass(frozen=True)
class Collection:
    """The images of a published data set.

    Attributes:
        manifest: those that are used, see `data_tools.sources.manifest`.
        left_out: for each other image its image_id and the reason.
        orders: for each number of rows that a feature matrix may have, the rows of
            the images that are used, or None; see `data_tools.sources.image_features.from_file`.
    """

    manifest: pd.DataFrame
    left_out: list[tuple[str, str]]
    orders: Mapping[int, np.ndarray | None]


def lacking(tags: Sequence[str], labels: Sequence[str]) -> str | None:
    """Why an image cannot be used (no tags, no labels); None if it can.

    >>> lacking([" "], []), lacking(["sky"], ["sea"])
    ('no label and no tags', None)
    """
    lacks = [] if labels else ["no label"]
    if not any(map(normalise, tags)):
        lacks.append("no tags")
    return " and ".join(lacks) or None


@dataclass(frozen=True)
class Original:
    """One file.

    Attributes:
        path: the file, or the zip that holds it.
        member: its name in the zip.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def read(self) -> bytes:
        """All of it; raises `InputError` where it cannot be read."""
        with self._opened() as file:
            return file.read()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yields (number from 1, line without white space at its ends); blank lines are skipped.

        Raises:
            InputError: the file cannot be read.
        """
        with self._opened() as file:
            for number, line in enumerate(file, 1):
                if stripped := line.removeprefix(codecs.BOM_UTF8).strip():
                    yield number, stripped

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            if self.member is None:
                with open(self.path, "rb") as file:
                    yield file
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
                    yield member
        except OSError as error:
            raise InputError(f"{self}: cannot be read ({error.strerror or error})") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            reason = reason_of(error)  # RuntimeError: it is encrypted
            raise InputError(f"{self}: is damaged or encrypted ({reason})") from error


def find(raw: Path, folder: str, name: str) -> Original | None:
    """The file `name` of the part `folder`: in raw/folder, in raw itself, or in raw/folder.zip."""
    for path in (raw / folder / name, raw / name):
        if os.path.isfile(path):  # which, unlike a Path, also answers for a name that cannot be
            return Original(path)
    archive = raw / f"{folder}.zip"
    if not archive.is_file():
        return None
    for member in (name, f"{folder}/{name}"):
        if member in _members(archive, archive.stat().st_mtime_ns):
            return Original(archive, member)
    return None


def need(raw: Path, folder: str, name: str) -> Original:
    """As `find`, where the file must be there.

    Raises:
        InputError: it is not; the line says where it was looked for.
    """
    if (original := find(raw, folder, name)) is None:
        raise InputError(f"{raw}: has no {folder}/{name}, neither in a folder nor in {folder}.zip")
    return original


@functools.lru_cache(maxsize=8)
def _members(archive: Path, mtime_ns: int) -> frozenset[str]:
    """The names in a zip; its time is an argument so that a changed one is read again."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return frozenset(opened.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: is not a valid zip file ({error})") from error


def decode(text: bytes) -> str:
    """UTF-8, or Latin-1 where it is not: tags of old collections come in both."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
