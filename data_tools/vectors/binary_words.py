"""Words and vectors of binary word2vec files, where words may hold blanks.

An entry is a word, a blank, `dim` float32, and in files of word2vec's own program a line feed. A
word ends at the first blank, unless what follows it cannot be its vector. gensim writes words with
blanks ("new york") as they are: cut at the first one, "york " and what is before the end of
the vector become numbers, and the end of the vector becomes the beginning of the next word.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tagnet.errors import InputError
from tagnet.system.console import counted

READ_BYTES = 2**22
WORD_BYTES = 2**20  # of a word; generous
AHEAD = 1000  # bytes in which the end of a word, and of the next one, are looked for
# Squared lengths and numbers that no embedding has, and that text read as numbers does have.
LONGEST = 1e12
SMALLEST = 1e-15
REST = re.compile(rb"[^\x00-\x20\x7f]{0,1000} ")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def binary_rows(file: BinaryIO, path: Path, count: int, dim: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields each word and the bytes of its vector.

    Args:
        file: what follows line 1.
        path: for error lines.
        count: how many words line 1 says.
        dim: how many numbers.

    Raises:
        InputError: the file has fewer or more words, or an entry is no word and vector.
    """
    size = 4 * dim
    buffer, start = b"", 0
    for number in range(1, count + 1):
        blank = buffer.find(b" ", start)
        while blank < 0 or len(buffer) < blank + 1 + size + (number < count):
            more = file.read(READ_BYTES)
            if not more and 0 <= blank <= len(buffer) - 1 - size:
                break  # the next word will be missing
            if not more or (blank < 0 and len(buffer) - start > WORD_BYTES):
                raise InputError(
                    f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers; the file "
                    f"ends in word {number}; was it cut off?"
                )
            buffer, start = buffer[start:] + more, 0
            blank = buffer.find(b" ")
        while buffer[start : start + 1] == b"\n":
            start += 1
        # Asked of every word of millions: a vector seldom begins as the rest of a word would.
        if REST.match(buffer, blank + 1) or CONTROL.search(buffer, start, blank):
            while len(buffer) < start + 2 * AHEAD + size and (more := file.read(READ_BYTES)):
                buffer, start, blank = buffer[start:] + more, 0, blank - start
            blank = _end_of_word(buffer, start, dim, number == count)
            if blank < 0:
                raise InputError(
                    f"{path}: word {number} must be text, a blank and {dim} numbers; received "
                    f"{buffer[start : start + 40]!r}"
                )
        end = blank + 1 + size
        yield buffer[start:blank], buffer[blank + 1 : end]
        start = end
    if (buffer[start:] + file.read(READ_BYTES)).strip():
        raise InputError(
            f"{path}: line 1 says {counted(count, 'word')} of {dim} numbers; the file has more"
        )


def _end_of_word(buffer: bytes, start: int, dim: int, is_last: bool) -> int:
    """The blank behind a word that may hold blanks; below 0 if none can be it."""
    first = blank = buffer.find(b" ", start, start + AHEAD)
    while blank >= 0 and not CONTROL.search(buffer, start, blank):
        if (
            _is_text(buffer[start:blank])
            and _is_vector(buffer, blank + 1, dim)
            and _begins_well(buffer, blank + 1 + 4 * dim, is_last)
        ):
            return blank
        blank = buffer.find(b" ", blank + 1, start + AHEAD)
    # A vector of NaN, say: the word is one all the same.
    if CONTROL.search(buffer, start, first) or not _begins_well(
        buffer, first + 1 + 4 * dim, is_last
    ):
        return -1
    return first


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return not CONTROL.search(name)


def _is_vector(buffer: bytes, start: int, dim: int) -> bool:
    if len(buffer) < start + 4 * dim:
        return False
    sizes = np.abs(np.frombuffer(buffer, "<f4", dim, start))
    with np.errstate(all="ignore"):
        length = np.dot(sizes, sizes)
    return bool(length < LONGEST) and not ((sizes > 0) & (sizes < SMALLEST)).any()


def _begins_well(buffer: bytes, start: int, is_last: bool) -> bool:
    """Whether the next entry begins with a word, or nothing follows the last one."""
    following = buffer[start : start + AHEAD].lstrip(b"\n")
    if is_last:
        return not following.strip()
    return b" " in following and _is_text(following.split(b" ", 1)[0])
