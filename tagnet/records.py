"""The record schema: what one `tf.train.Example` of an image or a neighbourhood holds.

Writer and reader both take it from here. Images are stored once; neighbours are
stored as row numbers into the images, since packing 24 neighbours' features into
every record would take 25 times the room.
"""

import functools
import hashlib
import itertools
import math
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tagnet import shards
from tagnet.checksums import compare
from tagnet.console import progress
from tagnet.files import InputError, Run, written_whole
from tagnet.memory import pool

MIN_SHARDS = 4  # so that shards can be read in parallel
MAX_SHARD_BYTES = 128 * 2**20
READ_BATCH = 1024  # neighbourhoods parsed at once
ALIGNMENT = 64  # bytes; of every tensor of TensorFlow's


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
    num_shards: int | None = None,
    run: Run = map,
) -> int:
    """Writes `PART-…tfrecord`: for each of `rows` [n] its neighbours and distances [n, M].

    There are `num_shards` of them, by default as few as keep to `MAX_SHARD_BYTES`; `run` writes
    them.
    """

    def of_shard(first: int, last: int) -> tuple[np.ndarray, ...]:
        return rows[first:last], neighbours[first:last], distances[first:last]

    count = num_shards or max(1, math.ceil(neighbours.size * 8 / MAX_SHARD_BYTES))
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
    """Writes `PREFIX-…tfrecord` in place of those that are there.

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
    with written_whole(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in encode(*made_of):
                writer.write(example)
                written += 1
        if written != num_records:
            raise ValueError(f"{path}: of {num_records} records {written} came")


def shard_bounds(num_records: int, num_shards: int) -> list[int]:
    """The record with which each shard begins, and at the end their number: lengths differ by 1.

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


def parse_neighbourhoods(
    serialised: tf.Tensor | list[bytes], max_rank: int
) -> dict[str, tf.Tensor]:
    """Parses [B] serialised neighbourhoods that store `max_rank` neighbours each."""
    return tf.io.parse_example(serialised, neighbourhood_schema(max_rank))


def read_neighbourhoods(
    directory: str | Path, part: str, max_rank: int
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the neighbourhoods of a part in stored order, in parsed batches.

    Raises:
        InputError: a shard is damaged.
    """
    for path in shard_paths(directory, part):
        data = _mapped(path)
        bounds = _bounds(path, data)
        if (whole := shards.intact(data, bounds)) < len(bounds):
            _raise_damaged(path, whole, shards.CHECKSUM)
        for first in range(0, len(bounds), READ_BATCH):
            spans = bounds[first : first + READ_BATCH].tolist()
            serialised = [data[begin:end].tobytes() for begin, end in spans]
            try:
                batch = parse_neighbourhoods(serialised, max_rank)
            except tf.errors.OpError as error:
                reason = (error.message or type(error).__name__).splitlines()[0]
                raise InputError(
                    f"{path}: damaged at or after record {first} ({reason}); prepare the data again"
                ) from error
            yield batch


def empty_table(shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """An array at an address that TensorFlow can share; NumPy's own may be copied twice."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Images(NamedTuple):
    """Images in row order; ids stand list after list.

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


def image_blocks(directory: str | Path, num_images: int, feature_dim: int) -> Iterator[Images]:
    """Yields the images of one shard after another; no more than one is in memory.

    Raises:
        InputError: as `read_images`.
    """
    paths = shard_paths(directory, "images")
    bounds = shard_bounds(num_images, len(paths))
    for path, first, last in zip(paths, bounds, bounds[1:], strict=False):
        phi = np.empty([last - first, feature_dim], np.float16)
        image_ids, *lists = _read_images(path, phi, first)
        yield Images(phi, tuple(image_ids), *lists)


def read_images(
    directory: str | Path,
    num_images: int,
    feature_dim: int,
    sums: Mapping[str, str] | None = None,
) -> Images:
    """Reads all images, several shards at a time.

    Args:
        directory: the prepared directory.
        num_images: N.
        feature_dim: D.
        sums: the checksums of the shards, which are compared while these are at hand.

    Raises:
        InputError: a shard is missing or damaged, or the rows are not 0 … N − 1 in order.
    """
    paths = shard_paths(directory, "images")
    bounds = shard_bounds(num_images, len(paths))
    phi = empty_table([num_images, feature_dim], np.float16)

    def read(shard: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rows = slice(bounds[shard], bounds[shard + 1])
        return _read_images(paths[shard], phi[rows], rows.start, sums)

    with pool(os.cpu_count()) as threads:
        image_ids, *lists = zip(*threads.map(read, range(len(paths))), strict=True)
    names = tuple(itertools.chain.from_iterable(image_ids))
    return Images(phi, names, *(np.concatenate(parts) for parts in lists))


def _read_images(
    path: str, phi: np.ndarray, first_row: int, sums: Mapping[str, str] | None = None
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads a shard into `phi` [n, D]: names, tag ids and counts, label ids and counts."""
    data = _mapped(path)
    bounds = _bounds(path, data)
    if len(bounds) != len(phi):
        raise InputError(
            f"{path}: must hold {len(phi)} of the images that dataset.json promises; "
            f"received {len(bounds)}; prepare the data again"
        )
    spans = np.empty([len(bounds), shards.SPANS], np.int64)
    read, wrong = shards.read(data, bounds, phi.view(np.uint8), spans)
    if wrong:
        _raise_damaged(path, read, wrong)
    misplaced = np.flatnonzero(spans[:, shards.ROW] != first_row + np.arange(len(phi)))
    if len(misplaced):
        raise InputError(
            f"{path}: the images' rows must run from {first_row} in order; record {misplaced[0]} "
            f"received {spans[misplaced[0], shards.ROW]}; prepare the data again"
        )
    view = data.data
    if sums is not None:
        place = Path(path)
        compare(place.parent, place.name, hashlib.sha256(view).hexdigest(), sums)
    names = [str(view[first:last], "utf-8") for first, last in spans[:, shards.IMAGE_ID].tolist()]
    return (
        names,
        *shards.id_lists(data, spans[:, shards.TAG_IDS]),
        *shards.id_lists(data, spans[:, shards.LABEL_IDS]),
    )


def _mapped(path: str) -> np.ndarray:
    """The bytes of a file, uint8, from the system's cache of it: nothing is allocated."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, np.uint8)
        # Linux can map all pages at once, which spares an interruption for each of them.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        return np.frombuffer(
            mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ), np.uint8
        )


def _bounds(path: str, data: np.ndarray) -> np.ndarray:
    """Where the records of a shard begin and end, int64 [n, 2]."""
    bounds, wrong = shards.frames(data)
    if wrong:
        _raise_damaged(path, len(bounds), wrong)
    return bounds


def _raise_damaged(path: str, record: int, wrong: int) -> NoReturn:
    raise InputError(
        f"{path}: damaged at record {record} ({shards.REASONS[wrong]}); prepare the data again"
    )
