"""Reads files of word vectors, keeping only the wanted words.

Formats: word2vec, binary or text, which begins with the number of words and the dimension
(fastText's `.vec` is that text); GloVe's text, which begins with the first word. gzip where
the name ends in `.gz`. A file is read once from beginning to end, and only what was wanted
stays in memory; a reader of whole files needs 3.6 GB for GoogleNews' 3,000,000 words.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tagnet.errors import InputError
from tagnet.system.console import counted, progress

READ_BYTES = 2**22
LINE_BYTES = 2**20  # of a line of text, or of a word; generous

Rows = Iterator[tuple[bytes, bytes]]  # words, and their numbers as they stand in the file


@dataclass(frozen=True, eq=False)
class WordTable:
    """Words with their vectors.

    Attributes:
        words: V words in the order of their source, as a rule the most frequent first.
        vectors: float32 [V, n].
    """

    words: tuple[str, ...]
    vectors: np.ndarray


def read_vectors(path: Path, wanted: Callable[[str], bool] = lambda word: True) -> WordTable:
    """Reads the vectors of the wanted words.

    Args:
        path: the file.
        wanted: whether a word's vector is kept.

    Returns:
        The words in the order of the file; of a word that occurs twice the first one.

    Raises:
        InputError: the file is missing, cut off or something else.
    """
    vectors: dict[str, np.ndarray] = {}
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as opened:
            dim, is_text, rows = _open(cast(BinaryIO, opened), path)
            for name, field in progress(rows, path.name):
                word = name.decode(errors="replace")
                if word not in vectors and wanted(word):
                    vectors[word] = (
                        _parse(field, word, dim, path) if is_text else np.frombuffer(field, "<f4")
                    )
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    table = np.array(list(vectors.values()), np.float32).reshape(len(vectors), dim)
    return WordTable(tuple(vectors), table)


def _open(file: BinaryIO, path: Path) -> tuple[int, bool, Rows]:
    """Detects the format; returns the dimension, whether it is text, and the rows."""
    first = file.readline(LINE_BYTES)
    fields = first.split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        dim = len(fields) - 1
        if not _is_text_row(first, dim):
            raise InputError(
                f"{path}: must begin with the number of words and the dimension (word2vec, "
                f"fastText) or with a word and its numbers (GloVe); received {first[:40]!r}"
            )
        file.seek(0)
        return dim, True, _glove_rows(file, path, dim)
    count, dim = map(int, fields)
    if count < 1 or dim < 1:
        raise InputError(
            f"{path}: must have a word and at least one number per line; received {first!r}"
        )
    if path.suffix != ".gz" and count * dim * 2 > path.stat().st_size:  # a number has two bytes
        raise InputError(
            f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers, more than "
            f"{path.stat().st_size} bytes hold; was the file cut off?"
        )
    start = file.tell()
    is_text = _is_text_row(file.readline(LINE_BYTES), dim)
    file.seek(start)
    return dim, is_text, (_text_rows if is_text else _binary_rows)(file, path, count, dim)


def _is_text_row(line: bytes, dim: int) -> bool:
    """Whether a line is a word and `dim` numbers, one at least."""
    fields = line.split()
    try:
        return len([float(field) for field in fields[1:]]) == dim > 0
    except ValueError:
        return False


def _parse(field: bytes, word: str, dim: int, path: Path) -> np.ndarray:
    try:
        numbers = [float(number) for number in field.split()]
    except ValueError as error:
        raise InputError(f"{path}: the vector of {word!r} must be numbers ({error})") from error
    if len(numbers) != dim:  # two of them with a tab in between
        raise InputError(
            f"{path}: the vector of {word!r} must be {dim} numbers; received {len(numbers)}"
        )
    with np.errstate(over="ignore"):  # whoever uses the vectors refuses what is not finite
        return np.array(numbers, np.float32)


def _glove_rows(file: BinaryIO, path: Path, dim: int) -> Rows:
    for number, line in enumerate(file, 1):
        fields = line.rstrip().rsplit(b" ", dim)  # a word may hold blanks
        if len(fields) != dim + 1:
            raise _bad_line(path, number, dim, line)
        yield fields[0], b" ".join(fields[1:])


def _text_rows(file: BinaryIO, path: Path, count: int, dim: int) -> Rows:
    number = 1
    for number, line in enumerate(file, 2):
        word, _, field = line.strip().partition(b" ")
        if field.count(b" ") != dim - 1 and len(field.split()) != dim:
            raise _bad_line(path, number, dim, line)
        yield word, field
    if number != count + 1:
        raise InputError(
            f"{path}: line 1 says {counted(count, 'word')}; received {number - 1}; "
            "was the file cut off?"
        )


def _bad_line(path: Path, number: int, dim: int, line: bytes) -> InputError:
    return InputError(
        f"{path}: line {number} must be a word and {dim} numbers; received {line[:40]!r}"
    )


def _binary_rows(file: BinaryIO, path: Path, count: int, dim: int) -> Rows:
    """Reads a word, a space, `dim` float32, in some files a line feed, and so on."""
    buffer, start = b"", 0
    for number in range(1, count + 1):
        blank = buffer.find(b" ", start)
        while blank < 0 or len(buffer) < blank + 1 + 4 * dim:
            more = file.read(READ_BYTES)
            if not more or (blank < 0 and len(buffer) - start > LINE_BYTES):
                raise InputError(
                    f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers; the file "
                    f"ends in word {number}; was it cut off?"
                )
            buffer, start = buffer[start:] + more, 0
            blank = buffer.find(b" ")
        end = blank + 1 + 4 * dim
        yield buffer[start:blank].lstrip(b"\n"), buffer[blank + 1 : end]
        start = end
    if (buffer[start:] + file.read(READ_BYTES)).strip():
        raise InputError(
            f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers; the file has more"
        )
