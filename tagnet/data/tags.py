"""Tags: their spelling, the vocabulary (the top τ), and ids for words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from tagnet.errors import InputError
from tagnet.system.console import counted
from tagnet.system.files import read_text, write_text

INVISIBLE = ("Cc", "Cf", "Cs")  # Unicode's control and format characters, and lone surrogates
# Variation selectors choose how the character before them is drawn: Mongolian ones, those of emoji
# and symbols, those of ideographs.
SELECTORS = frozenset(
    chr(point)
    for first, last in ((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for point in range(first, last + 1)
)
DOT = "\u0307"  # above a letter; lower-casing the Turkish capital \u0130 gives `i` and this


def normalise(tag: str) -> str:
    r"""Normalises a tag to the spelling under which it is counted and looked up.

    Unicode NFKC, lower case, white space trimmed and inner runs of it turned into
    `_`, invisible characters and variation selectors dropped, `i` without a second
    dot. Normalising twice changes nothing.

    Returns:
        The tag, or "" where nothing visible is left.

    >>> normalise("  New\tYork "), normalise("ＳＫＹ"), normalise(" \u200b "), normalise("İzmir")
    ('new_york', 'sky', '', 'izmir')
    """
    if not tag.isprintable() or not (tag.isascii() or SELECTORS.isdisjoint(tag)):
        tag = "".join(char for char in tag if char.isspace() or not is_invisible(char))
    return "_".join(folded(tag).split())


def is_invisible(char: str) -> bool:
    """Whether `normalise` drops a character, if it is no white space."""
    return unicodedata.category(char) in INVISIBLE or char in SELECTORS


def folded(text: str) -> str:
    """Text in NFKC and lower case."""
    text = unicodedata.normalize("NFKC", text).lower()
    if DOT in text:
        text = re.sub(f"i{DOT}+", "i", text)
    # Lower-casing may leave letters and marks apart that NFKC joins: hence a second time.
    return unicodedata.normalize("NFKC", text)


def _earlier(word: str) -> str:
    """The spelling of version 0.2 and earlier, with variation selectors and dots."""
    text = "".join(char for char in word if unicodedata.category(char) not in INVISIBLE)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return "_".join(text.split())


def count_tags(tag_lists: Iterable[Sequence[str]]) -> Counter[str]:
    """Counts the images that carry each tag, in its normalised spelling.

    >>> count_tags([["sky", "Sea"], ["sea", "SEA"]])
    Counter({'sea': 2, 'sky': 1})
    """
    return Counter(word for tags in tag_lists for word in {normalise(tag) for tag in tags} if word)


@dataclass(frozen=True, eq=False)
class TagLists:
    """The tag (or label) ids of N images in compressed rows; a row is sorted, without repeats.

    Attributes:
        ids: int32 [total], the images' ids one after the other.
        offsets: int64 [N + 1]; image i has `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int] | np.ndarray]) -> "TagLists":
        """Packs one list of ids per image; sorts each and drops repeats.

        >>> TagLists.from_lists([[7, 2, 7], []])[0].tolist()
        [2, 7]
        """
        lists = list(lists)
        ids = np.fromiter(chain.from_iterable(lists), np.int64)
        rows = np.repeat(np.arange(len(lists)), [len(row) for row in lists])
        order = np.lexsort([ids, rows])
        ids, rows = ids[order], rows[order]
        first = np.ones(len(ids), bool)
        first[1:] = (ids[1:] != ids[:-1]) | (rows[1:] != rows[:-1])
        return cls(
            ids=ids[first].astype(np.int32),
            offsets=np.searchsorted(rows[first], np.arange(len(lists) + 1)).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        row = range(len(self))[row]  # counts from the end and raises IndexError as lists do
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """How many ids each image has: int64 [N]."""
        return np.diff(self.offsets)

    def select(self, rows: np.ndarray) -> "TagLists":
        """The lists of the images `rows` [n], in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shift = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return TagLists(ids=self.ids[shift + np.arange(offsets[-1])], offsets=offsets)

    def multi_hot(self, size: int) -> np.ndarray:
        """o_x of every image (eq. 4): float32 [N, size] of 0 and 1."""
        vectors = np.zeros([len(self), size], np.float32)
        vectors[np.repeat(np.arange(len(self)), self.lengths), self.ids] = 1
        return vectors


@dataclass(frozen=True)
class Vocabulary:
    """The τ known tags, normalised; a tag's id is its place in `words`."""

    words: tuple[str, ...]

    @classmethod
    def of_counts(cls, counts: Counter[str], size: int, min_images: int = 1) -> "Vocabulary":
        """The `size` most frequent tags; equal counts in alphabetical order.

        Args:
            counts: how many images carry each tag, see `count_tags`.
            size: τ; fewer if the images have fewer tags.
            min_images: tags of fewer images are dropped.

        Raises:
            InputError: `size` or `min_images` is below 1, or no tag is left.

        >>> Vocabulary.of_counts(count_tags([["sky", "Sea"], ["sea"], ["sun"]]), size=2).words
        ('sea', 'sky')
        """
        for name, value in {"size": size, "min_images": min_images}.items():
            if value < 1:
                raise InputError(f"vocabulary: {name} must be at least 1; received {value}")
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        words = tuple(word for word, images in ranked[:size] if images >= min_images)
        if not words:
            raise InputError(
                f"vocabulary: no tag occurs in at least {counted(min_images, 'image')}; "
                f"{f'the most frequent has {ranked[0][1]:,}' if ranked else 'no image has a tag'}"
            )
        return cls(words)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids: dict[str, int] = {}
        for index, word in enumerate(self.words):
            # Version 0.2 and earlier spelt a few words otherwise; files of theirs are still read.
            ids.setdefault(normalise(word), index)
        return ids

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """The ids of the known ones among `tags`: int32, sorted, each once."""
        ids = {self._ids.get(normalise(tag), -1) for tag in tags} - {-1}
        return np.array(sorted(ids), np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of `ids`, in their order."""
        return [self.words[index] for index in ids]

    def encode_all(self, tag_lists: Iterable[Sequence[str]]) -> TagLists:
        """`encode` for every image."""
        return TagLists.from_lists([self.encode(tags) for tags in tag_lists])

    def save(self, path: str | Path) -> None:
        """Writes one word a line in id order: UTF-8, LF."""
        write_text(path, "".join(f"{word}\n" for word in self.words))

    @classmethod
    def load(cls, path: str | Path, empty: bool = False) -> "Vocabulary":
        """Reads what `save` wrote.

        Args:
            path: the file.
            empty: whether it may hold no word, as that of a data set without tags.

        Raises:
            InputError: the file holds no word, or a line that is empty, not normalised
                or there already.
        """
        words = read_text(path).splitlines()
        if not words and not empty:
            raise InputError(f"{path}: must hold one word per line; the file is empty")
        lines: dict[str, int] = {}
        for line, word in enumerate(words, start=1):
            if not word.strip():
                raise InputError(f"{path}: line {line} is empty; it must hold a word")
            if word != normalise(word) and word != _earlier(word):
                raise InputError(
                    f"{path}: line {line} must be normalised ({normalise(word)!r}); "
                    f"received {word!r}"
                )
            if word in lines:
                raise InputError(f"{path}: line {line} repeats line {lines[word]}: {word!r}")
            lines[word] = line
        return cls(tuple(words))
