"""Reads files of word vectors, keeping only the wanted words.

Formats: word2vec, binary or text, which begins with the number of words and the dimension
(fastText's `.vec` is that text); GloVe's text, which begins with the first word; plain, or
packed by gzip or bzip2, or in a zip (see `packed`). A file is read once from beginning to end, and
only what was wanted stays in memory; a reader of whole files needs 3.6 GB for GoogleNews'
3,000,000 words.

The last n fields of a line are its vector, so a word may hold blanks. Published files have lines
that are something else; they are counted and left out. See `binary_words` for words with blanks in
binary files.
"""

import bz2
import contextlib
import gzip
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from data_tools import packed
from data_tools.vectors.binary_words import binary_rows
from tagnet.errors import InputError
from tagnet.system.console import counted, progress, say

LINE_BYTES = 2**20  # of a line of text; generous
SAMPLE = 50  # first lines, most of which have as many numbers as all
BOM = b"\xef\xbb\xbf"
FEWER = 1  # words than line 1 says, with which a file is still taken to be whole

Rows = Iterator[tuple[bytes, bytes]]  # words, and their numbers as they are in the file

# What files begin with that hold vectors in forms that are not read.
OTHERS = {
    b"\xba\x16\x4f\x2f": (
        "is a fastText model (.bin); save its words as text: fasttext.load_model(FILE), then "
        "one line `word numbers` for each of get_words(), or download the .vec file"
    ),
    b"\x80": (
        "is a pickle such as gensim's .kv, which is never opened; save it with "
        "KeyedVectors.load(FILE).save_word2vec_format('vectors.bin', binary=True)"
    ),
    b"\x93NUMPY": "is an array without words; save words and vectors in word2vec format",
    b"\x89HDF": "is HDF5; save words and vectors in word2vec format",
}


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
        InputError: the file is missing, cut off or something else, or the vector of a
            wanted word is not finite.
    """
    vectors: dict[str, np.ndarray] = {}
    odd = _Odd()
    try:
        with _opened(path) as file:
            dim, is_text, rows = _open(file, path, odd)
            for name, field in progress(rows, path.name):
                word = name.decode(errors="replace")
                if word in vectors or not wanted(word):
                    continue
                vector = _parse(field, dim) if is_text else np.frombuffer(field, "<f4")
                if vector is None:
                    odd.add(name + b" " + field)
                    odd.yielded += 1
                elif not np.isfinite(vector).all():
                    raise InputError(
                        f"{path}: vectors must be finite; that of {word!r} has NaN or infinity"
                    )
                else:
                    vectors[word] = vector
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if odd.count:
        say(
            f"{path.name}: {counted(odd.count, 'line')} ignored that are not a word and {dim} "
            f"numbers; the first: {odd.first[:40]!r}"
        )
    table = np.array(list(vectors.values()), np.float32).reshape(len(vectors), dim)
    return WordTable(tuple(vectors), table)


@dataclass
class _Odd:
    """The lines of a file that are no word and its vector; some are yielded before it is seen."""

    count: int = 0
    yielded: int = 0
    first: bytes = b""

    def add(self, line: bytes) -> None:
        self.first = self.first if self.count else line
        self.count += 1


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, unpacked where it is packed, whatever its name."""
    with packed.opened(path) as plain:
        start = plain.read(6)
        plain.seek(0)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(plain) as file:
                yield cast(BinaryIO, file)
        elif start[:3] == b"BZh":
            with bz2.open(plain) as file:
                yield cast(BinaryIO, file)
        else:
            for magic, what in OTHERS.items():
                if start.startswith(magic):
                    raise InputError(f"{path}: {what}")
            yield plain


def _open(file: BinaryIO, path: Path, odd: _Odd) -> tuple[int, bool, Rows]:
    """Detects the format; returns the dimension, whether it is text, and the rows."""
    first = file.readline(LINE_BYTES)
    fields = first.removeprefix(BOM).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        lines = [first.removeprefix(BOM), *islice(_lines(file), SAMPLE - 1)]
        (dim, _), *_ = Counter(len(line.split()) - 1 for line in lines).most_common(1)
        if not any(_is_text_row(line, dim) for line in lines):
            raise InputError(
                f"{path}: must begin with the number of words and the dimension (word2vec, "
                f"fastText) or with a word and its numbers (GloVe); received {first[:40]!r}"
            )
        return dim, True, _text_rows(chain(lines, _lines(file)), path, dim, odd)
    count, dim = map(int, fields)
    if count < 1 or dim < 1:
        raise InputError(
            f"{path}: must have a word and at least one number per line; received {first!r}"
        )
    bytes_there = _size(file)
    if bytes_there is not None and count * dim * 2 > bytes_there:  # a number has two bytes
        raise InputError(
            f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers, more than "
            f"{bytes_there} bytes hold; was the file cut off?"
        )
    start = file.tell()
    is_text = any(_is_text_row(line, dim) for line in islice(_lines(file), 3))
    file.seek(start)
    if is_text:
        return dim, True, _counted(_text_rows(_lines(file), path, dim, odd), path, count, odd)
    return dim, False, binary_rows(file, path, count, dim)


def _size(file: BinaryIO) -> int | None:
    """The bytes of a file; None if it is packed."""
    if isinstance(file, gzip.GzipFile | bz2.BZ2File | zipfile.ZipExtFile):
        return None
    return os.fstat(file.fileno()).st_size


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines; one that is too long for text comes in pieces."""
    while line := file.readline(LINE_BYTES):
        yield line


def _is_text_row(line: bytes, dim: int) -> bool:
    """Whether the last `dim` fields of a line, one at least, are numbers and a word is before."""
    fields = line.rsplit(None, dim) if dim > 0 else []
    if len(fields) < dim or line[:1].isspace() < len(fields) == dim:
        return False
    try:
        return dim > 0 and len([float(field) for field in fields[-dim:]]) == dim
    except ValueError:
        return False


def _parse(field: bytes, dim: int) -> np.ndarray | None:
    """The numbers of a line; None if they are not `dim` numbers."""
    try:
        numbers = [float(number) for number in field.split()]
    except ValueError:
        return None
    if len(numbers) != dim:
        return None
    with np.errstate(over="ignore"):  # what is not finite is refused
        return np.array(numbers, np.float32)


def _text_rows(lines: Iterator[bytes], path: Path, dim: int, odd: _Odd) -> Rows:
    """Words and what should be their `dim` numbers, of which only the wanted ones are parsed."""
    good = 0
    for line in lines:
        word, _, field = line.rstrip().partition(b" ")
        if word and field.count(b" ") == dim - 1:  # nearly all lines
            good += 1
            yield word, field
        elif len(fields := line.rstrip().rsplit(None, dim)) == dim + 1:
            good += 1
            yield fields[0], b" ".join(fields[1:])
        elif line.strip():  # also of a word that is white space alone, which no tag is
            odd.add(line)
            if not line.endswith(b"\n"):
                raise InputError(
                    f"{path}: the last line must be a word and {dim} numbers; received "
                    f"{line[:40]!r}; was the file cut off?"
                )
    if odd.count > good:
        raise InputError(
            f"{path}: a line must be a word and {dim} numbers; {odd.count:,} of "
            f"{odd.count + good:,} are not, the first is {odd.first[:40]!r}"
        )


def _counted(rows: Rows, path: Path, count: int, odd: _Odd) -> Rows:
    """The rows, whose number line 1 says."""
    found = 0
    for row in rows:
        found += 1
        yield row
    found += odd.count - odd.yielded
    if found == count:
        return
    line = f"line 1 says {counted(count, 'word')}; received {found:,}"
    if found < count - FEWER:
        raise InputError(f"{path}: {line}; was the file cut off?")
    say(f"{path.name}: {line}, all of which are used")
