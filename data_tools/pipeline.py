"""Runs all stages in order: from a raw data set to a prepared directory.

manifest → vocabulary → splits → embeddings → images → neighbours → dataset
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

import tagnet
from data_tools.engines import Engine, Local, Ray, paths_of
from data_tools.settings import Settings
from data_tools.sources import feature_files, image_features, manifest, parts
from data_tools.sources.base import Raw
from data_tools.stages import MARKS, Stage, Stages
from data_tools.steps import neighbours, splits
from data_tools.steps.croissant import CROISSANT, write_croissant
from data_tools.steps.embedding import Origin
from data_tools.steps.image_weights import write_image_weights
from data_tools.steps.tfds_files import TFDS_FILES, write_tfds_files
from data_tools.steps.vocabulary import write_vocabulary
from data_tools.vectors import word_vectors
from tagnet.data import records
from tagnet.data.cache import CACHE
from tagnet.data.dataset import FORMAT, IMAGE_WEIGHTS, SUMMARY
from tagnet.data.embeddings import Embedding, Sums, rho
from tagnet.data.tags import TagLists, Vocabulary
from tagnet.errors import InputError
from tagnet.system.checksums import CHECKSUMS, write_checksums
from tagnet.system.console import counted, say
from tagnet.system.files import (
    TEMPORARY,
    MappedTable,
    Table,
    as_json,
    read_json,
    read_text,
    remove_leftovers,
    write_blocks,
    write_text,
)
from tagnet.system.locks import LOCKS, Lock, exclusive

MOST_REASONS = 8  # that dataset.json counts; left_out.jsonl has one for every image


def prepare(
    settings: Settings, out: str | Path, dry_run: bool = False, engine: Engine | None = None
) -> dict[str, Any]:
    """Runs the stages that are not up to date, and prints a summary.

    Args:
        settings: what to prepare.
        out: the prepared directory; new, empty, or prepared earlier.
        dry_run: only print what would be done.
        engine: does the work; this process unless given.

    Returns:
        What `dataset.json` holds; empty in a dry run.

    Raises:
        InputError: the input or the directory cannot be used, or another process is
            preparing it.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out}: is a file; it must be a folder")
    engine = engine or Local()
    if dry_run:
        return _prepare(settings, out, engine, None)
    with exclusive(out, "prepare") as lock:
        if isinstance(engine, Ray):
            named = [*paths_of(settings.source), *paths_of(settings)]
            engine.check(out, [file.path for path in named for file in feature_files.parse(path)])
        return _prepare(settings, out, engine, lock)


def _prepare(settings: Settings, out: Path, engine: Engine, lock: Lock | None) -> dict[str, Any]:
    """As `prepare`, holding the directory's lock (a dry run has none)."""
    dry_run = lock is None
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    others = {name for name in there - {LOCKS} if not name.startswith(TEMPORARY)}
    if others and MARKS not in others:
        raise InputError(
            f"--out={out}: has other files in it; it must be new, empty or a prepared directory"
        )
    if not dry_run:
        remove_leftovers(out, but=CACHE)  # a run may be writing the cache now
    check = None if lock is None else lock.check
    stages = Stages(out, last=SUMMARY, dry_run=dry_run, check=check)
    for stage in _Preparation(settings, out, stages, engine).stages():
        stages.run(stage)
    stages.remove_others()
    # Of processes that died, and what was shared with the others.
    remove_leftovers(out, but=CACHE)
    if dry_run:
        return {}
    summary = read_json(out / SUMMARY)
    _say_summary(summary, out, stages.seconds)
    return summary


class _Preparation:
    """The stages of one directory; artefacts are read back when a later stage needs them.

    Args:
        settings: what to prepare.
        out: the directory.
        run: the stages that have run: what they returned and wrote.
        engine: does what can be done in pieces.
    """

    def __init__(self, settings: Settings, out: Path, run: Stages, engine: Engine) -> None:
        self.settings = settings
        self.out = out
        self.run = run
        self.engine = engine

    def stages(self) -> Iterable[Stage]:
        """All stages, in order."""
        settings, source = self.settings, self.settings.source
        yield Stage(
            "manifest",
            self._write_manifest,
            ["manifest.jsonl", "left_out.jsonl", IMAGE_WEIGHTS],
            {"format": FORMAT, "source": source.name, **source.manifest_settings()},
            source.manifest_inputs(),
        )
        yield Stage(
            "vocabulary",
            lambda: write_vocabulary(
                self.out, self.manifest, settings.tau, settings.min_images, self.engine
            ),
            ["vocabulary.txt", "labels.txt"],
            {"tau": settings.tau, "min_images": settings.min_images},
            after=["manifest"],
        )
        sizes = splits.parse_sizes(settings.sizes_or_default)
        lists = settings.given_lists()
        drawn: dict[str, Any] = {"splits": settings.splits_or_default, "sizes": sizes}
        if lists:
            drawn = {"split_lists": list(lists)}
        elif source.own_parts and settings.draws:
            drawn |= {"drawn": True}
        yield Stage(
            "splits",
            self._write_splits,
            ["splits/split-*.npz"],
            drawn | {"seed": settings.seed},
            {f"list of {part}": original.path for part, original in lists.items()},
            after=["manifest"],
        )
        embeddings = []
        for encoding, origin in self._origins.items():
            embeddings.append(f"embeddings-{encoding}")
            yield Stage(
                embeddings[-1],
                functools.partial(self._write_embedding, encoding, origin),
                [f"embeddings/{encoding}.npz"],
                origin.settings,
                origin.inputs,
                after=["vocabulary"],
            )
        yield Stage(
            "images",
            self._write_images,
            ["images-*-of-*.tfrecord"],
            source.feature_settings(),
            source.feature_inputs(),
            after=["manifest", "vocabulary"],
        )
        names = []
        for encoding in settings.encodings_or_default:
            read = ["vocabulary", "splits", "images"]
            for pool in settings.pools:
                names.append(f"{encoding}-{pool}")
                yield Stage(
                    names[-1],
                    functools.partial(self._write_neighbours, encoding, pool),
                    [f"neighbours/split-*/{names[-1]}/*.tfrecord"],
                    {"M": settings.M, "neighbour_index": self._index(encoding)},
                    after=read if encoding == "id" else [*read, f"embeddings-{encoding}"],
                )
        yield Stage(
            "dataset",
            lambda: self._write_summary(names),
            [SUMMARY, CHECKSUMS, CROISSANT, *TFDS_FILES],
            settings.as_dict(),
            after=["splits", "images", *embeddings, *names],
        )

    def _write_summary(self, names: list[str]) -> dict[str, Any]:
        reports, settings = self.run.reports, self.settings
        summary = {
            "format": FORMAT,
            "name": settings.name_or_default,
            **reports["manifest"],
            **reports["vocabulary"],
            "label_names": _lines(self.out / "labels.txt"),
            **reports["images"],
            "splits": self._num_splits,
            "split_sizes": reports["splits"],
            "encodings": list(settings.encodings_or_default),
            "embeddings": {name: reports[f"embeddings-{name}"] for name in self._origins},
            "pools": list(settings.pools),
            "neighbours": {name: reports[name] for name in names},
            "settings": settings.as_dict(),
            "versions": {
                "tagnet": tagnet.__version__,
                "numpy": np.__version__,
                "tensorflow": tf.__version__,
            },
        }
        write_tfds_files(self.out, summary)
        write_croissant(self.out, summary, self.run.sums)
        text, check = as_json(summary), self.run.check
        write_checksums(self.out, [CROISSANT, *TFDS_FILES], {SUMMARY: text}, self.run.sums, check)
        write_text(self.out / SUMMARY, text, check)
        return {}

    @functools.cached_property
    def _raw(self) -> Raw:
        cache = image_features.Cache(self.out / MARKS / "photographs", self.engine)
        return self.settings.source.read(cache)

    @functools.cached_property
    def manifest(self) -> pd.DataFrame:
        """The images, as the first stage wrote them."""
        return manifest.load(self.out / "manifest.jsonl")

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The tags that have ids."""
        none = self.run.reports["vocabulary"]["tags"] == 0
        return Vocabulary.load(self.out / "vocabulary.txt", empty=none)

    @functools.cached_property
    def tags(self) -> TagLists:
        """The tag ids of every image."""
        return self.vocabulary.encode_all(self.manifest["tags"])

    @functools.cached_property
    def labels(self) -> TagLists:
        """The label ids of every image."""
        label_ids = {name: i for i, name in enumerate(_lines(self.out / "labels.txt"))}
        return TagLists.from_lists(
            [[label_ids[name] for name in names] for names in self.manifest["labels"]]
        )

    @functools.cached_property
    def features(self) -> Table:
        """Φ, float16 [N, D], as it is stored; for other processes in a file of its own."""
        count, dim = len(self.manifest), self.run.reports["images"]["feature_dim"]
        if isinstance(self.engine, Local):
            return records.read_images(self.out, count, dim).phi
        path = self.out.absolute() / MARKS / f"{TEMPORARY}features.npy"
        blocks = (block.phi for block in records.image_blocks(self.out, count, dim))
        write_blocks(path, (count, dim), np.float16, blocks)
        return MappedTable(path, (count, dim), np.float16)

    @functools.cached_property
    def _origins(self) -> dict[str, Origin]:
        """Where the word vectors of every encoding that has some come from."""
        found = {name: self.settings.origin(name) for name in self.settings.encodings_or_default}
        return {name: origin for name, origin in found.items() if origin is not None}

    def _write_manifest(self) -> dict[str, Any]:
        raw = self._raw
        for line in manifest.remarks(raw.manifest):
            say(line)
        manifest.save(raw.manifest, self.out / "manifest.jsonl")
        if raw.left_out:
            lines = (json.dumps({"image_id": name, "reason": why}) for name, why in raw.left_out)
            write_text(self.out / "left_out.jsonl", "".join(f"{line}\n" for line in lines))
        weighted = {"weighted": True} if write_image_weights(self.out, raw.manifest) else {}
        # What an unreadable photograph's reason begins with is its path.
        reasons = Counter(why.rpartition(": ")[2] for _, why in raw.left_out)
        return {
            "images": len(raw.manifest),
            "left_out": len(raw.left_out),
            "left_out_reasons": dict(reasons.most_common(MOST_REASONS)),
            **weighted,
        }

    @functools.cached_property
    def _parts(self) -> list[str | None] | None:
        """The given part of every image; None where parts are drawn."""
        if lists := self.settings.given_lists():
            return parts.read_lists(lists, self.manifest)
        if "split" not in self.manifest or self.settings.draws:
            return None
        return list(self.manifest["split"])

    @property
    def _num_splits(self) -> int:
        given = self.settings.split_lists is not None
        if given or ("split" in self.manifest and not self.settings.draws):
            return 1
        return self.settings.splits_or_default

    def _write_splits(self) -> dict[str, Any]:
        settings = self.settings
        if self._parts is not None:
            if settings.split_lists is None:
                say("splits: the parts are those that the source gives (--sizes draws others)")
            return splits.write_given(self.out, parts.with_validation(self._parts, settings.seed))
        if "split" in self.manifest:
            say("splits: drawn, as --sizes or --splits is given; those of the source are not used")
        return splits.write_splits(
            self.out,
            len(self.manifest),
            splits.parse_sizes(settings.sizes_or_default),
            settings.splits_or_default,
            settings.seed,
            self.run.reports["manifest"]["left_out"],
        )

    def _write_embedding(self, encoding: str, origin: Origin) -> dict[str, Any]:
        table = origin.read(self.vocabulary, self.tags)
        embedding, rules = word_vectors.look_up(self.vocabulary, table, origin.guess)
        report = word_vectors.write_embedding(self.out, encoding, embedding, origin.name)
        counts = ", ".join(f"{count} {rule}" for rule, count in rules.items() if count)
        say(f"embeddings-{encoding}: tags found: {counts}")
        unknown = [self.vocabulary.words[i] for i in np.flatnonzero(~embedding.known)]
        if unknown:
            first = ", ".join(unknown[:8]) + (", …" if len(unknown) > 8 else "")
            say(f"embeddings-{encoding}: {counted(len(unknown), 'tag')} without a vector: {first}")
        return report | {"rules": rules}

    def _write_images(self) -> dict[str, Any]:
        raw = self._raw
        records.write_images(
            self.out,
            list(self.manifest["image_id"]),
            raw.features.blocks,
            self.tags,
            self.labels,
            raw.features.dim,
            self.engine.map,
        )
        written: dict[str, Any] = {"feature_dim": raw.features.dim, "backbone": raw.backbone}
        if raw.backbone_settings is not None:
            written["backbone_settings"] = raw.backbone_settings
        return written

    def _write_neighbours(self, encoding: str, pool: str) -> dict[str, Any]:
        search = neighbours.Search(
            self._encoded_tags(encoding), self.features, self._index(encoding), self.engine.map
        )
        numbers = range(self._num_splits)
        return neighbours.write_neighbours(
            self.out,
            f"{encoding}-{pool}",
            search,
            [splits.read_split(self.out, number) for number in numbers],
            self.settings.M,
        )

    def _encoded_tags(self, encoding: str) -> TagLists | Table:
        """The tags or vectors to search by; other processes sum word vectors themselves."""
        if encoding == "id":
            return self.tags
        path = self.out / "embeddings" / f"{encoding}.npz"
        embedding = Embedding.load(path, len(self.vocabulary))
        encode = rho if isinstance(self.engine, Local) else Sums
        return encode(self.tags, embedding)

    def _index(self, encoding: str) -> str:
        """How neighbours by `encoding` are searched for; Jaccard needs no index."""
        return "exact" if encoding == "id" else self.settings.neighbour_index


def _lines(path: Path) -> list[str]:
    return read_text(path).splitlines()


def _say_summary(summary: dict[str, Any], out: Path, seconds: dict[str, float]) -> None:
    """Prints the contents, what was left out, the size on disk, and the time of each stage."""
    say()
    say(f"{summary['name']}: {out}")
    dim = summary["feature_dim"]
    say(
        f"  {counted(summary['images'], 'image')}, {counted(summary['tags'], 'tag')}, "
        f"{counted(summary['labels'], 'label')}, "
        f"{f'{dim:,} features per image' if dim else 'no features (cannot be used for training)'}"
    )
    if summary["images_without_tags"]:
        say(f"  {counted(summary['images_without_tags'], 'image')} without a known tag")
    if summary["labels"] == 1:
        say(f"  only one label, {summary['label_names'][0]!r}: there is nothing to learn")
    parts = ", ".join(f"{size:,} {part}" for part, size in summary["split_sizes"].items())
    say(f"  {counted(summary['splits'], 'split')}: {parts} images")
    if summary["left_out"]:
        say(f"  left out: {counted(summary['left_out'], 'image')}, see {out / 'left_out.jsonl'}")
        left_out = [json.loads(line) for line in _lines(out / "left_out.jsonl")]
        for reason, count in summary["left_out_reasons"].items():
            first = next((row["image_id"] for row in left_out if reason in row["reason"]), "?")
            say(f"    {counted(count, 'image')}: {reason}; first: {first}")
    for name, embedding in summary["embeddings"].items():
        say(f"  {name}: {embedding['known']:,} of {summary['tags']:,} tags have a vector")
    for name, stored in summary["neighbours"].items():
        by_features = f"; {counted(stored['by_features'], 'image')} by features (no known tag)"
        rank = counted(stored["M"], "neighbour")
        say(f"  {name}: {rank}{by_features if stored['by_features'] else ''}")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    say(f"  disk: {size / 1e6:.1f} MB")
    say(f"  seconds: {spent or 'none, everything was up to date'}")
