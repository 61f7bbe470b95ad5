"""All offline stages in order: from a raw data set to a prepared directory.

manifest → vocabulary → splits → embeddings → images → neighbours → dataset
"""

import dataclasses
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
from data_tools import manifest, neighbourhoods, splits, word_vectors, wordnet
from data_tools.checksums import CHECKSUMS, write_checksums
from data_tools.settings import Settings
from data_tools.sources import SOURCES, Raw
from data_tools.stages import MARKS, Stage, Stages
from data_tools.tfds_files import TFDS_FILES, write_tfds_files
from data_tools.vector_files import WordTable, read_vectors
from data_tools.vocabulary import write_vocabulary
from tagnet import records
from tagnet.console import say
from tagnet.dataset import FORMAT
from tagnet.embeddings import Embedding
from tagnet.files import InputError, read_json, read_text, write_json, write_text
from tagnet.tags import TagLists, Vocabulary

SUMMARY = "dataset.json"
SOURCE = "the source"  # where word vectors come from that no flag names
MOST_REASONS = 8  # that dataset.json counts; left_out.jsonl has one for every image


def prepare(settings: Settings, out: str | Path, dry_run: bool = False) -> dict[str, Any]:
    """Runs the stages that are not up to date, and prints what came of it.

    Args:
        settings: what to prepare.
        out: the prepared directory; new, empty, or prepared earlier.
        dry_run: only print what would be done.

    Returns:
        What `dataset.json` holds; empty in a dry run.

    Raises:
        InputError: the input or the directory cannot be used.
    """
    out = Path(out)
    if settings.source not in SOURCES:
        raise InputError(f"--source must be of {', '.join(SOURCES)}; received {settings.source!r}")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out}: must be a folder; received a file")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKS).is_dir():
        raise InputError(
            f"--out={out}: must be new, empty or prepared earlier; it holds other files"
        )
    stages = Stages(out, last=SUMMARY, dry_run=dry_run)
    for stage in _Preparation(settings, out, stages.reports).stages():
        stages.run(stage)
    if dry_run:
        return {}
    stages.remove_others()
    summary = read_json(out / SUMMARY)
    _say_summary(summary, out, stages.seconds)
    return summary


class _Preparation:
    """The stages of one directory; artefacts are read back when a later stage needs them.

    Args:
        settings: what to prepare.
        out: the directory.
        reports: what the stages that have run returned.
    """

    def __init__(self, settings: Settings, out: Path, reports: dict[str, dict[str, Any]]) -> None:
        self.settings = settings
        self.out = out
        self.reports = reports
        self.source = SOURCES[settings.source]

    def stages(self) -> Iterable[Stage]:
        """All stages but the last, in order."""
        settings, source = self.settings, self.source
        yield Stage(
            "manifest",
            self._write_manifest,
            ["manifest.jsonl", "left_out.jsonl"],
            {"format": FORMAT, "source": settings.source, **source.manifest_settings(settings)},
            source.manifest_inputs(settings),
        )
        yield Stage(
            "vocabulary",
            lambda: write_vocabulary(self.out, self.manifest, settings.tau, settings.min_images),
            ["vocabulary.txt", "labels.txt"],
            {"tau": settings.tau, "min_images": settings.min_images},
            after=["manifest"],
        )
        sizes = splits.parse_sizes(settings.sizes_or_default)
        yield Stage(
            "splits",
            lambda: splits.write_splits(
                self.out, len(self.manifest), sizes, settings.splits_or_default, settings.seed
            ),
            ["splits/split-*.npz"],
            {"splits": settings.splits_or_default, "sizes": sizes, "seed": settings.seed},
            after=["manifest"],
        )
        embeddings = []
        for encoding in self._vector_encodings:
            embeddings.append(f"embeddings-{encoding}")
            yield Stage(
                embeddings[-1],
                functools.partial(self._write_embedding, encoding),
                [f"embeddings/{encoding}.npz"],
                *self._vectors_depend_on(encoding),
                after=["vocabulary"],
            )
        yield Stage(
            "images",
            self._write_images,
            ["images-*-of-*.tfrecord"],
            inputs=source.feature_inputs(settings),
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
            [SUMMARY, CHECKSUMS, *TFDS_FILES],
            self._shown_settings(),
            after=["splits", "images", *embeddings, *names],
        )

    def _write_summary(self, names: list[str]) -> dict[str, Any]:
        reports, settings = self.reports, self.settings
        summary = {
            "format": FORMAT,
            "name": settings.name_or_default,
            **reports["manifest"],
            **reports["vocabulary"],
            "label_names": _lines(self.out / "labels.txt"),
            **reports["images"],
            "splits": settings.splits_or_default,
            "split_sizes": reports["splits"],
            "encodings": list(settings.encodings_or_default),
            "embeddings": {name: reports[f"embeddings-{name}"] for name in self._vector_encodings},
            "pools": list(settings.pools),
            "neighbours": {name: reports[name] for name in names},
            "settings": self._shown_settings(),
            "versions": {
                "tagnet": tagnet.__version__,
                "numpy": np.__version__,
                "tensorflow": tf.__version__,
            },
        }
        write_tfds_files(self.out, summary)
        marks = (read_json(self.out / MARKS / f"{name}.json") for name in reports)
        write_checksums(
            self.out, {*TFDS_FILES, *(file for mark in marks for file in mark["outputs"])}
        )
        write_json(self.out / SUMMARY, summary)
        return {}

    def _shown_settings(self) -> dict[str, Any]:
        """The settings as `dataset.json` has them, defaults filled in."""
        fields = [field.name for field in dataclasses.fields(Settings)]
        shown = {name: getattr(self.settings, name) for name in fields} | {
            "splits": self.settings.splits_or_default,
            "sizes": self.settings.sizes_or_default,
            "encodings": list(self.settings.encodings_or_default),
            "pools": list(self.settings.pools),
            "name": self.settings.name_or_default,
        }
        return {
            key: str(value) if isinstance(value, Path) else value for key, value in shown.items()
        }

    @functools.cached_property
    def _raw(self) -> Raw:
        return self.source.read(self.settings, self.out / MARKS / "photographs")

    @functools.cached_property
    def manifest(self) -> pd.DataFrame:
        """The images, as the first stage wrote them."""
        return manifest.load(self.out / "manifest.jsonl")

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The tags that have ids."""
        return Vocabulary.load(self.out / "vocabulary.txt")

    @functools.cached_property
    def tags(self) -> TagLists:
        """The tag ids of every image."""
        return self.vocabulary.encode_all(self.manifest["tags"])

    @functools.cached_property
    def features(self) -> np.ndarray:
        """Φ, float16 [N, D], as it is stored."""
        dim = self.reports["images"]["feature_dim"]
        return records.read_images(self.out, len(self.manifest), dim).phi

    @property
    def _vector_encodings(self) -> list[str]:
        return [name for name in self.settings.encodings_or_default if name != "id"]

    def _vectors_depend_on(self, encoding: str) -> tuple[dict[str, Any], dict[str, Path]]:
        """The settings and the files that an encoding's word vectors are made from."""
        settings, file = self.settings, self.settings.vector_file(encoding)
        if encoding == "wnet" and settings.wordnet is not None:
            files = wordnet.database_files(settings.wordnet)
            return {"from": "WordNet", "wordnet_dim": settings.wordnet_dim}, files
        if encoding == "w2v" and settings.trains_vectors:
            return {"from": "the tags", "seed": settings.seed}, {}
        if file is None:
            return {"from": SOURCE}, {}
        return {"from": "a file"}, {f"{encoding} vectors": file}

    def _read_word_table(self, encoding: str) -> tuple[str, WordTable]:
        """An encoding's word vectors, and what lines about them call their origin."""
        settings, file = self.settings, self.settings.vector_file(encoding)
        wanted = word_vectors.wanted(self.vocabulary)
        if encoding == "wnet" and settings.wordnet is not None:
            table = wordnet.build(settings.wordnet, settings.wordnet_dim, wanted=wanted)
            return str(settings.wordnet), table
        if encoding == "w2v" and settings.trains_vectors:
            lists = [self.vocabulary.decode(ids) for ids in self.tags]
            return "--word_vectors=train", word_vectors.train(lists, settings.seed)
        if file is None:
            return SOURCE, self._raw.word_tables[encoding]
        return str(file), read_vectors(file, wanted)

    def _write_manifest(self) -> dict[str, Any]:
        raw = self._raw
        manifest.save(raw.manifest, self.out / "manifest.jsonl")
        if raw.left_out:
            lines = (json.dumps({"image_id": name, "reason": why}) for name, why in raw.left_out)
            write_text(self.out / "left_out.jsonl", "".join(f"{line}\n" for line in lines))
        # What an unreadable photograph's reason begins with is its path.
        reasons = Counter(why.rpartition(": ")[2] for _, why in raw.left_out)
        return {
            "images": len(raw.manifest),
            "left_out": len(raw.left_out),
            "left_out_reasons": dict(reasons.most_common(MOST_REASONS)),
        }

    def _write_embedding(self, encoding: str) -> dict[str, Any]:
        where, table = self._read_word_table(encoding)
        # A source's own table was made for its tags: what it lacks, it lacks on purpose.
        guess = where != SOURCE
        embedding, rules = word_vectors.look_up(self.vocabulary, table, guess)
        report = word_vectors.write_embedding(self.out, encoding, embedding, where)
        counts = ", ".join(f"{count} {rule}" for rule, count in rules.items() if count)
        say(f"embeddings-{encoding}: tags found: {counts}")
        unknown = [self.vocabulary.words[i] for i in np.flatnonzero(~embedding.known)]
        if unknown:
            first = ", ".join(unknown[:8]) + (", …" if len(unknown) > 8 else "")
            say(f"embeddings-{encoding}: {len(unknown)} tags without a vector: {first}")
        return report | {"rules": rules}

    def _write_images(self) -> dict[str, Any]:
        raw = self._raw
        label_ids = {name: i for i, name in enumerate(_lines(self.out / "labels.txt"))}
        labels = TagLists.from_lists(
            [[label_ids[name] for name in names] for names in self.manifest["labels"]]
        )
        records.write_images(
            self.out,
            list(self.manifest["image_id"]),
            raw.features.blocks(),
            self.tags,
            labels,
            raw.features.dim,
        )
        return {"feature_dim": raw.features.dim, "backbone": raw.backbone}

    def _write_neighbours(self, encoding: str, pool: str) -> dict[str, Any]:
        embedding = None
        if encoding != "id":
            embedding = Embedding.load(
                self.out / "embeddings" / f"{encoding}.npz", len(self.vocabulary)
            )
        return neighbourhoods.write_neighbours(
            self.out,
            f"{encoding}-{pool}",
            self.tags,
            self.features,
            embedding,
            [
                splits.read_split(self.out, index)
                for index in range(self.settings.splits_or_default)
            ],
            self.settings.M,
            self._index(encoding),
        )

    def _index(self, encoding: str) -> str:
        """How neighbours by `encoding` are searched for; Jaccard needs no index."""
        return "exact" if encoding == "id" else self.settings.neighbour_index


def _lines(path: Path) -> list[str]:
    return read_text(path).splitlines()


def _say_summary(summary: dict[str, Any], out: Path, seconds: dict[str, float]) -> None:
    """Prints what the directory holds, what was left out, its size, and where time went."""
    say()
    say(f"{summary['name']}: {out}")
    say(
        f"  {summary['images']:,} images, {summary['tags']:,} tags, {summary['labels']:,} labels, "
        f"{summary['feature_dim']:,} features an image"
    )
    parts = ", ".join(f"{size:,} {part}" for part, size in summary["split_sizes"].items())
    say(f"  splits: {summary['splits']} of {parts}")
    if summary["left_out"]:
        say(f"  left out: {summary['left_out']:,} images, see left_out.jsonl")
        for reason, count in summary["left_out_reasons"].items():
            say(f"    {count:,}: {reason}")
    for name, embedding in summary["embeddings"].items():
        say(f"  {name}: {embedding['known']:,} of {summary['tags']:,} tags have a vector")
    for name, stored in summary["neighbours"].items():
        by_features = f"; of {stored['by_features']:,} by features, for want of usable tags"
        say(f"  {name}: {stored['M']} neighbours{by_features if stored['by_features'] else ''}")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    say(f"  disk: {size / 1e6:.1f} MB")
    say(f"  seconds: {spent or 'none, all was up to date'}")
