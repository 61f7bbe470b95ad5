"""β for the vocabulary, looked up in a file of word vectors in word2vec format."""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models import KeyedVectors

from tagnet.embeddings import Embedding
from tagnet.files import InputError
from tagnet.tags import Vocabulary

HEADER_BYTES = 64
MAX_FIELD_BYTES = 64  # of one number in a text file; generous


def spellings(tag: str) -> Iterator[str]:
    """How word-vector files may spell a tag: as it is, then with capitals.

    GoogleNews, for one, has names with capital initials, phrases joined by `_`,
    and abbreviations in capitals. The first spelling that a file knows is used.

    >>> list(spellings("new_york"))
    ['new_york', 'New_York', 'New_york', 'NEW_YORK']
    """
    initials = "_".join(part[:1].upper() + part[1:] for part in tag.split("_"))
    yield from dict.fromkeys([tag, initials, tag[:1].upper() + tag[1:], tag.upper()])


def look_up(vocabulary: Vocabulary, index: Mapping[str, int], vectors: np.ndarray) -> Embedding:
    """Picks each word's vector; a word without one gets zeros and counts as unknown.

    Args:
        vocabulary: τ words.
        index: the row of each word that has a vector.
        vectors: [number of vectors, n].
    """
    table = np.zeros([len(vocabulary), vectors.shape[1]], np.float32)
    known = np.zeros(len(vocabulary), bool)
    for row, tag in enumerate(vocabulary.words):
        for spelling in spellings(tag):
            if spelling in index:
                table[row] = vectors[index[spelling]]
                known[row] = True
                break
    return Embedding(table, known)


def write_embedding(
    directory: Path, encoding: str, embedding: Embedding, where: str | Path
) -> dict[str, Any]:
    """Writes `embeddings/ENCODING.npz`, having checked its numbers.

    Raises:
        InputError: not one word is known, or a vector holds something that is not finite.
    """
    if not embedding.known.any():
        raise InputError(f"{where}: must know at least one tag of the vocabulary; knows none")
    if not np.isfinite(embedding.vectors).all():
        raise InputError(f"{where}: every vector must be finite; received NaN or infinity")
    embedding.save(directory / "embeddings" / f"{encoding}.npz")
    return {"n": embedding.vectors.shape[1], "known": int(embedding.known.sum())}


def read_word_vectors(path: Path) -> KeyedVectors:
    """Reads word2vec format, binary or text; gzip where the name ends in `.gz`.

    Raises:
        InputError: the file is missing, cut off or something else.
    """
    try:
        binary = _is_binary(path)
        return KeyedVectors.load_word2vec_format(str(path), binary=binary, unicode_errors="replace")
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # what a damaged file makes gensim and gzip raise has no end
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: is not a whole file in word2vec format ({reason})") from error


def _is_binary(path: Path) -> bool:
    """Checks header, size and ends as far as it is cheap; text has n numbers after the word."""
    zipped = path.suffix == ".gz"
    with gzip.open(path) if zipped else open(path, "rb") as file:
        header = file.readline(HEADER_BYTES)
        fields = header.split()
        if len(fields) != 2 or not all(field.isdigit() and int(field) > 0 for field in fields):
            raise InputError(
                f"{path}: must be in word2vec format, which begins with the number of words "
                f"and the dimension; received {header!r}"
            )
        words, dim = map(int, fields)
        if not zipped and words * dim * 2 > path.stat().st_size:  # a number takes two bytes
            raise InputError(
                f"{path}: promises {words} words of {dim} numbers, which {path.stat().st_size} "
                "bytes cannot hold; was the file cut off?"
            )
        binary = not _is_text_row(file.readline(MAX_FIELD_BYTES * (dim + 1)), dim)
    if not binary and not zipped:  # gensim would take a last line with a single number
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_FIELD_BYTES * (dim + 1)))
            if not _is_text_row(file.read().rstrip().splitlines()[-1], dim):
                raise InputError(f"{path}: its last line must be a word and {dim} numbers")
    return binary


def _is_text_row(line: bytes, dim: int) -> bool:
    fields = line.split()
    try:
        return len([float(field) for field in fields[1:]]) == dim
    except ValueError:
        return False
