"""The stage that finds every image's neighbours, for one encoding and one pool."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.engines import Engine
from tagnet import neighbours, partitions
from tagnet.console import say
from tagnet.dataset import PARTS
from tagnet.embeddings import Embedding, Sums, rho
from tagnet.files import InputError, Table
from tagnet.neighbours import Neighbourhoods, recall, says_something
from tagnet.records import write_neighbourhoods
from tagnet.tags import TagLists

POOLS = {
    "open": "all images; the protocol of the paper",
    "closed": "the images of the same part",
    "train": "the training images; what a deployed annotator has",
}

RECALL_SAMPLE = 1000  # images whose neighbours by an index are compared with the exact ones


def largest_rank(pool: str, splits: Sequence[dict[str, np.ndarray]], num_images: int) -> int:
    """How many neighbours every image of every split has in `pool`, itself left out."""
    smallest = {
        "open": num_images,
        "closed": min(len(rows) for split in splits for rows in split.values()),
        "train": min(len(split["train"]) for split in splits),
    }
    return smallest[pool] - 1


def write_neighbours(
    directory: Path,
    name: str,
    tags: TagLists,
    features: Table,
    embedding: Embedding | None,
    splits: Sequence[dict[str, np.ndarray]],
    rank: int,
    engine: Engine,
    index: str = "exact",
) -> dict[str, Any]:
    """Writes `neighbours/split-i/NAME/{train,validation,test}-….tfrecord` for every split.

    Args:
        directory: the prepared directory.
        name: `encoding-pool`, e.g. `w2v-open`.
        tags: ids of all N images.
        features: Φ [N, D]; decides where an image has no usable tag.
        embedding: β of the encoding, None for `id`.
        splits: row numbers of each part.
        rank: M, how many neighbours are wanted.
        engine: searches, unless by an index, and writes.
        index: how they are searched for, see `tagnet.neighbours.cosine`.

    Returns:
        `M` that is stored, less than `rank` where the smallest pool has fewer,
        `by_features`, the number of images whose neighbours are those by Φ, and, unless
        the search was exact, `index` and its `recall` on some images of the last search.

    Raises:
        InputError: a pool has no second image; or an image has no usable tag, and
            there are no features to find its neighbours by.
    """
    pool = name.split("-")[1]
    stored = min(rank, largest_rank(pool, splits, len(tags)))
    if stored < 1:
        raise InputError(f"{name}: every pool must have at least 2 images; see --sizes and --pools")
    if stored < rank:
        say(f"{name}: M {stored} in place of {rank}; the smallest pool has {stored + 1} images")
    nearest = neighbours.nearest
    pi: TagLists | Table = tags if embedding is None else Sums(tags, embedding)
    if engine.apart:
        by_sets = functools.partial(partitions.jaccard, engine.map)
        by_vectors = functools.partial(partitions.cosine, engine.map)
        nearest = functools.partial(nearest, by_sets=by_sets, by_vectors=by_vectors)
    elif embedding is not None:
        pi = rho(tags, embedding)
    if not features.shape[1]:
        _check_tags(name, pi, splits)
    found: Neighbourhoods | None = None
    if pool == "open":  # does not depend on the split: one search for all
        queries = np.unique(np.concatenate([rows for split in splits for rows in split.values()]))
        found = nearest(pi, features, queries, np.arange(len(tags)), stored, index)
    by_features = np.zeros(len(tags), bool)
    for number, split in enumerate(splits):
        for part in PARTS:
            rows = split[part]
            candidates = {"open": np.arange(len(tags)), "closed": rows, "train": split["train"]}[
                pool
            ]
            if found is not None:
                part_found = _of_rows(found, rows)
            else:
                part_found = nearest(pi, features, rows, candidates, stored, index)
            by_features[rows[part_found.by_features]] = True
            write_neighbourhoods(
                directory / "neighbours" / f"split-{number}" / name,
                part,
                part_found.rows,
                part_found.neighbours,
                part_found.distances,
                engine.map,
            )
    report: dict[str, Any] = {"M": stored, "by_features": int(by_features.sum())}
    if index != "exact":
        sample = np.unique(np.linspace(0, len(rows) - 1, RECALL_SAMPLE).astype(int))
        exact = nearest(pi, features, rows[sample], candidates, stored)
        report |= {"index": index, "recall": recall(_of_rows(part_found, rows[sample]), exact)}
        say(f"{name}: {index} found {report['recall']:.2%} of the nearest of {len(sample)} images")
    return report


def _check_tags(name: str, pi: TagLists | Table, splits: Sequence[dict[str, np.ndarray]]) -> None:
    """Refuses images whose tags say nothing, for a data set without features."""
    asked = np.unique(np.concatenate([rows for split in splits for rows in split.values()]))
    if count := int((~says_something(pi)[asked]).sum()):
        raise InputError(
            f"{name}: without features every image must have a usable tag; {count} have none; "
            "raise --tau, lower --min_images, or leave out --tags_only"
        )


def _of_rows(found: Neighbourhoods, rows: np.ndarray) -> Neighbourhoods:
    return found.select(np.searchsorted(found.rows, rows))
