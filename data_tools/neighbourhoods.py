"""The stage that finds every image's neighbours, for one encoding and one pool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagnet import neighbours
from tagnet.console import say
from tagnet.dataset import PARTS
from tagnet.files import InputError, Run, Table
from tagnet.neighbours import Neighbourhoods, has_known_tags, recall
from tagnet.packed import packed_sizes, write_packed
from tagnet.records import write_neighbourhoods
from tagnet.tags import TagLists

POOLS = {
    "open": "all images; the protocol of the paper",
    "closed": "the images of the same part",
    "train": "the training images; what a deployed annotator has",
}

RECALL_SAMPLE = 1000  # images whose neighbours by an index are compared with the exact ones

Splits = Sequence[dict[str, np.ndarray]]  # row numbers of each part


@dataclass(frozen=True, eq=False)
class Search:
    """How neighbours are searched for.

    Attributes:
        pi: the tags of all N images, see `tagnet.neighbours.nearest`.
        features: Φ [N, D]; decides where an image has no usable tag.
        index: see `tagnet.neighbours.cosine`.
        run: searches the pieces, and writes: an engine's `map`.
    """

    pi: TagLists | Table
    features: Table
    index: str
    run: Run

    def nearest(
        self, rows: np.ndarray, candidates: np.ndarray, M: int, index: str | None = None
    ) -> Neighbourhoods:
        """The M nearest of the images `rows` among the candidates."""
        return neighbours.nearest(
            self.pi, self.features, rows, candidates, M, index or self.index, self.run
        )


@dataclass(frozen=True)
class Packing:
    """What the packed layout has in a training record besides features, for all N images."""

    tags: TagLists
    labels: TagLists


def write_neighbours(
    directory: Path,
    name: str,
    search: Search,
    splits: Splits,
    rank: int,
    packing: Packing | None = None,
) -> dict[str, Any]:
    """Writes `neighbours/split-i/NAME/{train,validation,test}-….tfrecord` for every split.

    Args:
        directory: the prepared directory.
        name: `encoding-pool`, e.g. `w2v-open`.
        search: finds and writes them.
        splits: row numbers of each part.
        rank: M, how many neighbours are wanted.
        packing: to write `packed/split-i/NAME/` too; None to leave that.

    Returns:
        `M` that is stored, less than `rank` where the smallest pool has fewer,
        `by_features`, the number of images whose neighbours are those by Φ, and, unless
        the search was exact, `index` and its `recall` on some images of the last search.

    Raises:
        InputError: a pool has no second image; or an image has no usable tag, and
            there are no features to find its neighbours by.
    """
    pool = name.split("-")[1]
    M = _stored_rank(name, splits, rank, len(search.pi))
    if not search.features.shape[1]:
        _check_without_features(name, search.pi, splits, packing)
    by_features = np.zeros(len(search.pi), bool)
    packed: dict[str, Any] = {"bytes": []}
    for number, part, found in _search_parts(search, pool, splits, M):
        by_features[found.rows[found.by_features]] = True
        shards = None
        if part == "train" and packing is not None:
            folder = directory / "packed" / f"split-{number}" / name
            shards, packed["block"], size = _write_packed(folder, found, search, packing)
            packed["bytes"].append(size)
        folder = directory / "neighbours" / f"split-{number}" / name
        write_neighbourhoods(
            folder, part, found.rows, found.neighbours, found.distances, shards, search.run
        )
    report: dict[str, Any] = {"M": M, "by_features": int(by_features.sum())}
    if packing is not None:
        report["packed"] = packed
    if search.index != "exact":
        candidates = _candidates(pool, splits[-1], part, len(search.pi))
        report |= _measure_recall(name, search, found, candidates)
    return report


def largest_rank(pool: str, splits: Splits, num_images: int) -> int:
    """How many neighbours every image of every split has in `pool`, itself left out."""
    smallest = {
        "open": num_images,
        "closed": min(len(rows) for split in splits for rows in split.values()),
        "train": min(len(split["train"]) for split in splits),
    }
    return smallest[pool] - 1


def _stored_rank(name: str, splits: Splits, rank: int, num_images: int) -> int:
    """M: `rank`, or as many neighbours as every image has."""
    stored = min(rank, largest_rank(name.split("-")[1], splits, num_images))
    if stored < 1:
        raise InputError(f"{name}: every pool must have at least 2 images; see --sizes and --pools")
    if stored < rank:
        say(f"{name}: M {stored} in place of {rank}; the smallest pool has {stored + 1} images")
    return stored


def _check_without_features(
    name: str, pi: TagLists | Table, splits: Splits, packing: Packing | None
) -> None:
    """Refuses what a data set without features cannot have."""
    if packing is not None:
        raise InputError(f"{name}: --layout=packed packs features; received images without")
    if count := int((~has_known_tags(pi)[_everyone(splits)]).sum()):
        raise InputError(
            f"{name}: without features every image must have a usable tag; {count} have none; "
            "raise --tau, lower --min_images, or leave out --tags_only"
        )


def _search_parts(
    search: Search, pool: str, splits: Splits, M: int
) -> Iterator[tuple[int, str, Neighbourhoods]]:
    """Yields each split's number, each of its parts, and the neighbours of the part's images."""
    everyone: Neighbourhoods | None = None
    if pool == "open":  # does not depend on the split: one search for all
        everyone = search.nearest(_everyone(splits), np.arange(len(search.pi)), M)
    for number, split in enumerate(splits):
        for part in PARTS:
            if everyone is not None:
                yield number, part, _of_rows(everyone, split[part])
            else:
                candidates = _candidates(pool, split, part, len(search.pi))
                yield number, part, search.nearest(split[part], candidates, M)


def _everyone(splits: Splits) -> np.ndarray:
    """The rows of all splits' images, ascending."""
    return np.unique(np.concatenate([rows for split in splits for rows in split.values()]))


def _candidates(pool: str, split: dict[str, np.ndarray], part: str, num_images: int) -> np.ndarray:
    """The rows among which the images of a part have their neighbours."""
    if pool == "open":
        return np.arange(num_images)
    return split[part if pool == "closed" else "train"]


def _of_rows(found: Neighbourhoods, rows: np.ndarray) -> Neighbourhoods:
    return found.select(np.searchsorted(found.rows, rows))


def _write_packed(
    folder: Path, found: Neighbourhoods, search: Search, packing: Packing
) -> tuple[int, int, int]:
    """Writes training records with the features in them: their shards, block and bytes."""
    count, M = found.neighbours.shape
    shards, block = packed_sizes(count, M, search.features.shape[1])
    size = write_packed(
        folder,
        "train",
        found.rows,
        found.neighbours,
        search.features,
        packing.tags,
        packing.labels,
        shards,
        search.run,
    )
    return shards, block, size


def _measure_recall(
    name: str, search: Search, found: Neighbourhoods, candidates: np.ndarray
) -> dict[str, Any]:
    """Searches exactly for some of the images whose neighbours were found by an index."""
    count, M = found.neighbours.shape
    sample = found.select(np.unique(np.linspace(0, count - 1, RECALL_SAMPLE).astype(int)))
    exact = search.nearest(sample.rows, candidates, M, "exact")
    share = recall(sample, exact)
    say(f"{name}: {search.index} found {share:.2%} of the nearest of {len(sample.rows)} images")
    return {"index": search.index, "recall": share}
