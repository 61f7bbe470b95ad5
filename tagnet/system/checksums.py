"""Checksums of files: written with the last of them, compared when they are read."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tagnet.errors import InputError
from tagnet.system.console import progress
from tagnet.system.files import Check, read_text, write_text

CHECKSUMS = "checksums.sha256"  # lines as `sha256sum --check` reads them
HINT_RERUN = "remove the run's folder and run it again"  # what to do about a damaged run
READ_BYTES = 2**22
WORKERS = 4  # files that are read at once


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(
    directory: Path,
    files: Iterable[str],
    last: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
    check: Check | None = None,
) -> None:
    """Writes the checksums of files.

    Args:
        directory: where they are.
        files: their names, relative to it.
        last: the texts of files that are written only after this one, by name.
        known: the checksums of others, by name.
        check: see `files.atomic_write`.
    """
    sums = {file: sha256(directory / file) for file in files} | dict(known or {})
    sums |= {file: hashlib.sha256(text.encode()).hexdigest() for file, text in (last or {}).items()}
    lines = [f"{digest}  {file}\n" for file, digest in sorted(sums.items())]
    write_text(directory / CHECKSUMS, "".join(lines), check)


def read_checksums(directory: Path) -> dict[str, str]:
    """Reads the file of `write_checksums`: checksums by file name.

    Raises:
        InputError: a line is not a checksum, two spaces and a name.
    """
    sums = {}
    for number, line in enumerate(read_text(directory / CHECKSUMS).split("\n"), 1):
        if line and not re.fullmatch(r"[0-9a-f]{64}  .+", line):
            raise InputError(
                f"{directory / CHECKSUMS}: line {number} must be a SHA-256, two spaces and a "
                f"file name; received {line!r}"
            )
        if line:
            digest, file = line.split("  ", 1)
            sums[file] = digest
    return sums


def verify(directory: Path, files: Iterable[str], sums: Mapping[str, str]) -> None:
    """Compares files with their checksums.

    Args:
        directory: where they are.
        files: their names, relative to it.
        sums: what `read_checksums` read there.

    Raises:
        InputError: one has another checksum, or none.
    """
    files = list(files)

    def found(file: str) -> str:
        return sha256(directory / file) if (directory / file).is_file() else ""

    with ThreadPoolExecutor(WORKERS) as threads:
        for file, digest in progress(
            zip(files, threads.map(found, files), strict=True), "Checksums", len(files)
        ):
            compare(directory, file, digest, sums)


def verify_known(directory: Path, *files: str) -> None:
    """Verifies files that exist or are listed, if the directory has checksums."""
    if not (directory / CHECKSUMS).exists():  # it is of an earlier version
        return
    sums = read_checksums(directory)
    verify(directory, [f for f in files if f in sums or (directory / f).exists()], sums)


def compare(directory: Path, file: str, digest: str, sums: Mapping[str, str]) -> None:
    """Does the comparison of `verify` for one file whose checksum is known."""
    if file not in sums:
        raise InputError(f"{directory / CHECKSUMS}: does not name {file}")
    if digest != sums[file]:
        raise InputError(f"{directory / file}: checksum mismatch (see {CHECKSUMS})")
