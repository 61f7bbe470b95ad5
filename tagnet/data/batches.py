"""Streams the training neighbourhoods as `tf.data` batches: order, draws, and what a batch carries.

What streams are neighbourhood records. A batch carries row numbers, for a graph that looks them
up on its device, or what stands in those rows, for one that does not; of packed records, which
have it with them, always the latter.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from tagnet.data import packed, records
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import ROWS, Lookups, gather_rows, looked_up, padded_lists
from tagnet.errors import HINT_PREPARE, InputError
from tagnet.settings import Neighbourhood
from tagnet.system.files import advising

SHUFFLE_BLOCK = 2**18  # records shuffled together; the paper's training split fits, in 40 MB
SHARDS_AT_ONCE = 16  # read in turn, at most
READ_BYTES = 2**20  # of each, from the disk at once


def training_batches(
    dataset: PreparedDataset,
    *,
    split: int,
    encoding: str,
    pool: str,
    neighbourhood: Neighbourhood,
    inputs: list[str],
    batch_size: int,
    seed: int,
    epochs: range,
    lookups: Lookups | None = None,
    layout: str = "rows",
    feed: str | None = None,
) -> tf.data.Dataset:
    """Streams the training neighbourhoods of `epochs`, each in an order of its own.

    For every image and epoch one m-subset of its M nearest is drawn, uniformly
    and kept in distance order (eq. 1). Order and draws depend on nothing but
    `seed` and the epoch's number, so a run that starts at a later epoch sees the
    same batches as one that came to it from the first, whatever the layout.

    Args:
        dataset: what to stream.
        split: index of the random split.
        encoding: whose distance picked the neighbours.
        pool: where they come from.
        neighbourhood: (m, M).
        inputs: the keys to yield, what the model reads: row numbers (`row`, `neighbours`), or
            what stands in those rows (`phi_x`, `phi_z`, `pi_x`, `pi_z`).
        batch_size: images in a batch; the last of an epoch may be smaller.
        seed: of order and draws.
        epochs: which epochs, counted from 0.
        lookups: the tables on the host, see `tables.lookups`; None for row numbers.
        layout: `rows`, or `packed`, which needs no `lookups`.
        feed: encoding of the tags that packed records hold by their ids.

    Returns:
        A data set of ({"row": [B], "neighbours": [B, m]}, labels [B, L]), or with `phi_x`
        [B, D] and so on for keys.

    Raises:
        InputError: the data set was not prepared with this layout, or lacks a shard.
    """
    paths, block = _shards(dataset, split, encoding, pool, layout)
    stored = dataset.max_rank(encoding, pool)
    if layout == "packed":
        parse = _parse_packed(dataset, stored, feed)
    else:
        parse = _parse_rows(dataset, stored, lookups)

    def batch_of(index: tf.Tensor, serialised: tf.Tensor, epoch: tf.Tensor) -> tuple:
        rows, tables, labels = parse(serialised)
        nearest = rows[:, 1 : neighbourhood.max_rank + 1]
        drawn = _draw(nearest, neighbourhood.m, seed, epoch, index)
        given = {ROWS["x"]: rows[:, 0], ROWS["z"]: drawn}
        if tables is None:
            return {key: given[key] for key in inputs}, labels
        return looked_up(inputs, given, tables), labels

    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # Dataset.shuffle would mix in the global seed, and with it whatever the process did.
        shuffle = functools.partial(
            tf.random.experimental.stateless_shuffle, seed=tf.stack([seed, epoch])
        )
        return (
            tf.data.Dataset.from_tensor_slices(shuffle(tf.constant(paths)))
            .interleave(
                lambda path: tf.data.TFRecordDataset(path, buffer_size=READ_BYTES),
                # Not all of a few shards, or every epoch would have the same blocks.
                cycle_length=max(1, min(SHARDS_AT_ONCE, len(paths) // 2)),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .batch(block)
            .map(shuffle)
            .rebatch(batch_size)
            .enumerate()
            .map(
                lambda index, serialised: batch_of(index, serialised, epoch),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        )

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(epoch_of)
        .prefetch(tf.data.AUTOTUNE)
    )


def _shards(
    dataset: PreparedDataset, split: int, encoding: str, pool: str, layout: str
) -> tuple[list[str], int]:
    """The shards of a layout, and how many of their records are shuffled together."""
    paths = records.shard_paths(dataset.neighbourhood_directory(split, encoding, pool), "train")
    sizes = dataset.info["neighbours"][f"{encoding}-{pool}"].get("packed")
    block = SHUFFLE_BLOCK if sizes is None else sizes["block"]
    if layout == "rows":
        return paths, block
    if sizes is None:
        raise InputError(
            f"{dataset.directory}: has no packed records; prepare the data with --layout=packed"
        )
    directory = dataset.packed_directory(split, encoding, pool)
    with advising(HINT_PREPARE):
        found = records.shard_paths(directory, "train")
    dataset.check(found)
    return found, block


# What comes of serialised records: row numbers [B, M + 1], those of the images first, the
# tables to look them up in (None to leave them as they are), and labels [B, L].
_Parsed = tuple[tf.Tensor, Lookups | None, tf.Tensor]


def _parse_rows(
    dataset: PreparedDataset, stored: int, lookups: Lookups | None
) -> Callable[[tf.Tensor], _Parsed]:
    labels = tf.constant(dataset.labels)

    def parse(serialised: tf.Tensor) -> _Parsed:
        parsed = records.parse_neighbourhoods(serialised, stored)
        rows = tf.concat([parsed["row"][:, None], parsed["neighbours"]], axis=1)
        targets = tf.cast(tf.gather(labels, parsed["row"]), tf.float32)
        return tf.cast(rows, tf.int32), lookups, targets

    return parse


def _parse_packed(
    dataset: PreparedDataset, stored: int, feed: str | None
) -> Callable[[tf.Tensor], _Parsed]:
    """The images of a batch are tables of their own, of B (M + 1) rows."""
    beta = None
    if feed not in (None, "id"):
        beta = tf.constant(dataset.embedding(feed).vectors, tf.float64)
    num_labels = len(dataset.label_names)

    def parse(serialised: tf.Tensor) -> _Parsed:
        read = packed.parse_packed(serialised, stored, dataset.feature_dim, num_labels)

        def phi(rows: tf.Tensor) -> tf.Tensor:
            return gather_rows(read.phi, rows, tf.float32)

        def pi(rows: tf.Tensor) -> tf.Tensor:
            if beta is None:
                return padded_lists(read.tags, rows)
            # Summed as by `embeddings.rho`: in id order, in float64.
            lists = tf.gather(read.tags, tf.reshape(rows, [-1]))
            sums = tf.cast(tf.reduce_sum(tf.gather(beta, lists), axis=1), tf.float32)
            return tf.reshape(sums, [-1, *rows.shape[1:], beta.shape[1]])

        rows = tf.reshape(tf.range(tf.size(read.rows)), [-1, stored + 1])
        return rows, {"phi": phi, "pi": pi}, read.labels

    return parse


def _draw(nearest: tf.Tensor, m: int, seed: int, epoch: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Draws a uniform m-subset of each row of `nearest` [B, M], its order kept: [B, m]."""
    if m == nearest.shape[1]:
        return nearest
    keys = tf.random.stateless_uniform(tf.shape(nearest), tf.stack([seed, epoch * 2**32 + index]))
    positions = tf.sort(tf.math.top_k(keys, m).indices, axis=1)
    return tf.gather(nearest, positions, batch_dims=1)
