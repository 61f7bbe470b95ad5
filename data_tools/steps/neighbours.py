"""The stage that finds every image's neighbours for one encoding and pool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagnet.data.records import write_neighbourhoods
from tagnet.data.tags import TagLists
from tagnet.errors import InputError
from tagnet.search import neighbours
from tagnet.search.compiled import compile_time
from tagnet.search.neighbours import Neighbourhoods, has_known_tags, recall
from tagnet.settings import PARTS
from tagnet.system.console import counted, say
from tagnet.system.files import Run, Table

RECALL_SAMPLE = 1000  # images whose neighbours by an index are compared with the exact ones

Splits = Sequence[dict[str, np.ndarray]]  # row numbers of each part


@dataclass(frozen=True, eq=False)
class Search:
    """A neighbour search.

    Attributes:
        pi: the tags of all N images, see `tagnet.search.neighbours.nearest`.
        features: Φ [N, D]; decides where an image has no usable tag.
        index: see `tagnet.search.neighbours.cosine`.
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


def write_neighbours(
    directory: Path,
    name: str,
    search: Search,
    splits: Splits,
    rank: int,
) -> dict[str, Any]:
    """Writes `neighbours/split-i/NAME/{train,validation,test}-….tfrecord` for every split.

    Args:
        directory: the prepared directory.
        name: `encoding-pool`, e.g. `w2v-open`.
        search: finds and writes them.
        splits: row numbers of each part.
        rank: M, how many neighbours are wanted.

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
        _require_known_tags(name, search.pi, splits)
    by_features = np.zeros(len(search.pi), bool)
    with compile_time() as compiling:
        for number, part, found in _search_parts(search, pool, splits, M):
            by_features[found.rows[found.by_features]] = True
            folder = directory / "neighbours" / f"split-{number}" / name
            write_neighbourhoods(
                folder, part, found.rows, found.neighbours, found.distances, search.run
            )
    if compiling.seconds >= 0.1:
        say(f"{name}: compiled the search in {compiling.seconds:.1f} s, once on this machine")
    report: dict[str, Any] = {"M": M, "by_features": int(by_features.sum())}
    if search.index != "exact":
        candidates = _candidates(pool, splits[-1], part, len(search.pi))
        report |= _measure_recall(name, search, found, candidates)
    return report


def largest_rank(pool: str, splits: Splits, num_images: int) -> int:
    """How many neighbours every image of every split has in `pool`, not counting itself."""
    smallest = {
        "open": num_images,
        "closed": min(len(rows) for split in splits for rows in split.values()),
        "train": min(len(split["train"]) for split in splits),
    }
    return smallest[pool] - 1


def _stored_rank(name: str, splits: Splits, rank: int, num_images: int) -> int:
    """M: `rank`, or fewer if some image has fewer neighbours."""
    stored = min(rank, largest_rank(name.split("-")[1], splits, num_images))
    if stored < 1:
        raise InputError(
            f"{name}: every pool must have at least 2 images (see --sizes and --pools)"
        )
    if stored < rank:
        say(f"{name}: M = {stored} instead of {rank}: the smallest pool has {stored + 1} images")
    return stored


def _require_known_tags(name: str, pi: TagLists | Table, splits: Splits) -> None:
    """Raises `InputError` if an image has no known tag, since there are no features to use."""
    if count := int((~has_known_tags(pi)[_everyone(splits)]).sum()):
        raise InputError(
            f"{name}: without features every image must have a known tag; {count:,} have none; "
            "raise --tau, lower --min_images, or omit --tags_only"
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
    """The rows that the images of a part take their neighbours from."""
    if pool == "open":
        return np.arange(num_images)
    return split[part if pool == "closed" else "train"]


def _of_rows(found: Neighbourhoods, rows: np.ndarray) -> Neighbourhoods:
    return found.select(np.searchsorted(found.rows, rows))


def _measure_recall(
    name: str, search: Search, found: Neighbourhoods, candidates: np.ndarray
) -> dict[str, Any]:
    """Compares an index with an exact search on a sample of images, and prints its recall."""
    count, M = found.neighbours.shape
    sample = found.select(np.unique(np.linspace(0, count - 1, RECALL_SAMPLE).astype(int)))
    exact = search.nearest(sample.rows, candidates, M, "exact")
    share = recall(sample, exact)
    images = counted(len(sample.rows), "image")
    say(f"{name}: {search.index} found {share:.2%} of the true neighbours of {images}")
    return {"index": search.index, "recall": share}
