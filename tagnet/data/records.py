"""The record schema: what one `tf.train.Example` of an image or a neighbourhood holds.

Writer and reader both take it from here. Images are stored once; neighbours are
stored as row numbers into the images, since packing 24 neighbours' features into
every record would take 25 times the room.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tagnet.errors import InputError
from tagnet.system.checksums import compare, sha256
from tagnet.system.console import progress
from tagnet.system.files import Run, atomic_write

MIN_SHARDS = 4  # so that shards can be read in parallel
MAX_SHARD_BYTES = 128 * 2**20
READ_BATCH = 512  # records parsed at once
READ_BYTES = 2**20  # of a shard, from the disk at once
ALIGNMENT = 64  # bytes; of every tensor of TensorFlow's


class IdLists(Protocol):
    """A list of ids for each image, e.g. `tags.TagLists`."""

    def __getitem__(self, row: int, /) -> Any: ...


IMAGE_SCHEMA = {
    "image_id": tf.io.FixedLenFeature([], tf.string),
    "row": tf.io.FixedLenFeature([], tf.int64),
    "phi": tf.io.FixedLenFeature([], tf.string),
    "tag_ids": tf.io.RaggedFeature(tf.int64),
    "label_ids": tf.io.RaggedFeature(tf.int64),
}


def neighbourhood_schema(max_rank: int) -> dict[str, tf.io.FixedLenFeature]:
    """The fields of one neighbourhood record: `row`, `neighbours` [M], `distances` [M]."""
    return {
        "row": tf.io.FixedLenFeature([], tf.int64),
        "neighbours": tf.io.FixedLenFeature([max_rank], tf.int64),
        "distances": tf.io.FixedLenFeature([max_rank], tf.float32),
    }


def int64_feature(values: Iterable[int]) -> tf.train.Feature:
    """Numbers as a field of a record."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def bytes_feature(value: bytes) -> tf.train.Feature:
    """Bytes as a field of a record."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def example(fields: Mapping[str, tf.train.Feature]) -> bytes:
    """A serialised record; equal fields give equal bytes."""
    return tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString(
        deterministic=True
    )


def encode_image(
    image_id: str, row: int, phi: np.ndarray, tag_ids: Sequence[int], label_ids: Sequence[int]
) -> bytes:
    """Serialises one image; `phi` [D] is stored as D little-endian float16."""
    fields = {
        "image_id": bytes_feature(image_id.encode()),
        "row": int64_feature([row]),
        "phi": bytes_feature(np.asarray(phi, dtype="<f2").tobytes()),
        "tag_ids": int64_feature(tag_ids),
        "label_ids": int64_feature(label_ids),
    }
    return example(fields)


def encode_neighbourhood(row: int, neighbours: np.ndarray, distances: np.ndarray) -> bytes:
    """Serialises one neighbourhood: the M nearest of image `row`, nearest first."""
    fields = {
        "row": int64_feature([row]),
        "neighbours": int64_feature(neighbours),
        "distances": tf.train.Feature(float_list=tf.train.FloatList(value=distances)),
    }
    return example(fields)


def write_images(
    directory: str | Path,
    image_ids: Sequence[str],
    phi: Callable[[int, int], Iterable[np.ndarray]],
    tags: IdLists,
    labels: IdLists,
    feature_dim: int,
    run: Run = map,
) -> int:
    """Writes `images-…tfrecord`, one Example per image in row order.

    Args:
        directory: the prepared directory.
        image_ids: N unique names.
        phi: gives Φ of the images from one row to before another, in blocks [n_i, D].
        tags: the N lists of tag ids.
        labels: the N lists of label ids.
        feature_dim: D.
        run: writes the shards.

    Returns:
        The number of shards.
    """

    def of_shard(first: int, last: int) -> tuple[Any, ...]:
        lists = ([ids[row] for row in range(first, last)] for ids in (tags, labels))
        return (first, image_ids[first:last], *lists)

    count = max(MIN_SHARDS, math.ceil(len(image_ids) * 2 * feature_dim / MAX_SHARD_BYTES))
    encode = functools.partial(_encode_images, phi)
    return write_shards(Path(directory), "images", encode, of_shard, len(image_ids), count, run)


def _encode_images(
    phi: Callable[[int, int], Iterable[np.ndarray]],
    first: int,
    image_ids: Sequence[str],
    tags: Sequence[Sequence[int]],
    labels: Sequence[Sequence[int]],
) -> Iterator[bytes]:
    rows = range(first, first + len(image_ids))
    vectors = (vector for block in phi(rows.start, rows.stop) for vector in block)
    return map(encode_image, image_ids, rows, vectors, tags, labels)


def write_neighbourhoods(
    directory: str | Path,
    part: str,
    rows: np.ndarray,
    neighbours: np.ndarray,
    distances: np.ndarray,
    run: Run = map,
) -> int:
    """Writes `PART-…tfrecord`: for each of `rows` [n] its neighbours and distances [n, M].

    `run` writes the shards, as few as keep to `MAX_SHARD_BYTES`; their number is returned.
    """

    def of_shard(first: int, last: int) -> tuple[np.ndarray, ...]:
        return rows[first:last], neighbours[first:last], distances[first:last]

    count = max(1, math.ceil(neighbours.size * 8 / MAX_SHARD_BYTES))
    encode = functools.partial(map, encode_neighbourhood)
    return write_shards(Path(directory), part, encode, of_shard, len(rows), count, run)


def write_shards(
    directory: Path,
    prefix: str,
    encode: Callable[..., Iterable[bytes]],
    of_shard: Callable[[int, int], tuple[Any, ...]],
    num_records: int,
    num_shards: int,
    run: Run,
) -> int:
    """Writes `PREFIX-…tfrecord`, replacing existing ones.

    Args:
        directory: where to.
        prefix: of the names.
        encode: makes a shard's serialised records from what `of_shard` gives.
        of_shard: what the records from one to before another are made of.
        num_records: in all.
        num_shards: how many shards.
        run: writes them, each by one call.

    Returns:
        `num_shards`.
    """
    for stale in directory.glob(f"{prefix}-*-of-*.tfrecord"):
        stale.unlink()
    bounds = shard_bounds(num_records, num_shards)
    items = (
        (
            directory / f"{prefix}-{shard:05d}-of-{num_shards:05d}.tfrecord",
            last - first,
            of_shard(first, last),
        )
        for shard, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False))
    )
    for _ in progress(run(functools.partial(_write_shard, encode), items), prefix, num_shards):
        pass
    return num_shards


def _write_shard(
    encode: Callable[..., Iterable[bytes]], item: tuple[Path, int, tuple[Any, ...]]
) -> None:
    path, num_records, made_of = item
    written = 0
    with atomic_write(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in encode(*made_of):
                writer.write(example)
                written += 1
        if written != num_records:
            raise ValueError(f"{path}: expected {num_records} records, got {written}")


def shard_bounds(num_records: int, num_shards: int) -> list[int]:
    """The first record of each shard, and the total; shard lengths differ by 1 at most.

    >>> shard_bounds(10, 4)
    [0, 2, 5, 7, 10]
    """
    return np.linspace(0, num_records, num_shards + 1).astype(int).tolist()


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


def parse_neighbourhoods(serialised: tf.Tensor, max_rank: int) -> dict[str, tf.Tensor]:
    """Parses [B] serialised neighbourhoods that store `max_rank` neighbours each."""
    return tf.io.parse_example(serialised, neighbourhood_schema(max_rank))


def read_neighbourhoods(
    directory: str | Path, part: str, max_rank: int
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the neighbourhoods of a part in stored order, in parsed batches.

    Raises:
        InputError: a shard is missing or damaged.
    """
    parse = functools.partial(parse_neighbourhoods, max_rank=max_rank)
    for path in shard_paths(directory, part):
        yield from _parsed(path, parse, neighbourhood_schema(max_rank))


def empty_table(shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """An array whose memory TensorFlow can share; one of NumPy's own might be copied twice."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Images(NamedTuple):
    """Images in row order; their lists of ids are concatenated.

    Attributes:
        phi: Φ, float16 [N, D].
        image_ids: N names.
        tag_ids, tag_counts: all tag ids, and how many each image has, int64 [N].
        label_ids, label_counts: likewise.
    """

    phi: np.ndarray
    image_ids: tuple[str, ...]
    tag_ids: np.ndarray
    tag_counts: np.ndarray
    label_ids: np.ndarray
    label_counts: np.ndarray

    def without_features(self) -> "Images":
        """The same images with 0 features each; a slice of `phi` would keep all of it in memory."""
        return self._replace(phi=np.empty([len(self.phi), 0], self.phi.dtype))


def image_blocks(
    directory: str | Path,
    num_images: int,
    feature_dim: int,
    sums: Mapping[str, str] | None = None,
) -> Iterator[Images]:
    """Yields all images in row order, in blocks.

    Args:
        directory: the prepared directory.
        num_images: N.
        feature_dim: D.
        sums: the checksums of the shards; each shard is compared before it is parsed.

    Raises:
        InputError: a shard is missing or damaged, or the rows are not 0 … N − 1 in order.
    """
    paths = shard_paths(directory, "images")
    bounds = shard_bounds(num_images, len(paths))
    for path, first, last in zip(paths, bounds, bounds[1:], strict=False):
        if sums is not None:
            shard = Path(path)
            compare(shard.parent, shard.name, sha256(shard), sums)
        row = first
        for batch in _parsed(path, _parse_images, IMAGE_SCHEMA):
            block = _image_block(path, batch, row, feature_dim)
            row += len(block.phi)
            if row > last:
                break
            yield block
        if row != last:
            raise InputError(
                f"{path}: must hold {last - first} images (see dataset.json); "
                f"received {row - first if row < last else 'more'}; prepare the data again"
            )


def read_images(
    directory: str | Path,
    num_images: int,
    feature_dim: int,
    sums: Mapping[str, str] | None = None,
) -> Images:
    """Reads all images into one table; see `image_blocks`."""
    phi = empty_table([num_images, feature_dim], np.float16)
    blocks, row = [], 0
    for block in image_blocks(directory, num_images, feature_dim, sums):
        phi[row : row + len(block.phi)] = block.phi
        row += len(block.phi)
        blocks.append(block.without_features())
    return join_images(phi, blocks)


def join_images(phi: np.ndarray, blocks: Sequence[Images]) -> Images:
    """The names and ids of all blocks, in order, with `phi`, the features of all of them."""
    names = tuple(name for block in blocks for name in block.image_ids)
    lists = (np.concatenate(parts) for parts in list(zip(*blocks, strict=True))[2:])
    return Images(phi, names, *lists)


def _parsed(
    path: str,
    parse: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    schema: Mapping[str, Any],
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the records of a shard in stored order, in parsed batches with the field `row`."""
    read = 0
    # For a small shard it would take longest to trace what `tf.data` makes functions of: the
    # `flat_map` over files in `tf.data.TFRecordDataset`, and `map`. Here are neither.
    records = tf.raw_ops.TFRecordDataset(
        filenames=path, compression_type="", buffer_size=READ_BYTES
    )
    serialised = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
    try:
        for batch in serialised.batch(READ_BATCH).prefetch(1):
            parsed = parse(batch)
            yield parsed
            read += len(parsed["row"])
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = "cut off, or its bytes have changed"
        if isinstance(error, tf.errors.InvalidArgumentError):
            reason = f"not an Example with the fields {', '.join(schema)}"
        raise InputError(
            f"{path}: damaged at or after record {read} ({reason}); prepare the data again"
        ) from error


def _parse_images(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses [B] serialised images; lists of ids become their values and their lengths."""
    parsed = tf.io.parse_example(serialised, IMAGE_SCHEMA)
    return {
        "image_id": parsed["image_id"],
        "row": parsed["row"],
        # [B, D]; the bits of float16, of which oneDNN would say on stderr that it has no kernel.
        "phi": tf.io.decode_raw(parsed["phi"], tf.uint16),
        "tag_ids": parsed["tag_ids"].values,
        "tag_counts": parsed["tag_ids"].row_lengths(),
        "label_ids": parsed["label_ids"].values,
        "label_counts": parsed["label_ids"].row_lengths(),
    }


def _image_block(
    path: str, batch: dict[str, tf.Tensor], first_row: int, feature_dim: int
) -> Images:
    """A parsed batch as arrays, after checking that its rows start at `first_row`."""
    arrays = {name: tensor.numpy() for name, tensor in batch.items()}
    rows, phi = arrays.pop("row"), arrays.pop("phi").view(np.float16)
    misplaced = np.flatnonzero(rows != first_row + np.arange(len(rows)))
    if len(misplaced):
        raise InputError(
            f"{path}: the images' rows must be in order; received row {rows[misplaced[0]]} "
            f"instead of {first_row + misplaced[0]}; prepare the data again"
        )
    if phi.shape[1] != feature_dim:
        raise InputError(
            f"{path}: phi must have {feature_dim} numbers (see dataset.json); "
            f"received {phi.shape[1]}; prepare the data again"
        )
    names = tuple(name.decode() for name in arrays.pop("image_id"))
    return Images(phi, names, **arrays)
