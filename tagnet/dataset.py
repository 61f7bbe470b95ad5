"""Opens a prepared directory: its tables, and its neighbourhoods as `tf.data` batches.

The features are read once into a table; what streams are the neighbourhood
records, and a batch carries nothing but row numbers and the labels.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tagnet import records
from tagnet.embeddings import Embedding, rho
from tagnet.files import InputError, read_arrays, read_json, read_text
from tagnet.tags import TagLists, Vocabulary

FORMAT = 1
PARTS = ("train", "validation", "test")
SHUFFLE_BLOCK = 2**18  # records shuffled together; the paper's training split fits, in 40 MB


@dataclasses.dataclass(frozen=True)
class Tables:
    """What row numbers are looked up in.

    Attributes:
        phi: Φ, float16 [N, D]; an array, or a tensor that is on the device already.
        pi: encoded tags: float32 [N, n] for a β, the ids themselves for `id`,
            None for a visual model.
        num_tags: τ, the size of the vocabulary.
    """

    phi: np.ndarray | tf.Tensor
    pi: np.ndarray | tf.Tensor | TagLists | None
    num_tags: int

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self.phi.shape[1])

    @property
    def tag_dim(self) -> int:
        """N of a β, τ for ids, 0 without tags."""
        if self.pi is None:
            return 0
        return self.num_tags if isinstance(self.pi, TagLists) else int(self.pi.shape[1])


@dataclasses.dataclass(frozen=True)
class Part:
    """The neighbourhoods of one part (train, validation or test) of a split.

    Attributes:
        rows: int64 [n], the images of the part.
        neighbours: int64 [n, M], row numbers, nearest first.
        distances: float32 [n, M].
    """

    rows: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray


class PreparedDataset:
    """A prepared directory, as `data_tools.prepare` writes it.

    Args:
        directory: the folder that holds `dataset.json`.

    Raises:
        InputError: the folder is not a prepared directory of this format.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        summary = self.directory / "dataset.json"
        if not summary.is_file():
            raise InputError(
                f"{self.directory}: not a prepared data set (no dataset.json); "
                "make one with python -m data_tools.prepare"
            )
        self.info: dict[str, Any] = read_json(summary)
        if self.info.get("format") != FORMAT:
            raise InputError(
                f"{summary}: format must be {FORMAT}; received {self.info.get('format')!r}; "
                "prepare the data again"
            )
        try:
            self.name: str = self.info["name"]
            self.num_images: int = self.info["images"]
            self.feature_dim: int = self.info["feature_dim"]
            self.encodings: list[str] = self.info["encodings"]
            self.pools: list[str] = self.info["pools"]
            self.num_splits: int = self.info["splits"]
        except KeyError as error:
            raise InputError(
                f"{summary}: lacks the field {error}; prepare the data again"
            ) from error

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The τ tags in id order."""
        return Vocabulary.load(self.directory / "vocabulary.txt")

    @functools.cached_property
    def label_names(self) -> tuple[str, ...]:
        """The L labels in id order."""
        return tuple(read_text(self.directory / "labels.txt").splitlines())

    @functools.cached_property
    def _images(self) -> tuple[np.ndarray, TagLists, TagLists, tuple[str, ...]]:
        read = records.read_images(self.directory, self.num_images, self.feature_dim)
        return (
            read.phi,
            self._lists(read.tag_ids, read.tag_counts, "vocabulary.txt", len(self.vocabulary)),
            self._lists(read.label_ids, read.label_counts, "labels.txt", len(self.label_names)),
            read.image_ids,
        )

    def _lists(self, ids: np.ndarray, counts: np.ndarray, names: str, size: int) -> TagLists:
        """One list of ids for each image; an id must be a line of the file `names`."""
        if len(ids) and not 0 <= ids.min() <= ids.max() < size:
            raise InputError(
                f"{self.directory / names}: the images' ids must be 0 to {size - 1}, one a line; "
                f"received {ids.max()}; prepare the data again"
            )
        return TagLists(ids.astype(np.int32), np.concatenate([[0], np.cumsum(counts)]))

    @property
    def features(self) -> np.ndarray:
        """Φ, float16 [N, D]."""
        return self._images[0]

    @property
    def tags(self) -> TagLists:
        """The tag ids of every image."""
        return self._images[1]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The names of the images, in row order."""
        return self._images[3]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """y, uint8 [N, L] of 0 and 1."""
        return self._images[2].multi_hot(len(self.label_names)).astype(np.uint8)

    def embedding(self, encoding: str) -> Embedding:
        """β of `w2v` or `wnet` for the vocabulary."""
        self._check("embedding", encoding, [name for name in self.encodings if name != "id"])
        return Embedding.load(
            self.directory / "embeddings" / f"{encoding}.npz", num_words=len(self.vocabulary)
        )

    def encoded(self, encoding: str) -> np.ndarray | TagLists:
        """π of all images: their tags' ids for `id`, otherwise ρ(o_x; β), float32 [N, n]."""
        return self.tags if encoding == "id" else rho(self.tags, self.embedding(encoding))

    def tables(self, feed: str | None) -> Tables:
        """Φ and π of all images.

        Args:
            feed: `id`, `w2v`, `wnet`, or None for a visual model.

        Raises:
            InputError: the data set has no features, or the encoding is not in it.
        """
        if not self.feature_dim:
            raise InputError(
                f"{self.directory}: was prepared with --tags_only, without the features that "
                "every model reads; prepare it again with --features or photographs"
            )
        pi: np.ndarray | TagLists | None = None
        if feed is not None:
            self._check("feed", feed, self.encodings)
            pi = self.encoded(feed)
        return Tables(self.features, pi, len(self.vocabulary))

    def split(self, index: int) -> dict[str, np.ndarray]:
        """The row numbers of `train`, `validation` and `test` of random split `index`."""
        if not 0 <= index < self.num_splits:
            raise InputError(
                f"{self.directory}: split must be 0 to {self.num_splits - 1}; received {index}"
            )
        return read_arrays(self.directory / "splits" / f"split-{index}.npz", *PARTS)

    def max_rank(self, encoding: str, pool: str) -> int:
        """How many neighbours are stored for each image, the largest M that can be asked for."""
        self._check("neighbours", encoding, self.encodings)
        self._check("pool", pool, self.pools)
        return int(self.info["neighbours"][f"{encoding}-{pool}"]["M"])

    def neighbourhood_directory(self, split: int, encoding: str, pool: str) -> Path:
        """Where the neighbourhood shards of a split, encoding and pool are."""
        return self.directory / "neighbours" / f"split-{split}" / f"{encoding}-{pool}"

    def part(self, split: int, encoding: str, pool: str, part: str, max_rank: int) -> Part:
        """Reads the neighbourhoods of a part whole, cut to the `max_rank` nearest."""
        stored = self.max_rank(encoding, pool)
        directory = self.neighbourhood_directory(split, encoding, pool)
        batches = list(records.read_neighbourhoods(directory, part, stored))
        rows, neighbours, distances = (
            np.concatenate([batch[field].numpy() for batch in batches])
            for field in ("row", "neighbours", "distances")
        )
        expected = self.split(split)[part]
        if not np.array_equal(rows, expected):
            raise InputError(
                f"{directory}: {part} must hold the {len(expected)} images that split {split} has; "
                f"received {len(rows)}, not the same; prepare the data again"
            )
        if neighbours.min() < 0 or neighbours.max() >= self.num_images:
            raise InputError(
                f"{directory}: a neighbour's row must be 0 to {self.num_images - 1}; "
                f"received {neighbours.max()}; prepare the data again"
            )
        return Part(rows, neighbours[:, :max_rank], distances[:, :max_rank])

    def _check(self, what: str, value: str, known: list[str]) -> None:
        if value not in known:
            raise InputError(
                f"{self.directory}: {what} must be one of {', '.join(known)}; received {value!r}"
            )


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """Which neighbours a run draws: (m, M) of the paper.

    Attributes:
        m: how many neighbours the network sees at once.
        max_rank: M, the number of nearest images that they are drawn from.
    """

    m: int
    max_rank: int

    def __post_init__(self) -> None:
        if not 1 <= self.m <= self.max_rank:
            raise InputError(f"m must be 1 to M; received m {self.m}, M {self.max_rank}")


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
) -> tf.data.Dataset:
    """Streams the training neighbourhoods of `epochs`, each in an order of its own.

    For every image and epoch one m-subset of its M nearest is drawn, uniformly
    and kept in distance order (eq. 1). Order and draws depend on nothing but
    `seed` and the epoch's number, so a run that starts at a later epoch sees the
    same batches as one that came to it from the first.

    Args:
        dataset: what to stream.
        split: index of the random split.
        encoding: whose distance picked the neighbours.
        pool: where they come from.
        neighbourhood: (m, M).
        inputs: the keys to yield, `row` and, unless the model ignores them, `neighbours`.
        batch_size: images in a batch; the last of an epoch may be smaller.
        seed: of order and draws.
        epochs: which epochs, counted from 0.

    Returns:
        A data set of ({"row": [B], "neighbours": [B, m]}, labels [B, L]).
    """
    stored = dataset.max_rank(encoding, pool)
    directory = dataset.neighbourhood_directory(split, encoding, pool)
    paths = records.shard_paths(directory, "train")
    labels = tf.constant(dataset.labels)

    def batch_of(index: tf.Tensor, serialised: tf.Tensor, epoch: tf.Tensor) -> tuple:
        parsed = records.parse_neighbourhoods(serialised, stored)
        nearest = parsed["neighbours"][:, : neighbourhood.max_rank]
        parsed["neighbours"] = _draw(nearest, neighbourhood.m, seed, epoch, index)
        targets = tf.cast(tf.gather(labels, parsed["row"]), tf.float32)
        return {key: tf.cast(parsed[key], tf.int32) for key in inputs}, targets

    def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # Dataset.shuffle would mix in the global seed, and with it whatever the process did.
        shuffled = (
            tf.data.TFRecordDataset(paths, buffer_size=records.READ_BYTES)
            .batch(SHUFFLE_BLOCK)
            .map(lambda block: tf.random.experimental.stateless_shuffle(block, [seed, epoch]))
        )
        return (
            shuffled.rebatch(batch_size)
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


def _draw(nearest: tf.Tensor, m: int, seed: int, epoch: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Draws a uniform m-subset of each row of `nearest` [B, M], its order kept: [B, m]."""
    if m == nearest.shape[1]:
        return nearest
    keys = tf.random.stateless_uniform(tf.shape(nearest), tf.stack([seed, epoch * 2**32 + index]))
    positions = tf.sort(tf.math.top_k(keys, m).indices, axis=1)
    return tf.gather(nearest, positions, batch_dims=1)
