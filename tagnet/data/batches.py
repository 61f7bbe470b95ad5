"""Streams training neighbourhoods as `tf.data` batches: order, draws and contents.

What streams are neighbourhood records. A batch carries row numbers, for a graph that looks them
up on its device, or what stands in those rows, for one that does not.
"""

import functools

import numpy as np
import tensorflow as tf

from tagnet.data import records
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import ROWS, Lookups, gather_inputs
from tagnet.settings import BatchSettings

SHUFFLE_BLOCK = 2**18  # records shuffled together; the paper's training split fits, in 40 MB
SHARDS_AT_ONCE = 16  # read in turn, at most


def training_batches(
    dataset: PreparedDataset,
    settings: BatchSettings,
    inputs: list[str],
    epochs: range,
    lookups: Lookups | None = None,
    weights: np.ndarray | None = None,
    one_size: bool = False,
) -> tf.data.Dataset:
    """Streams the training neighbourhoods of `epochs`, each in an order of its own.

    For every image and epoch one m-subset of its M nearest is drawn, uniformly
    and kept in distance order (eq. 1). Order and draws depend on nothing but
    the seed and the epoch's number, so a run that starts at a later epoch sees the
    same batches as one that came to it from the first.

    Args:
        dataset: what to stream.
        settings: which neighbourhoods, and in what batches.
        inputs: the keys to yield, what the model reads: row numbers (`row`, `neighbours`), or
            what stands in those rows (`phi_x`, `phi_z`, `pi_x`, `pi_z`).
        epochs: which epochs, counted from 0.
        lookups: the tables on the host, see `tables.lookup_tables`; None for row numbers.
        weights: of every image and label in the loss, float32 [N, L]; None for 1.
        one_size: fills up the last batch of an epoch with images that do not count; see `_filled`.

    Returns:
        A data set of ({"row": [B], "neighbours": [B, m]}, labels [B, L]), or with `phi_x`
        [B, D] and so on for keys. With weights the labels are [B, L, 2]: label, weight. With
        `one_size` there is a third entry, the weights of the images in the loss [B].

    Raises:
        InputError: the data set lacks such neighbours, or a shard.
    """
    wanted = settings.neighbourhood
    stored = dataset.max_rank(settings.encoding, settings.pool)
    directory = dataset.neighbourhood_directory(settings.split, settings.encoding, settings.pool)
    paths = records.shard_paths(directory, "train")
    labels = tf.constant(dataset.labels)

    def batch_of(index: tf.Tensor, serialised: tf.Tensor, epoch: tf.Tensor) -> tuple:
        parsed = records.parse_neighbourhoods(serialised, stored)
        nearest = tf.cast(parsed["neighbours"][:, : wanted.max_rank], tf.int32)
        drawn = _draw(nearest, wanted.m, settings.seed, epoch, index)
        given = {ROWS["x"]: tf.cast(parsed["row"], tf.int32), ROWS["z"]: drawn}
        targets = tf.cast(tf.gather(labels, parsed["row"]), tf.float32)
        if weights is not None:
            targets = tf.stack([targets, tf.gather(weights, parsed["row"])], axis=2)
        counts: list[tf.Tensor] = []
        if one_size:
            given, targets, *counts = _filled(given, targets, settings.batch_size)
        if lookups is None:
            return {key: given[key] for key in inputs}, targets, *counts
        return gather_inputs(inputs, given, lookups), targets, *counts

    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # Dataset.shuffle would mix in the global seed, and with it whatever the process did.
        shuffle = functools.partial(
            tf.random.experimental.stateless_shuffle, seed=tf.stack([settings.seed, epoch])
        )
        return (
            tf.data.Dataset.from_tensor_slices(shuffle(tf.constant(paths)))
            .interleave(
                lambda path: tf.data.TFRecordDataset(path, buffer_size=records.READ_BYTES),
                # Not all of a few shards, or every epoch would have the same blocks.
                cycle_length=max(1, min(SHARDS_AT_ONCE, len(paths) // 2)),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .batch(SHUFFLE_BLOCK)
            .map(shuffle)
            .rebatch(settings.batch_size)
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


def _filled(
    given: dict[str, tf.Tensor], targets: tf.Tensor, size: int
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """A batch of `size` images, the last of them repeated if there are fewer.

    Returns:
        The batch, and the weight of each image's loss [size]: 0 for a repeated one, and such that
        the mean over `size` images is that over those which were there.
    """
    count = tf.shape(targets)[0]
    places = tf.range(size)
    weights = tf.where(places < count, size / count, 0.0)
    chosen = tf.minimum(places, count - 1)
    filled = {name: tf.gather(rows, chosen) for name, rows in given.items()}
    return filled, tf.gather(targets, chosen), tf.cast(weights, tf.float32)


def _draw(nearest: tf.Tensor, m: int, seed: int, epoch: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Draws a uniform m-subset of each row of `nearest` [B, M], its order kept: [B, m]."""
    if m == nearest.shape[1]:
        return nearest
    keys = tf.random.stateless_uniform(tf.shape(nearest), tf.stack([seed, epoch * 2**32 + index]))
    positions = tf.sort(tf.math.top_k(keys, m).indices, axis=1)
    return tf.gather(nearest, positions, batch_dims=1)
