"""Tags as strings inside a TensorFlow graph: `tags.normalise` and the vocabulary as operations."""

import functools
import unicodedata
from pathlib import Path

import numpy as np
import tensorflow as tf

from tagnet.data.tags import DOT, folded, is_invisible

CODE_POINTS = 0x110000
BITS = 21  # of a code point; two of them make the key of a pair
UNKNOWN = -1


class TagReader(tf.Module):
    """Strings → tag ids.

    Spelling follows `tags.normalise` code point by code point, after which letters and
    marks that stand apart are joined. What Unicode decides by context comes out
    otherwise: a capital sigma at the end of a word, and several marks in unusual order.

    Args:
        vocabulary: a file of one word a line, in id order; it becomes an asset.
        num_tags: τ.
    """

    def __init__(self, vocabulary: Path, num_tags: int) -> None:
        super().__init__()
        self._num_tags = max(num_tags, 1)
        if num_tags:
            initialiser = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
        else:  # TensorFlow has no empty tables; the file is an asset all the same
            self._vocabulary = tf.saved_model.Asset(str(vocabulary))
            nothing = tf.constant([UNKNOWN], tf.int64)
            initialiser = tf.lookup.KeyValueTensorInitializer(tf.constant(["\0"]), nothing)
        self._ids = tf.lookup.StaticHashTable(initialiser, UNKNOWN)
        points, spellings = _changed_code_points()
        self._place = _table(points, np.arange(len(points)))
        self._spellings = tf.ragged.constant(spellings, dtype=tf.int32)
        self._joined = _table(*_pairs())

    def ids(self, tags: tf.Tensor) -> tf.RaggedTensor:
        """The ids of the known tags, each once per image.

        Args:
            tags: string [B, T], padded with empty strings.

        Returns:
            int32 [B, (·)], ascending.
        """
        found = self._ids.lookup(self.normalised(tf.reshape(tags, [-1])))
        rows = tf.repeat(tf.range(tf.shape(tags, tf.int64)[0]), tf.shape(tags)[1])
        known = found != UNKNOWN
        cells = tf.boolean_mask(rows * self._num_tags + found, known)
        cells = tf.unique(tf.sort(cells)).y
        return tf.RaggedTensor.from_value_rowids(
            tf.cast(cells % self._num_tags, tf.int32),
            cells // self._num_tags,
            tf.shape(tags, tf.int64)[0],
        )

    def normalised(self, tags: tf.Tensor) -> tf.Tensor:
        """Normalises tags: string [N] → string [N]."""
        decoded = tf.strings.unicode_decode(tags, "UTF-8")  # what is no UTF-8 becomes U+FFFD
        place = self._place.lookup(tf.cast(decoded.values, tf.int64))
        same = tf.RaggedTensor.from_row_lengths(
            decoded.values, tf.ones_like(decoded.values, tf.int64)
        )
        spelt = tf.where(
            place == UNKNOWN, tf.range(tf.size(place, tf.int64)), place + tf.size(place, tf.int64)
        )
        letters = tf.gather(tf.concat([same, self._spellings], axis=0), spelt)
        rows = tf.gather(decoded.value_rowids(), letters.value_rowids())
        points = letters.values
        for _ in range(2):  # a letter takes up to two marks; a Korean syllable has three parts
            points, rows = self._join(points, rows)
        words = tf.RaggedTensor.from_value_rowids(points, rows, tf.size(tags, tf.int64))
        text = tf.strings.unicode_encode(words, "UTF-8")
        return tf.strings.regex_replace(tf.strings.strip(text), " +", "_")

    def _join(self, points: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Joins a letter and the mark after it, where Unicode has one character for both."""
        after = tf.concat([points[1:], [0]], axis=0)
        within = rows == tf.concat([rows[1:], [UNKNOWN]], axis=0)
        joined = self._joined.lookup(_pair(tf.cast(points, tf.int64), tf.cast(after, tf.int64)))
        joins = within & (joined != UNKNOWN)
        points = tf.where(joins, tf.cast(joined, tf.int32), points)
        kept = ~tf.concat([[False], joins], axis=0)[:-1]
        return tf.boolean_mask(points, kept), tf.boolean_mask(rows, kept)


def _table(keys: np.ndarray, values: np.ndarray) -> tf.lookup.StaticHashTable:
    initialiser = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys, tf.int64), tf.constant(values, tf.int64)
    )
    return tf.lookup.StaticHashTable(initialiser, UNKNOWN)


def _pair(one, two):  # of numbers or of tensors
    return one * 2**BITS + two


@functools.cache  # a second's work
def _changed_code_points() -> tuple[np.ndarray, list[list[int]]]:
    """The code points that `tags.normalise` changes, and their replacements."""
    points, spellings = [], []
    for point in range(CODE_POINTS):
        letter = chr(point)
        if letter.isspace():
            spelt = " "
        elif is_invisible(letter):
            spelt = ""
        else:
            spelt = folded(letter)
        if spelt != letter:
            points.append(point)
            spellings.append([ord(" ") if other.isspace() else ord(other) for other in spelt])
    return np.array(points), spellings


@functools.cache
def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Keys of the pairs of code points that are joined into one, and that one."""
    keys, joined = [_pair(ord("i"), ord(DOT))], [ord("i")]
    for point in range(CODE_POINTS):
        parts = unicodedata.normalize("NFD", chr(point))
        if len(parts) > 1:
            first = unicodedata.normalize("NFC", parts[:-1])
            if len(first) == 1 and unicodedata.normalize("NFC", parts) == chr(point):
                keys.append(_pair(ord(first), ord(parts[-1])))
                joined.append(point)
    return np.array(keys), np.array(joined)
