"""The sources: each kind of raw data set, its settings and how to read it."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from data_tools import packed
from data_tools.sources import (
    coco,
    demo,
    image_features,
    manifest,
    mirflickr,
    nus_wide,
    photo_folder,
    several_tables,
    table,
    twin,
)
from data_tools.sources.base import BACKBONE, Featured, Photographed, Published, Raw, Source
from data_tools.sources.image_features import Cache, Features
from data_tools.sources.published_files import Collection, Original
from data_tools.vectors.vector_files import WordTable
from tagnet.errors import InputError
from tagnet.photos.folders import find_photographs
from tagnet.system.console import option, require_at_least, require_one_of, say

LISTS = "separator between the entries of a list"
SEPARATOR = "|"
WITHOUT_TAGS = (
    "tags: there are none, so neighbours are found by features; v_only, ltn, rtn, "
    "logistic_features and knn_pixels can be trained, which read no tags"
)


@dataclass(frozen=True)
class Demo(Source):
    """The demo data set that ships with tagnet."""

    name: ClassVar[str] = "demo"
    sizes: ClassVar[str] = "2600,600,1000"
    encodings: ClassVar[tuple[str, ...]] = tuple(demo.WORD_TABLES)

    def manifest_inputs(self) -> dict[str, Path]:
        return {file.name: file for file in sorted(demo.FOLDER.glob("*.*"))}

    def read(self, cache: Cache) -> Raw:
        data = demo.load()
        rows = enumerate(data.manifest.to_dict("records"), 1)
        return Raw(
            manifest.from_rows(rows, "the demo data set", SEPARATOR),
            image_features.from_array(data.features, "the demo data set"),
            BACKBONE,
        )

    def word_table(self, encoding: str) -> WordTable:
        return demo.load().word_tables[encoding]


@dataclass(frozen=True)
class Table(Featured):
    """A table with one row per image, or several."""

    name: ClassVar[str] = "table"
    reads: ClassVar[str] = "the table's file"
    own_parts: ClassVar[bool] = True

    separator: str = option(SEPARATOR, LISTS)
    label_separator: str | None = option(None, "separator between labels [that of tags]")
    image_column: str | None = option(None, "column of image ids [image_id or alike; the path]")
    path_column: str | None = option(None, "column of photos [path, file_name or alike]")
    tags_column: str | None = option(None, "column of tags [tags or alike]")
    labels_column: str | None = option(None, "column of labels [labels or alike]")
    split_column: str | None = option(None, "column of the split's parts [split or alike]")
    weight_column: str | None = option(None, "column of weights in the loss [weight]")
    label_columns: tuple[str, ...] | None = option(
        None, "columns of 0 and 1, a label each: A,B,C or PREFIX* [found]"
    )
    photos: Path | None = option(None, "folder that paths start from [the table's]")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_separator(self.separator)
        if self.label_separator is not None and not self.label_separator:
            raise InputError("--label_separator must not be empty")
        if self.labels_column is not None and self.label_columns:
            raise InputError("--labels_column and --label_columns must not be given together")

    @property
    def title(self) -> str:
        first = Path(packed.shown(self.files[0]))
        return Path(first.stem).stem if first.suffix.lower() == ".gz" else first.stem

    @property
    def files(self) -> list[Path]:
        """The tables that `--raw` names, as a rule one."""
        return several_tables.files(self.raw)

    def require_parts(self) -> None:
        if self.split_column is None:
            several_tables.require_parts(self.files)

    def manifest_settings(self) -> dict[str, Any]:
        made_from: dict[str, Any] = {"separator": self.separator} | self._given()
        if self._opens_photos():
            paths = table.photograph_paths(self._rows([]), self.raw)
            made_from["photographs"] = image_features.photographs_digest(paths, self.network)
        return made_from

    def manifest_inputs(self) -> dict[str, Path]:
        found = {}
        for number, path in enumerate(self.files, 1):
            more = f" {number}" if number > 1 else ""
            found[f"raw{more}"] = packed.file_of(path)
            if (captions := coco.captions_beside(path)) is not None:
                found[f"captions{more}"] = packed.file_of(captions)
        return found

    def read(self, cache: Cache) -> Raw:
        notes: list[str] = []
        rows = self._rows(notes)
        for line in notes:
            say(line)
        if not rows["tags"].map(len).any() and not self.tags_only:
            say(WITHOUT_TAGS)
        found = Collection(rows, [], {len(rows): np.arange(len(rows))})
        return self.with_features(found, cache)

    def _opens_photos(self) -> bool:
        return self.in_place_of_photographs() is None

    def _given(self) -> dict[str, Any]:
        """The settings that few tables need; those without them are prepared as ever."""
        names = ("label_separator", *table.FLAGS.values(), "label_columns")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        given |= {} if self.photos is None else {"photos": str(self.photos.absolute())}
        if parts := several_tables.parts_of(self.files):
            given["parts"] = parts
        members = [packed.split(path)[1] for path in self.files]
        return given | ({"members": members} if any(members) else {})

    def _photos_of(self, path: Path) -> Path | None:
        """Where a table's paths start: of several in a folder that is called as COCO's are."""
        folder = self.photos or packed.file_of(path).parent
        own = folder / Path(packed.shown(path)).stem.rpartition("_")[2]  # instances_val2017.json
        return own if len(self.files) > 1 and own.is_dir() else self.photos

    def _rows(self, notes: list[str]) -> pd.DataFrame:
        return several_tables.read(self.files, self._rows_of, notes)

    def _rows_of(self, path: Path, notes: list[str]) -> pd.DataFrame:
        return table.read_table(
            path,
            self.separator,
            label_separator=self.label_separator,
            columns=table.Columns(
                {name: getattr(self, flag) for name, flag in table.FLAGS.items()},
                self.label_columns or (),
            ),
            photos=self._photos_of(path),
            find_photos=self._opens_photos(),
            notes=notes,
        )


@dataclass(frozen=True)
class PhotoFolder(Photographed):
    """A folder of photos with embedded keywords."""

    name: ClassVar[str] = "photo_folder"
    reads: ClassVar[str] = "the folder"

    label_prefix: str | None = option(
        None, "prefix of keywords that are labels [labels are folder names]"
    )
    label_table: Path | None = option(
        None, "table of labels; image_id is the path relative to --raw [none]"
    )
    separator: str = option(SEPARATOR, LISTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_prefix is not None and self.label_table is not None:
            raise InputError("--label_prefix and --label_table must not be given together")
        _check_separator(self.separator)

    def manifest_settings(self) -> dict[str, Any]:
        photographs, _ = find_photographs(self.raw)
        files = [file for photo in photographs for file in (photo.path, *photo.sidecars)]
        digest = image_features.photographs_digest(list(map(str, files)), self.network)
        made_from: dict[str, Any] = {"photographs": digest, "label_prefix": self.label_prefix}
        if self.label_table is not None:
            made_from["separator"] = self.separator
            if (member := packed.split(self.label_table)[1]) is not None:
                made_from["label_member"] = member
        if self.tags_only:
            made_from["tags_only"] = True
        return made_from

    def manifest_inputs(self) -> dict[str, Path]:
        labels = self.label_table
        return {} if labels is None else {"label_table": packed.file_of(labels)}

    def read(self, cache: Cache) -> Raw:
        photographs, left_out = find_photographs(self.raw)
        labels = None
        if self.label_table is not None:
            labels = table.read_table(self.label_table, self.separator)
        rows = photo_folder.read_folder(self.raw, photographs, self.label_prefix, labels)
        return self.with_photographs(rows, list(rows["path"]), left_out, cache)


@dataclass(frozen=True)
class NusWide(Published):
    """NUS-WIDE."""

    name: ClassVar[str] = "nus_wide"
    sizes: ClassVar[str] = nus_wide.SIZES
    splits: ClassVar[int] = nus_wide.SPLITS

    ids: Path | None = option(None, "file of the images to use, one id per line [all]")
    tag_set: str = option("all", "tags: all, final or 1k")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("tag_set", self.tag_set, nus_wide.TAG_SETS)

    def choices(self) -> dict[str, Any]:
        return {"tag_set": self.tag_set}

    def files(self) -> list[Original]:
        return nus_wide.files(self.raw, self.tag_set)

    def photographs(self) -> Path | None:
        return nus_wide.photograph_folder(self.raw)

    def official_lists(self) -> dict[str, Original]:
        return nus_wide.official_lists(self.raw)

    def manifest_inputs(self) -> dict[str, Path]:
        return super().manifest_inputs() | ({} if self.ids is None else {"ids": self.ids})

    def read(self, cache: Cache) -> Raw:
        return self.with_features(nus_wide.read(self.raw, self.tag_set, self.ids), cache)


@dataclass(frozen=True)
class Mirflickr(Published):
    """MIRFLICKR-25000."""

    name: ClassVar[str] = "mirflickr"

    tag_set: str = option("all", "tags: all or raw")
    label_set: str = option("potential", "labels: potential (24), relevant (14, _r1) or both")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("tag_set", self.tag_set, mirflickr.TAG_SETS)
        require_one_of("label_set", self.label_set, mirflickr.LABEL_SETS)

    def choices(self) -> dict[str, Any]:
        return {"tag_set": self.tag_set, "label_set": self.label_set}

    def files(self) -> list[Original]:
        return mirflickr.files(self.raw, self.tag_set, self.label_set)

    def photographs(self) -> Path | None:
        return mirflickr.photograph_folder(self.raw)

    def read(self, cache: Cache) -> Raw:
        return self.with_features(mirflickr.read(self.raw, self.tag_set, self.label_set), cache)


@dataclass(frozen=True)
class Twin(Source):
    """A made-up data set of NUS-WIDE's shape."""

    name: ClassVar[str] = "twin"
    sizes: ClassVar[str] = twin.SIZES
    encodings: ClassVar[tuple[str, ...]] = ("w2v",)

    images: int = option(twin.IMAGES, "number of made-up images")

    def __post_init__(self) -> None:
        require_at_least(self, images=1)

    @property
    def title(self) -> str:
        return twin.NAME

    def manifest_settings(self) -> dict[str, Any]:
        return {"images": self.images}

    def read(self, cache: Cache) -> Raw:
        say(f"twin: {twin.NOTE}")
        return Raw(
            manifest.from_rows(twin.rows(self.images), "the twin", SEPARATOR),
            Features(twin.FEATURES, functools.partial(twin.feature_blocks, self.images)),
        )

    def word_table(self, encoding: str) -> WordTable:
        words, vectors = twin.word_vectors()
        return WordTable(tuple(words), vectors)


def _check_separator(separator: str) -> None:
    if not separator:
        raise InputError("--separator must not be empty")


SOURCES: dict[str, type[Source]] = {
    source.name: source for source in (Demo, Table, PhotoFolder, NusWide, Mirflickr, Twin)
}
