"""Checksums of artefacts: written when a directory is prepared, compared when it is audited."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tagnet.files import InputError, read_text, write_text

CHECKSUMS = "checksums.sha256"  # lines as `sha256sum --check` reads them
READ_BYTES = 2**22


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(directory: Path, files: Iterable[str]) -> None:
    """Writes the checksums of `files`, which are named relative to `directory`."""
    lines = [f"{sha256(directory / file)}  {file}\n" for file in sorted(files)]
    write_text(directory / CHECKSUMS, "".join(lines))


def read_checksums(directory: Path) -> dict[str, str]:
    """Reads what `write_checksums` wrote: for each file its checksum.

    Raises:
        InputError: a line is not a checksum, two blanks and a name.
    """
    sums = {}
    for number, line in enumerate(read_text(directory / CHECKSUMS).split("\n"), 1):
        if line and not re.fullmatch(r"[0-9a-f]{64}  .+", line):
            raise InputError(
                f"{directory / CHECKSUMS}: line {number} must be a SHA-256, two blanks and a "
                f"file's name; received {line!r}"
            )
        if line:
            digest, file = line.split("  ", 1)
            sums[file] = digest
    return sums
