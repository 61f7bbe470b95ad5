"""Opens a prepared directory: its tables, its splits, and the neighbourhoods of a part."""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from tagnet.data import records
from tagnet.data.cache import cached_encoding, cached_images
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tables import Tables, to_device
from tagnet.data.tags import TagLists, Vocabulary
from tagnet.errors import HINT_PREPARE, CannotWrite, InputError
from tagnet.settings import MAX_REFERENCES, PARTS, PLACEMENTS, GraphSettings
from tagnet.system.checksums import read_checksums, verify
from tagnet.system.files import read_arrays, read_json, read_text, with_hint

FORMAT = 1
SUMMARY = "dataset.json"
IMAGE_WEIGHTS = "image_weights.npz"
LARGEST_SHARE = 0.5  # of the memory that is available, for a table that is chosen to be in it
CONTAINER = Path("/sys/fs/cgroup")  # what its limits and use of memory are told in


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


@dataclasses.dataclass(frozen=True)
class _Images:
    """The images of a directory in row order: Φ float16 [N, D], ids of tags and labels, names."""

    phi: np.ndarray
    tags: TagLists
    labels: TagLists
    image_ids: tuple[str, ...]


class PreparedDataset:
    """A prepared directory, as `data_tools.prepare` writes it.

    Args:
        directory: the folder that holds `dataset.json`.
        placement: where Φ and π are: in the memory of the `device`, in that of the `host`, or
            mapped from disk (`mmap`; see `cache.py`). None takes the first that has room,
            which on a processor leaves out the second.
        checked: whether what is read is compared with its checksum.

    Attributes:
        words: ids of the words in use, of those that were prepared; None for all.

    Raises:
        InputError: the folder is not a prepared directory of this format, or there is no
            such placement. Every method and attribute raises it for a file that is damaged.
    """

    def __init__(
        self, directory: str | Path, placement: str | None = "device", checked: bool = True
    ) -> None:
        self.directory = Path(directory)
        self._checked = checked
        summary = self.directory / SUMMARY
        if not summary.is_file():
            raise InputError(
                f"{self.directory}: not a prepared data set (no dataset.json); "
                "make one with python -m data_tools.prepare"
            )
        with with_hint(HINT_PREPARE):
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
        # Earlier versions did not list the summary itself.
        if checked and SUMMARY in self._sums:
            self.check([summary])
        if placement is None:
            fits = self.table_bytes <= LARGEST_SHARE * available_memory()
            placement = "device" if fits else "mmap"
        self._check("placement", placement, list(PLACEMENTS))
        self.words: np.ndarray | None = None
        self._pi: dict[str | None, tf.Tensor | TagLists | None] = {}
        self._neighbourhoods: Callable[[str, str], Path] | None = None
        self.placement = placement

    def require(self) -> None:
        """Raises `CannotWrite` if the directory was removed since it was opened."""
        if not (self.directory / SUMMARY).is_file():
            raise CannotWrite(f"{self.directory}: was removed or is unreachable")

    @property
    def table_bytes(self) -> int:
        """The bytes of Φ: N D float16."""
        return 2 * self.num_images * self.feature_dim

    @functools.cached_property
    def _sums(self) -> dict[str, str]:
        with with_hint(HINT_PREPARE):
            return read_checksums(self.directory)

    def check(self, files: Iterable[str | Path]) -> None:
        """Compares files of the directory, given by their paths, with their checksums.

        Raises:
            InputError: one is not as it was prepared.
        """
        if self._checked:
            files = [file for file in files if Path(file).is_relative_to(self.directory)]
            names = [Path(file).relative_to(self.directory).as_posix() for file in files]
            with with_hint(HINT_PREPARE):
                verify(self.directory, names, self._sums)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The τ tags in id order."""
        return self._prepared_vocabulary

    @functools.cached_property
    def _prepared_vocabulary(self) -> Vocabulary:
        path = self.directory / "vocabulary.txt"
        with with_hint(HINT_PREPARE):
            vocabulary = Vocabulary.load(path, empty=self.info.get("tags") == 0)
        self.check([path])
        return vocabulary

    @functools.cached_property
    def label_names(self) -> tuple[str, ...]:
        """The L labels in id order."""
        path = self.directory / "labels.txt"
        with with_hint(HINT_PREPARE):
            names = read_text(path).splitlines()
        self.check([path])
        return tuple(names)

    @functools.cached_property
    def _images(self) -> "_Images":
        with with_hint(HINT_PREPARE):
            if self.placement == "mmap":
                read = cached_images(self.directory, self.num_images, self.feature_dim, self._sums)
            else:
                sums = self._sums if self._checked else None
                read = records.read_images(self.directory, self.num_images, self.feature_dim, sums)
        return _Images(
            read.phi,
            self._lists(
                read.tag_ids, read.tag_counts, "vocabulary.txt", len(self._prepared_vocabulary)
            ),
            self._lists(read.label_ids, read.label_counts, "labels.txt", len(self.label_names)),
            read.image_ids,
        )

    def _lists(self, ids: np.ndarray, counts: np.ndarray, names: str, size: int) -> TagLists:
        """One list of ids for each image; an id must be a line of the file `names`."""
        if len(ids) and not 0 <= ids.min() <= ids.max() < size:
            raise InputError(
                f"{self.directory / names}: has {size} lines, but an image has the id "
                f"{ids.max()}; prepare the data again"
            )
        return TagLists(ids.astype(np.int32), np.concatenate([[0], np.cumsum(counts)]))

    @property
    def features(self) -> np.ndarray:
        """Φ, float16 [N, D]."""
        return self._images.phi

    @property
    def tags(self) -> TagLists:
        """The tag ids of every image."""
        return self._images.tags

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The names of the images, in row order."""
        return self._images.image_ids

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """y, uint8 [N, L] of 0 and 1."""
        return self._images.labels.multi_hot(len(self.label_names)).astype(np.uint8)

    @functools.cached_property
    def image_weights(self) -> np.ndarray | None:
        """The weight of every image in the loss, float32 [N]; None where all are 1."""
        path = self.directory / IMAGE_WEIGHTS
        if not self.info.get("weighted"):
            return None
        with with_hint(HINT_PREPARE):
            weights = read_arrays(path, "weights")["weights"]
        self.check([path])
        if weights.shape != (self.num_images,):
            raise InputError(
                f"{path}: must have {self.num_images} weights; received {weights.shape}; "
                "prepare the data again"
            )
        return weights

    def embedding(self, encoding: str) -> Embedding:
        """β of `w2v` or `wnet` for the vocabulary."""
        self._check("embedding", encoding, [name for name in self.encodings if name != "id"])
        path = self.directory / "embeddings" / f"{encoding}.npz"
        with with_hint(HINT_PREPARE):
            embedding = Embedding.load(path, num_words=len(self._prepared_vocabulary))
        self.check([path])
        if self.words is None:
            return embedding
        return Embedding(embedding.vectors[self.words], embedding.known[self.words])

    def encoded(self, encoding: str, tags: TagLists | None = None) -> np.ndarray | TagLists:
        """π of all images: their tags' ids for `id`, otherwise ρ(o_x; β), float32 [N, n].

        Args:
            encoding: `id`, `w2v` or `wnet`.
            tags: what they have in place of their own.
        """
        if encoding == "id":
            return self.tags if tags is None else tags
        if tags is not None:
            return rho(tags, self.embedding(encoding))
        if self.placement == "mmap" and self.words is None:  # the cache is of the prepared tags
            embedding = self.embedding(encoding)
            return cached_encoding(self.directory, encoding, self.tags, embedding, self._sums)
        return rho(self.tags, self.embedding(encoding))

    def tables(self, feed: str | None) -> Tables:
        """Φ and π of all images, placed once for all models of a process.

        TensorFlow does not free the graph of a compiled training step, nor what it refers to, so
        with tables of its own every run of a sweep would leave one behind.

        Args:
            feed: `id`, `w2v`, `wnet`, or None for a visual model.

        Raises:
            InputError: the data set has no features, or the encoding is not in it.
        """
        if not self.feature_dim:
            raise InputError(
                f"{self.directory}: has no features to train on (prepared with --tags_only); "
                "prepare it again with --features or photos"
            )
        if feed not in self._pi:
            self._check("feed", feed or "id", self.encodings)
            pi = None if feed is None else self.encoded(feed)
            if pi is not None and not isinstance(pi, TagLists):
                pi = to_device(pi, self.placement == "device")
            self._pi[feed] = pi
        return Tables(self._phi, self._pi[feed], len(self.vocabulary), self.placement == "device")

    @functools.cached_property
    def _phi(self) -> tf.Tensor:
        """Φ on the device where it is looked up."""
        return to_device(self.features, self.placement == "device")

    def graph_settings(self, m: int, feed: str | None = None, **others: Any) -> GraphSettings:
        """The settings of a model for this data set.

        Args:
            m: the size of a neighbourhood.
            feed: the encoding of the tags for a joint model; None for a visual one.
            others: further fields of `GraphSettings`.

        Raises:
            InputError: the encoding is not in the data set.
        """
        tag_dim = 0
        if feed is not None:
            self._check("feed", feed, self.encodings)
            tag_dim = (
                len(self.vocabulary) if feed == "id" else self.embedding(feed).vectors.shape[1]
            )
        sizes = {
            "feature_dim": self.feature_dim,
            "num_labels": len(self.label_names),
            # All splits have parts of the same sizes.
            "references": min(len(self.split(0)["train"]), MAX_REFERENCES),
        }
        return GraphSettings(m=m, feed=feed, tag_dim=tag_dim, **sizes | others)

    def with_tags(
        self, tags: TagLists, words: np.ndarray, neighbourhoods: Callable[[str, str], Path]
    ) -> "PreparedDataset":
        """The same images with other tags, and the neighbourhoods found by them.

        Args:
            tags: of every image, ids that count `words`.
            words: ids of the words in use, int64, ascending.
            neighbourhoods: encoding and pool → the folder of the neighbourhood shards.
        """
        self._phi  # noqa: B018  placed before it is copied: both look up the same table
        other = copy.copy(self)
        other.vocabulary = Vocabulary(tuple(self.vocabulary.decode(words)))
        other._images = dataclasses.replace(self._images, tags=tags)
        other.words = words
        other._neighbourhoods = neighbourhoods
        other._pi = {}
        return other

    def split(self, index: int) -> dict[str, np.ndarray]:
        """The row numbers of `train`, `validation` and `test` of random split `index`."""
        if not 0 <= index < self.num_splits:
            raise InputError(
                f"{self.directory}: split must be 0 to {self.num_splits - 1}; received {index}"
            )
        path = self.directory / "splits" / f"split-{index}.npz"
        with with_hint(HINT_PREPARE):
            rows = read_arrays(path, *PARTS)
        self.check([path])
        return rows

    def max_rank(self, encoding: str, pool: str) -> int:
        """How many neighbours are stored for each image: the largest possible M."""
        self._check("neighbours", encoding, self.encodings)
        self._check("pool", pool, self.pools)
        return int(self.info["neighbours"][f"{encoding}-{pool}"]["M"])

    def neighbourhood_directory(self, split: int, encoding: str, pool: str) -> Path:
        """Where the neighbourhood shards of a split, encoding and pool are."""
        if self._neighbourhoods is not None:
            return self._neighbourhoods(encoding, pool)
        return self.directory / "neighbours" / f"split-{split}" / f"{encoding}-{pool}"

    def part(self, split: int, encoding: str, pool: str, part: str, max_rank: int) -> Part:
        """Reads all neighbourhoods of a part, cut to the `max_rank` nearest."""
        stored = self.max_rank(encoding, pool)
        directory = self.neighbourhood_directory(split, encoding, pool)
        with with_hint(HINT_PREPARE):
            batches = list(records.read_neighbourhoods(directory, part, stored))
            self.check(records.shard_paths(directory, part))
        rows, neighbours, distances = (
            np.concatenate([batch[field].numpy() for batch in batches])
            for field in ("row", "neighbours", "distances")
        )
        expected = self.split(split)[part]
        if not np.array_equal(rows, expected):
            raise InputError(
                f"{directory}: {part} must hold the {len(expected)} images of split {split}; "
                f"received {len(rows)} that differ; prepare the data again"
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


def available_memory() -> int:
    """Bytes of memory available to this process, on the machine and in its container."""
    available = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or "max": it has no limit
        limit = int((CONTAINER / "memory.max").read_text())
        used = int((CONTAINER / "memory.current").read_text())
        counts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        # What files have in memory goes where there is need.
        available = min(available, limit - used + int(counts.get("inactive_file", 0)))
    return available


def load(directory: str | Path, placement: str | None = None) -> PreparedDataset:
    """Opens a prepared directory.

    Args:
        directory: as `data_tools.prepare` wrote it.
        placement: where to keep the features: `device`, `host` or `mmap`; None chooses by
            their size.

    Raises:
        InputError: it is not a prepared directory.
    """
    return PreparedDataset(directory, placement)
