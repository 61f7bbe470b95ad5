"""The checks of an audit, and its observations about the data."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from data_tools.sources import manifest
from tagnet.data.dataset import Part, PreparedDataset
from tagnet.errors import InputError
from tagnet.search.neighbours import nearest
from tagnet.settings import PARTS
from tagnet.system.checksums import CHECKSUMS, read_checksums, sha256
from tagnet.system.console import counted, say

SAMPLE = 20  # images of each part whose neighbours are searched for again
LONGEST_VECTOR = 1000  # times the median length of an embedding's vectors
COMMON = 0.9  # share of the images, from which a label that looks like a list is one perhaps
LISTED = re.compile(r"""[,;|/]|^\[.*\]$|['"]""")
LIKE = 6  # nearest neighbours whose labels are compared with the image's own


@dataclass
class Report:
    """What an audit found.

    Attributes:
        broken: a line for each broken promise.
        twins: a number for each image, int64 [N]; equal features have equal numbers.
        in_degrees: for each `encoding-pool` of split 0, how many images each is a neighbour of.
    """

    broken: list[str] = field(default_factory=list)
    twins: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    in_degrees: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self, kept: bool | np.bool_, promise: str, found: str = "") -> None:
        """Prints and records the result of a check; `found` says what was there instead."""
        if kept:
            say(f"  ok      {promise}")
        else:
            self.broken.append(f"{promise}; {found}" if found else promise)
            say(f"  FAILED  {self.broken[-1]}", result=True)

    def attempt(self, check: Callable[..., None], *arguments: object) -> None:
        """Runs a group of checks; an unreadable file is a failed check."""
        try:
            check(self, *arguments)
        except InputError as error:
            self.check(False, str(error))
        except KeyError as error:
            self.check(
                False, f"dataset.json and manifest.jsonl are complete; the field {error} is missing"
            )


def audit(directory: Path) -> tuple[PreparedDataset, Report]:
    """Checks a prepared directory and prints what it finds.

    Raises:
        InputError: there is no prepared directory.
    """
    data, report = PreparedDataset(directory, checked=False), Report()
    say(f"{data.name}: {directory}")
    say("files")
    report.attempt(_check_files, data)
    say("images")
    report.attempt(_check_images, data)
    for encoding in data.encodings:
        if encoding != "id":
            say(f"embedding {encoding}")
            report.attempt(_check_embedding, data, encoding)
    for index in range(data.num_splits):
        say(f"split {index}")
        report.attempt(_check_split, data, index)
        for encoding in data.encodings:
            for pool in data.pools:
                say(f"neighbours {encoding}-{pool} of split {index}")
                report.attempt(_check_neighbours, data, index, encoding, pool)
    failed = f"{counted(len(report.broken), 'check')} failed"
    say(failed if report.broken else "all checks passed", result=True)
    return data, report


def _check_files(report: Report, data: PreparedDataset) -> None:
    sums = read_checksums(data.directory)
    whole = True
    for file, expected in sums.items():
        path = data.directory / file
        found = sha256(path) if path.is_file() else "no such file"
        if found != expected:
            report.check(False, f"{file}: checksum {expected[:12]}…", f"found {found[:12]}")
            whole = False
    if whole:
        report.check(True, f"{counted(len(sums), 'file')} match {CHECKSUMS}")


def _check_images(report: Report, data: PreparedDataset) -> None:
    tags, info = data.tags, data.info
    digests = [hashlib.blake2b(phi.tobytes(), digest_size=16).digest() for phi in data.features]
    _, report.twins = np.unique(np.array(digests, "V16").view("u8,u8"), return_inverse=True)
    report.check(True, f"{counted(data.num_images, 'image')} in row order")  # or reading had raised
    repeated = data.num_images - len(set(data.image_ids))
    report.check(not repeated, "image ids are unique", f"{repeated} are repeated")
    rows = manifest.load(data.directory / "manifest.jsonl")
    report.check(tuple(rows["image_id"]) == data.image_ids, "manifest.jsonl lists the same images")
    for what, size in (("tags", len(data.vocabulary)), ("labels", len(data.label_names))):
        report.check(info[what] == size, f"{info[what]:,} {what}", f"found {size:,}")
    untagged = int((tags.lengths == 0).sum())
    promised = info["images_without_tags"]
    report.check(untagged == promised, f"{promised:,} images without tags", f"found {untagged:,}")
    if data.feature_dim:
        finite = all(np.isfinite(data.features[rows]).all() for rows in _blocks(data.num_images))
        report.check(finite, f"{data.feature_dim:,} finite features per image")
    carriers = np.bincount(tags.ids, minlength=len(data.vocabulary))
    say(f"          {tags.lengths.mean():.2f} tags per image, {tags.lengths.max()} at most")
    say(f"          {data.labels.sum() / data.num_images:.2f} labels per image")
    say(f"          {int((~data.labels.any(axis=1)).sum()):,} images without labels")
    say(f"          {int((carriers == 0).sum()):,} tags that no image has")
    for line in _odd_labels(data, rows):
        say(f"          {line}")
    if not data.feature_dim:
        say("          no features (prepared with --tags_only)")
        return
    copies = data.num_images - len(np.unique(report.twins))
    say(f"          {copies:,} images with the same features as an earlier image")


def _odd_labels(data: PreparedDataset, rows: pd.DataFrame) -> list[str]:
    """Lines on labels that may be others in another spelling, or lists that were not split."""
    lines = manifest.remarks(rows)
    shares = data.labels.mean(axis=0)
    alone = (data.labels.sum(axis=1) <= 1).all()
    listed = np.array([bool(LISTED.search(name)) for name in data.label_names])
    if listed.any() and (alone or shares[listed].max() >= COMMON):
        names = [data.label_names[at] for at in np.argsort(-shares * listed, kind="stable")[:3]]
        names = [name for name in names if LISTED.search(name)]
        lines.append(
            f"labels: may be lists that were not split (see --label_separator): "
            f"{', '.join(map(repr, names))}"
        )
    return lines


def _blocks(count: int, size: int = 4096) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, count, size))


def _check_embedding(report: Report, data: PreparedDataset, encoding: str) -> None:
    embedding = data.embedding(encoding)
    promised, known = data.info["embeddings"][encoding], int(embedding.known.sum())
    size = embedding.vectors.shape[1]
    lengths = np.linalg.norm(embedding.vectors[embedding.known].astype(np.float64), axis=1)
    longest = lengths.max(initial=0)
    word = data.vocabulary.words[int(np.flatnonzero(embedding.known)[lengths.argmax()])]
    report.check(
        longest <= LONGEST_VECTOR * max(float(np.median(lengths)), 1),
        "no vector is far longer than the others",
        f"that of {word!r} has length {longest:.1e}, half of them at most {np.median(lengths):.1e}",
    )
    report.check(
        (promised["n"], promised["known"]) == (size, known),
        f"{promised['known']:,} of {len(data.vocabulary):,} tags have {promised['n']} numbers",
        f"found {known:,} with {size}",
    )
    says = embedding.known[data.tags.ids]
    images = np.zeros(data.num_images, bool)
    images[np.repeat(np.arange(data.num_images), data.tags.lengths)[says]] = True
    say(f"          {says.mean():.1%} of the images' tags have a vector")
    say(f"          {images.mean():.1%} of the images have at least one such tag")


def _check_split(report: Report, data: PreparedDataset, index: int) -> None:
    split = data.split(index)
    every = np.concatenate([split[part] for part in PARTS])
    sizes = {part: len(split[part]) for part in PARTS}
    report.check(
        sizes == data.info["split_sizes"], "parts have the sizes in dataset.json", f"{sizes}"
    )
    inside = (every >= 0) & (every < data.num_images)
    report.check(inside.all(), "row numbers are valid", f"found {every[~inside][:1]}")
    shared = len(every) - len(np.unique(every))
    report.check(not shared, "no image is in two parts", f"{shared} are")
    if not inside.all():
        return
    say(f"          {data.num_images - len(np.unique(every)):,} images in no part")
    for part in PARTS:
        lacking = np.flatnonzero(~data.labels[split[part]].any(axis=0))
        if len(lacking):
            names = ", ".join(data.label_names[label] for label in lacking)
            say(f"          {part} has no image with {counted(len(lacking), 'label')}: {names}")
    if not data.feature_dim:
        return
    copies = np.isin(report.twins[split["test"]], report.twins[split["train"]]).sum()
    say(f"          {copies:,} test images with the same features as a training image")


def _check_neighbours(
    report: Report, data: PreparedDataset, index: int, encoding: str, pool: str
) -> None:
    split = data.split(index)
    in_degree = np.zeros(data.num_images, np.int64)
    parts = {}
    for part in PARTS:
        rank = data.max_rank(encoding, pool)
        parts[part] = found = data.part(index, encoding, pool, part, rank)
        candidates = {"open": np.arange(data.num_images), "closed": split[part]}.get(
            pool, split["train"]
        )
        _check_part(report, part, found, candidates, farthest=1 if encoding == "id" else 2)
        in_degree += np.bincount(found.neighbours.ravel(), minlength=data.num_images)
        exact = data.info["neighbours"][f"{encoding}-{pool}"].get("index", "exact") == "exact"
        if index == 0 and exact:
            _search_again(report, data, part, encoding, found, candidates)
    hub, links = int(in_degree.argmax()), int(in_degree.sum())
    if index == 0:
        report.in_degrees[f"{encoding}-{pool}"] = in_degree
    say(
        f"          most frequent neighbour: {data.image_ids[hub]} (of {in_degree[hub]:,} images); "
        f"top 1%: {np.sort(in_degree)[-len(in_degree) // 100 :].sum() / links:.1%} of all links"
    )
    alone = sum(int((found.distances.min(axis=1) >= 1).sum()) for found in parts.values())
    say(f"          {alone:,} images without a similar image (nearest at distance 1 or more)")
    near, random = _label_likeness(data, list(parts.values()))
    say(f"          label Jaccard: {near:.3f} with the {LIKE} nearest, {random:.3f} at random")


def _check_part(
    report: Report, part: str, found: Part, candidates: np.ndarray, farthest: float
) -> None:
    """Checks one part's neighbourhoods: [n, M] neighbours and distances."""
    neighbours, distances = found.neighbours, found.distances
    ordered = np.sort(neighbours, axis=1)
    rising = np.diff(distances, axis=1)
    tied = (rising == 0) & (np.diff(neighbours, axis=1) <= 0)
    for promise, wrong in {
        "no image is its own neighbour": neighbours == found.rows[:, None],
        "no neighbour is repeated": np.diff(ordered, axis=1) == 0,
        "nearest first": ~(rising >= 0),  # negated: catches NaN too
        "equal distances are ordered by row": tied,
        f"distances are 0 to {farthest}": ~((distances >= 0) & (distances <= farthest)),
        "neighbours belong to the pool": ~np.isin(neighbours, candidates),
    }.items():
        if wrong.any():
            row = found.rows[wrong.any(axis=1).argmax()]
            count = int(wrong.any(axis=1).sum())
            report.check(
                False,
                f"{part}: {promise}",
                f"not so for {counted(count, 'image')}, first row {row}",
            )
    kept = (
        f"{part}: {neighbours.shape[1]} neighbours for each of {counted(len(found.rows), 'image')}"
    )
    report.check(len(found.rows) > 0, kept)


def _search_again(
    report: Report,
    data: PreparedDataset,
    part: str,
    encoding: str,
    found: Part,
    candidates: np.ndarray,
) -> None:
    at = np.linspace(0, len(found.rows) - 1, min(SAMPLE, len(found.rows))).astype(int)
    rank = found.neighbours.shape[1]
    again = nearest(data.encoded(encoding), data.features, found.rows[at], candidates, rank)
    differ = (again.neighbours != found.neighbours[at]) | (again.distances != found.distances[at])
    report.check(
        not differ.any(),
        f"{part}: a new search for {counted(len(at), 'image')} finds the same",
        f"not for row {found.rows[at][differ.any(axis=1).argmax()]}",
    )


def _label_likeness(data: PreparedDataset, parts: list[Part]) -> tuple[float, float]:
    """Mean Jaccard index of an image's labels with its nearest neighbours', and with others'."""
    rng = np.random.default_rng(0)
    labels = data.labels.astype(bool)
    sums, count = np.zeros(2), 0
    for found in parts:
        neighbours = found.neighbours[:, :LIKE]
        for column in neighbours.T:
            for which, other in enumerate(
                (column, rng.integers(data.num_images, size=len(column)))
            ):
                one, two = labels[found.rows], labels[other]
                united = np.maximum((one | two).sum(axis=1), 1)
                sums[which] += ((one & two).sum(axis=1) / united).sum()
        count += neighbours.size
    near, random = sums / count
    return near, random
