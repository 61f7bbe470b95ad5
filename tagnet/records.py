"""The record schema: what one `tf.train.Example` of an image or a neighbourhood holds.

Writer and reader both take it from here. Images are stored once; neighbours are
stored as row numbers into the images, since packing 24 neighbours' features into
every record would take 25 times the room.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tagnet.files import InputError, written_whole

IMAGE_SCHEMA = {
    "image_id": tf.io.FixedLenFeature([], tf.string),
    "row": tf.io.FixedLenFeature([], tf.int64),
    "phi": tf.io.FixedLenFeature([], tf.string),  # D little-endian float16
    "tag_ids": tf.io.RaggedFeature(tf.int64),
    "label_ids": tf.io.RaggedFeature(tf.int64),
}
MIN_SHARDS = 4  # so that shards can be read in parallel
MAX_SHARD_BYTES = 128 * 2**20
READ_BATCH = 1024  # records parsed at once
READ_BYTES = 2**20  # read from the disk at once


class IdLists(Protocol):
    """A list of ids for each image, e.g. `tags.TagLists`."""

    def __getitem__(self, row: int, /) -> Any: ...


def neighbourhood_schema(max_rank: int) -> dict[str, tf.io.FixedLenFeature]:
    """The fields of one neighbourhood record: `row`, `neighbours` [M], `distances` [M]."""
    return {
        "row": tf.io.FixedLenFeature([], tf.int64),
        "neighbours": tf.io.FixedLenFeature([max_rank], tf.int64),
        "distances": tf.io.FixedLenFeature([max_rank], tf.float32),
    }


def _int64(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def encode_image(
    image_id: str, row: int, phi: np.ndarray, tag_ids: Sequence[int], label_ids: Sequence[int]
) -> bytes:
    """Serialises one image; `phi` [D] is stored as float16."""
    fields = {
        "image_id": _bytes(image_id.encode()),
        "row": _int64([row]),
        "phi": _bytes(np.asarray(phi, dtype="<f2").tobytes()),
        "tag_ids": _int64(tag_ids),
        "label_ids": _int64(label_ids),
    }
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString(
        deterministic=True
    )


def encode_neighbourhood(row: int, neighbours: np.ndarray, distances: np.ndarray) -> bytes:
    """Serialises one neighbourhood: the M nearest of image `row`, nearest first."""
    fields = {
        "row": _int64([row]),
        "neighbours": _int64(neighbours),
        "distances": tf.train.Feature(float_list=tf.train.FloatList(value=distances)),
    }
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString(
        deterministic=True
    )


def write_images(
    directory: str | Path,
    image_ids: Sequence[str],
    phi: Iterable[np.ndarray],
    tags: IdLists,
    labels: IdLists,
    feature_dim: int,
) -> int:
    """Writes `images-…tfrecord`, one Example per image in row order.

    Args:
        directory: the prepared directory.
        image_ids: N unique names.
        phi: blocks [n_i, D] that add up to N rows; a single [N, D] array goes as `[array]`.
        tags: the N lists of tag ids.
        labels: the N lists of label ids.
        feature_dim: D.

    Returns:
        The number of shards.
    """
    rows = (vector for block in phi for vector in block)
    examples = (
        encode_image(image_ids[row], row, vector, tags[row], labels[row])
        for row, vector in enumerate(rows)
    )
    shards = max(MIN_SHARDS, math.ceil(len(image_ids) * 2 * feature_dim / MAX_SHARD_BYTES))
    return _write_shards(Path(directory), "images", examples, len(image_ids), shards)


def write_neighbourhoods(
    directory: str | Path,
    part: str,
    rows: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray,
) -> int:
    """Writes `PART-…tfrecord`: for each of `rows` [n] its neighbours and distances [n, M]."""
    examples = map(encode_neighbourhood, rows, neighbours, distances)
    shards = max(1, math.ceil(neighbours.size * 8 / MAX_SHARD_BYTES))
    return _write_shards(Path(directory), part, examples, len(rows), shards)


def _write_shards(
    directory: Path, prefix: str, examples: Iterable[bytes], count: int, shards: int
) -> int:
    for stale in directory.glob(f"{prefix}-*-of-*.tfrecord"):
        stale.unlink()
    source = iter(examples)
    bounds = shard_bounds(count, shards)
    for shard, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
        path = directory / f"{prefix}-{shard:05d}-of-{shards:05d}.tfrecord"
        with written_whole(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for _ in range(first, last):
                writer.write(next(source))
    return shards


def shard_bounds(count: int, shards: int) -> list[int]:
    """The record with which each shard begins, and at the end `count`: their lengths differ by 1.

    >>> shard_bounds(10, 4)
    [0, 2, 5, 7, 10]
    """
    return np.linspace(0, count, shards + 1).astype(int).tolist()


def shard_paths(directory: str | Path, prefix: str) -> list[str]:
    """The files `PREFIX-00000-of-0000n.tfrecord` in order; all n must be there."""
    directory = Path(directory)
    paths = sorted(directory.glob(f"{prefix}-*-of-*.tfrecord"))
    if not paths:
        raise InputError(f"{directory}: no {prefix}-*.tfrecord here; was the data set prepared?")
    totals = {re.sub(r".*-of-(\d+)\.tfrecord$", r"\1", path.name) for path in paths}
    expected = [
        f"{prefix}-{shard:05d}-of-{int(total):05d}.tfrecord"
        for total in totals
        for shard in range(int(total))
    ]
    if missing := sorted(set(expected) - {path.name for path in paths}):
        raise InputError(f"{directory}: the shard {missing[0]} is missing; prepare the data again")
    return [str(path) for path in paths]


def parse_images(serialised: tf.Tensor, feature_dim: int) -> dict[str, tf.Tensor]:
    """Parses [B] serialised images; `phi` comes out as float16 [B, D], lists as ragged int64."""
    parsed = tf.io.parse_example(serialised, IMAGE_SCHEMA)
    phi = tf.io.decode_raw(parsed["phi"], tf.float16)
    parsed["phi"] = tf.reshape(phi, [tf.shape(serialised)[0], feature_dim])
    return parsed


def parse_neighbourhoods(serialised: tf.Tensor, max_rank: int) -> dict[str, tf.Tensor]:
    """Parses [B] serialised neighbourhoods that store `max_rank` neighbours each."""
    return tf.io.parse_example(serialised, neighbourhood_schema(max_rank))


def read_images(directory: str | Path, feature_dim: int) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the images in row order, in parsed batches (see `parse_images`)."""
    for path in shard_paths(directory, "images"):
        yield from _read_shard(path, lambda batch: parse_images(batch, feature_dim))


def read_neighbourhoods(
    directory: str | Path, part: str, max_rank: int
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the neighbourhoods of a part in stored order, in parsed batches."""
    for path in shard_paths(directory, part):
        yield from _read_shard(path, lambda batch: parse_neighbourhoods(batch, max_rank))


def _read_shard(
    path: str, parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> Iterator[dict[str, tf.Tensor]]:
    records = tf.data.TFRecordDataset(path, buffer_size=READ_BYTES).batch(READ_BATCH)
    read = 0
    try:
        for serialised in records:
            parsed = parse(serialised)
            yield parsed
            read += len(serialised)
    except tf.errors.OpError as error:
        reason = (error.message or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: damaged at or after record {read} ({reason}); prepare the data again"
        ) from error


def read_all_images(
    directory: str | Path, num_images: int, feature_dim: int
) -> Iterator[tuple[slice, dict[str, tf.Tensor]]]:
    """Yields (rows, parsed batch) until all images have been read.

    Raises:
        InputError: a shard is missing or damaged, or the rows are not 0 … N − 1 in order.
    """
    read = 0
    for batch in read_images(directory, feature_dim):
        rows = batch["row"].numpy()
        if not np.array_equal(rows, np.arange(read, read + len(rows))):
            raise InputError(
                f"{directory}: the images' rows must run from 0 in order; "
                f"after row {read - 1} came {rows[0]}; prepare the data again"
            )
        if read + len(rows) <= num_images:
            yield slice(read, read + len(rows)), batch
        read += len(rows)
    if read != num_images:
        raise InputError(
            f"{directory}: dataset.json promises {num_images} images, "
            f"the shards hold {read}; prepare the data again"
        )


def read_features(directory: str | Path, num_images: int, feature_dim: int) -> np.ndarray:
    """Reads Φ of all images: float16 [N, D] in row order; errors as `read_all_images`."""
    table = np.empty([num_images, feature_dim], np.float16)
    for rows, batch in read_all_images(directory, num_images, feature_dim):
        table[rows] = batch["phi"].numpy()
    return table
