"""Semantic encodings of tags: β tables (w2v, wnet) and the sum ρ(o_x; β) of eq. 6."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.system.files import read_arrays, write_arrays

BLOCK = 2**15  # images summed at a time, which bounds the float64 copy of their sums


@dataclass(frozen=True, eq=False)
class Embedding:
    """β: one vector per word of a vocabulary.

    Attributes:
        vectors: float32 [τ, n] in id order; an unknown word has zeros, so it adds
            nothing to ρ.
        known: bool [τ], whether the source of the vectors knew the word.
    """

    vectors: np.ndarray
    known: np.ndarray

    def save(self, path: str | Path) -> None:
        """Writes the arrays `vectors` and `known` as an `.npz`."""
        write_arrays(path, {"vectors": self.vectors, "known": self.known})

    @classmethod
    def load(cls, path: str | Path, num_words: int) -> "Embedding":
        """Reads what `save` wrote, for a vocabulary of `num_words` words.

        Raises:
            InputError: the file is not a whole `.npz`, lacks an array, or an array's
                shape, type or numbers are not those of a β of that vocabulary.
        """
        arrays = read_arrays(path, "vectors", "known")
        vectors, known = arrays["vectors"], arrays["known"]
        if vectors.ndim != 2 or len(vectors) != num_words or vectors.shape[1] == 0:
            raise InputError(
                f"{path}: vectors must have one row for each of the {num_words} words of the "
                f"vocabulary; received shape {vectors.shape}"
            )
        if vectors.dtype.kind != "f":
            raise InputError(f"{path}: vectors must be floating-point; received {vectors.dtype}")
        if known.shape != (num_words,) or known.dtype != bool:
            raise InputError(
                f"{path}: known must be a bool for each of the {num_words} words; "
                f"received {known.dtype} of shape {known.shape}"
            )
        vectors = vectors.astype(np.float32)
        for rule, wrong in {
            "vectors must be finite": ~np.isfinite(vectors).all(axis=1),
            "an unknown word must have a vector of zeros": ~known & vectors.any(axis=1),
        }.items():
            if wrong.any():
                raise InputError(f"{path}: {rule}; row {wrong.argmax()} is not so")
        return cls(vectors, known)


def rho(tags: TagLists, embedding: Embedding) -> np.ndarray:
    """ρ(o_x; β) = Σ_i o_x(i) β(t_i), the sum of an image's word vectors (eq. 6).

    The words are added in id order in float64, so equal tag sets give equal bits.

    Args:
        tags: the tag ids of N images.
        embedding: β [τ, n].

    Returns:
        float32 [N, n]; zeros where an image has no known word.

    Raises:
        InputError: an id is not below τ.
    """
    words, size = embedding.vectors.shape
    if (last := tags.ids.max(initial=-1)) >= words:
        raise InputError(f"embedding: has vectors for {words} words; received the tag id {last}")
    vectors = embedding.vectors.astype(np.float64)
    sums = np.empty([len(tags), size], np.float32)
    for first in range(0, len(tags), BLOCK):
        block = tags.select(np.arange(first, min(first + BLOCK, len(tags))))
        # A sparse row times a dense matrix adds the rows one after the other.
        o_x = sparse.csr_array(
            (np.ones(len(block.ids)), block.ids, block.offsets), shape=(len(block), words)
        )
        sums[first : first + len(block)] = o_x @ vectors
    return sums


@dataclass(frozen=True, eq=False)
class Sums:
    """ρ(o_x; β) of N images: a table [N, n] whose rows are summed when asked for.

    Attributes:
        tags: the tag ids of the images.
        embedding: β.
    """

    tags: TagLists
    embedding: Embedding

    def __getitem__(self, rows: Any) -> np.ndarray:
        return rho(self.tags.select(rows), self.embedding)

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def shape(self) -> tuple[int, int]:
        """N and n."""
        return len(self.tags), self.embedding.vectors.shape[1]
