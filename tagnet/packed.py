"""Packed records: a neighbourhood with the features and the tags of all its images in it.

What a run looks up in tables elsewhere stands in the record, so that training reads nothing but
streams, in any number of shards. A record takes (M + 1) D float16, 25 times an image's.

    rows        [M + 1]   the image's row, and its neighbours', nearest first
    phi         (M + 1) D little-endian float16
    tag_ids     the tag ids of one image after another; tag_counts [M + 1], how many each has
    label_ids   of the image

The shards of packed training records begin and end with the same images as those of the plain
ones beside them, so that both can be streamed in the same order.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tagnet import records
from tagnet.files import Run, Table
from tagnet.records import IdLists

LAYOUTS = ("rows", "packed")  # of training records: with row numbers, or with what stands there
SHARD_BYTES = 256 * 2**20
BLOCK_BYTES = 2**29  # of records that are shuffled together, twice in memory


def packed_sizes(num_records: int, max_rank: int, feature_dim: int) -> tuple[int, int]:
    """How many shards hold so many records of M neighbours and D features, and a block how many."""
    record = 2 * (max_rank + 1) * feature_dim
    return max(1, math.ceil(num_records * record / SHARD_BYTES)), max(1, BLOCK_BYTES // record)


def encode_packed(
    rows: np.ndarray, phi: np.ndarray, tags: Sequence[np.ndarray], label_ids: Sequence[int]
) -> bytes:
    """Serialises one neighbourhood: `rows` [M + 1], their `phi` [M + 1, D] and lists of tag ids."""
    fields = {
        "rows": records.int64_feature(rows),
        "phi": records.bytes_feature(np.asarray(phi, dtype="<f2").tobytes()),
        "tag_ids": records.int64_feature(np.concatenate(tags)),
        "tag_counts": records.int64_feature([len(ids) for ids in tags]),
        "label_ids": records.int64_feature(label_ids),
    }
    return records.example(fields)


def write_packed(
    directory: Path,
    part: str,
    rows: np.ndarray,
    neighbours: np.ndarray,
    phi: Table,
    tags: IdLists,
    labels: IdLists,
    num_shards: int,
    run: Run = map,
) -> int:
    """Writes `PART-…tfrecord`, packed.

    Args:
        directory: where to.
        part: the name of the part.
        rows: the images [n].
        neighbours: their nearest [n, M].
        phi: Φ of all images [N, D]; it may be mapped from disk.
        tags: the tag ids of all images.
        labels: their label ids.
        num_shards: how many.
        run: writes them.

    Returns:
        The bytes of all shards.
    """
    everyone = np.concatenate([rows[:, None], neighbours], axis=1)
    encode = functools.partial(_encode_all, phi, tags, labels)
    records.write_shards(
        directory,
        part,
        encode,
        lambda first, last: (everyone[first:last],),
        len(rows),
        num_shards,
        run,
    )
    return sum(Path(path).stat().st_size for path in records.shard_paths(directory, part))


def _encode_all(
    phi: Table, tags: IdLists, labels: IdLists, everyone: np.ndarray
) -> Iterator[bytes]:
    for images in everyone:
        yield encode_packed(images, phi[images], [tags[row] for row in images], labels[images[0]])


class Packed(NamedTuple):
    """B packed neighbourhoods; their images stand one after another, B (M + 1) in all.

    Attributes:
        rows: int64 [B, M + 1].
        phi: float16 [B (M + 1), D].
        tags: lists of tag ids, int32 [B (M + 1), None].
        labels: float32 [B, L] of 0 and 1.
    """

    rows: tf.Tensor
    phi: tf.Tensor
    tags: tf.RaggedTensor
    labels: tf.Tensor


def parse_packed(serialised: tf.Tensor, max_rank: int, feature_dim: int, num_labels: int) -> Packed:
    """Parses [B] packed neighbourhoods of M images and D features each."""
    parsed = tf.io.parse_example(
        serialised,
        {
            "rows": tf.io.FixedLenFeature([max_rank + 1], tf.int64),
            "phi": tf.io.FixedLenFeature([], tf.string),
            "tag_ids": tf.io.VarLenFeature(tf.int64),
            "tag_counts": tf.io.FixedLenFeature([max_rank + 1], tf.int64),
            "label_ids": tf.io.VarLenFeature(tf.int64),
        },
    )
    phi = tf.io.decode_raw(parsed["phi"], tf.float16)  # [B, (M + 1) D]
    return Packed(
        parsed["rows"],
        tf.reshape(phi, [-1, feature_dim]),
        tf.RaggedTensor.from_row_lengths(
            tf.cast(parsed["tag_ids"].values, tf.int32), tf.reshape(parsed["tag_counts"], [-1])
        ),
        tf.cast(tf.sparse.to_indicator(parsed["label_ids"], num_labels), tf.float32),
    )
