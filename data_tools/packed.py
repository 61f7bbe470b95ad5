"""Files inside of zips: `FILE.zip:MEMBER` names one, `FILE.zip` the only one."""

import contextlib
import io
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tagnet.errors import InputError, reason_of

MAGIC = b"PK\x03\x04"
NAMED = re.compile(r"(.+\.zip):(.+)", re.IGNORECASE | re.DOTALL)
OF_MACOS = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$)")
SHOWN = 8  # members in an error line
_unpacked: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


def split(name: str | Path) -> tuple[Path, str | None]:
    """The file on the disk, and the member of it that is meant; None where none is named.

    >>> split("a/b.zip:c/d.csv")
    (PosixPath('a/b.zip'), 'c/d.csv')
    """
    found = NAMED.fullmatch(str(name))
    if found is None or os.path.exists(name):
        return Path(name), None
    return Path(found[1]), found[2]


def file_of(name: str | Path) -> Path:
    """The file on the disk."""
    return split(name)[0]


def shown(name: str | Path) -> str:
    """What the file is called, without folders and the zip.

    >>> shown("a/b.zip:c/d.csv"), shown("a/b.csv")
    ('d.csv', 'b.csv')
    """
    path, member = split(name)
    return path.name if member is None else PurePosixPath(member).name


def inner_name(name: str | Path) -> str:
    """As `shown`; of a zip in which no member is named that of its only one.

    Raises:
        InputError: there are several, or the zip cannot be read.
    """
    path, member = split(name)
    if member is not None or path.suffix.lower() != ".zip":
        return shown(name)
    with _archive(path) as archive:
        return PurePosixPath(_chosen(archive, path, None)).name


def members(path: Path) -> list[str]:
    """The files in a zip.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _archive(path) as archive:
            return _members(archive)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextlib.contextmanager
def opened(name: str | Path) -> Iterator[BinaryIO]:
    """Opens a file, or the one in a zip, whatever that is called; it can be sought in.

    Raises:
        InputError: the zip is damaged or encrypted, or which file is meant is not in it or unclear.
        OSError: the file cannot be read.
    """
    path, member = split(name)
    if member is None:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                file.seek(0)
                yield file
                return
    with _archive(path) as archive:
        try:
            inner = archive.open(_chosen(archive, path, member))
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed otherwise
            raise InputError(f"{name}: cannot be read ({reason_of(error)})") from error
        with inner:
            yield cast(BinaryIO, inner)


def seekable(name: str | Path) -> Path | BinaryIO:
    """What a library may open: the path, or what stands in the zip, in memory."""
    if split(name)[1] is None and file_of(name).suffix.lower() != ".zip":
        return Path(name)
    with opened(name) as file:
        return io.BytesIO(file.read())


def unpacked(name: str | Path) -> Path:
    """A file with the contents of a zip's member, in a folder that goes when the process ends."""
    place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    _unpacked.append(place)
    path = Path(place.name, inner_name(name))
    with opened(name) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return path


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from error


def _members(archive: zipfile.ZipFile) -> list[str]:
    names = archive.namelist()
    return [name for name in names if not name.endswith("/") and not OF_MACOS.search(name)]


def _chosen(archive: zipfile.ZipFile, path: Path, member: str | None) -> str:
    names = _members(archive)
    if member in names:
        return member
    if member is None and len(names) == 1:
        return names[0]
    found = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "") or "none"
    if member is not None:
        raise InputError(f"{path}: must hold {member}; received {found}")
    choose = f" (choose: {path}:{names[0]}, for example)" if names else ""
    raise InputError(f"{path}: must hold one file; received {found}{choose}")
