"""The interface of raw data sets to the pipeline, and what several kinds share."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from data_tools import packed
from data_tools.sources import feature_files, image_features, table
from data_tools.sources.image_features import Cache, Features
from data_tools.sources.published_files import Collection, Original
from data_tools.vectors.vector_files import WordTable
from tagnet.backbones.catalogue import ONNX, POOLINGS, check_name
from tagnet.backbones.preparation import Changes
from tagnet.data.tags import normalise
from tagnet.errors import InputError
from tagnet.system.console import counted, option, require_one_of, say

if TYPE_CHECKING:  # flags are listed without Keras
    from tagnet.backbones.features import Backbone

BACKBONE = "efficientnet_lite0"


@dataclass(frozen=True)
class Raw:
    """A raw data set, read and checked.

    Attributes:
        manifest: the images that can be used, see `data_tools.sources.manifest`.
        features: Φ of those images.
        backbone: the network that Φ is of; None where the source does not say.
        backbone_settings: what else Φ depends on, see `Backbone.record`.
        left_out: for each image that cannot be used its image_id and the reason.
    """

    manifest: pd.DataFrame
    features: Features
    backbone: str | None = None
    backbone_settings: dict[str, Any] | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)


class Source:
    """A kind of raw data set. The fields of its dataclass are its settings, each of them a flag.

    Attributes:
        name: by which `--source` chooses it.
        reads: what `--raw` must name.
        sizes: of the parts, unless told otherwise.
        splits: how many, unless told otherwise.
        own_parts: whether its images may come with the parts that they belong to.
        encodings: those for which it brings word vectors.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "the folder of its files"
    sizes: ClassVar[str] = ".6,.2,.2"
    splits: ClassVar[int] = 1
    encodings: ClassVar[tuple[str, ...]] = ()
    own_parts: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What the data set is called, unless told otherwise."""
        return self.name

    def manifest_settings(self) -> dict[str, Any]:
        """The settings, and anything else, that the manifest depends on."""
        return {}

    def manifest_inputs(self) -> dict[str, Path]:
        """The user's files that it depends on, by role."""
        return {}

    def feature_inputs(self) -> dict[str, Path]:
        """Further files that Φ depends on."""
        return {}

    def feature_settings(self) -> dict[str, Any]:
        """The settings that Φ depends on."""
        return {}

    def read(self, cache: Cache) -> Raw:
        """Reads the data set; `cache` keeps what is costly to compute.

        Raises:
            InputError: names the file, the row or the field.
        """
        raise NotImplementedError

    def require_parts(self) -> None:
        """Checks the parts that the names of its files tell of.

        Raises:
            InputError: one is missing.
        """

    def official_lists(self) -> dict[str, Original]:
        """The lists of images that the data set's authors published, by part.

        Raises:
            InputError: they published none, or a file is missing.
        """
        raise InputError(
            f"--split_lists=official: --source={self.name} has no official lists; give files"
        )

    def word_table(self, encoding: str) -> WordTable:
        """The word vectors that the source provides for one of its `encodings`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Photographed(Source):
    """A source whose Φ can be computed from photos."""

    raw: Path = option(
        None,
        "table or folder to read; FILE,FILE; FILE.zip:MEMBER (required by most sources)",
    )
    tags_only: bool = option(False, "prepare without features: neighbours only, no training [off]")
    backbone: str | None = option(
        None,
        f"CNN: ResNet50, FILE.onnx, keras_hub:PRESET, … [{BACKBONE}]",
    )
    weights: Path | None = option(None, "weight file of the backbone [downloaded or bundled]")
    onnx_photos: tuple[str, ...] | None = option(
        None, "size=N,resize=N,filter=NAME,mean=R/G/B,std=R/G/B [preprocessor_config.json]"
    )
    onnx_output: str | None = option(None, "output of FILE.onnx that is the features [only one]")
    onnx_pooling: str | None = option(
        None, "none, mean or cls (the first token), of that output [by its shape]"
    )

    def __post_init__(self) -> None:
        if self.raw is None:
            raise InputError(f"--raw is missing: --source={self.name} needs {self.reads}")
        if self.backbone is not None:
            check_name(self.backbone)
        self._check_onnx()
        without = self.in_place_of_photographs()
        for flag in ("backbone", "weights"):
            if without and getattr(self, flag) is not None:
                raise InputError(
                    f"--{flag} is for photos and must not be given with {without}; "
                    f"received {getattr(self, flag)}"
                )

    def in_place_of_photographs(self) -> str | None:
        """The flag that makes opening photos unnecessary; None without one."""
        return "--tags_only" if self.tags_only else None

    def _check_onnx(self) -> None:
        changes = [name for name in vars(self) if name.startswith("onnx_")]
        given = [name for name in changes if getattr(self, name) is not None]
        if (self.backbone or "").endswith(ONNX):
            if self.weights is not None:
                raise InputError(
                    f"--weights must not be given with --backbone=FILE{ONNX}, which holds its "
                    f"weights; received {self.weights}"
                )
            self._changes()
            require_one_of("onnx_pooling", self.onnx_pooling, POOLINGS)
        elif given:
            raise InputError(f"--{given[0]} needs --backbone=FILE{ONNX}; received {self.backbone}")

    def _changes(self) -> Changes:
        return Changes.parse(self.onnx_photos or ())

    @property
    def network(self) -> "Backbone":
        """The backbone, with its file of weights."""
        from tagnet.backbones import features, onnx_models

        name = self.backbone or BACKBONE
        if not name.endswith(ONNX):
            return features.backbone_of(name, self.weights)
        return features.onnx_backbone(
            onnx_models.chosen(Path(name), self._changes(), self.onnx_output, self.onnx_pooling)
        )

    def with_photographs(
        self, rows: pd.DataFrame, paths: list[str], left_out: list[tuple[str, str]], cache: Cache
    ) -> Raw:
        """The images of `rows` whose photos can be read, with their Φ."""
        if self.tags_only:
            return _of_tags(rows, left_out, self)
        _look_for(paths)
        network = self.network
        features, unreadable = image_features.from_photographs(paths, network, cache)
        return Raw(
            rows.drop(index=list(unreadable)).reset_index(drop=True),
            features,
            network.name,
            network.record,
            left_out + [(rows["image_id"][row], reason) for row, reason in unreadable.items()],
        )


def _of_tags(rows: pd.DataFrame, left_out: list[tuple[str, str]], source: Photographed) -> Raw:
    """The images that have tags, without Φ."""
    tagged = rows["tags"].map(lambda tags: any(map(normalise, tags)))
    if not tagged.any():
        raise InputError(f"--tags_only needs tags; {source.raw} has none")
    left_out = left_out + [(name, "no tags") for name in rows["image_id"][~tagged]]
    rows = rows[tagged].reset_index(drop=True)
    return Raw(rows, image_features.none(len(rows)), left_out=left_out)


def _look_for(paths: list[str]) -> None:
    """Says which photographs are missing, before the first one is opened.

    Raises:
        InputError: all are.
    """
    missing = [path for path in paths if not os.path.exists(path)]
    if missing and len(missing) == len(paths):
        raise InputError(
            f"no photo can be read; first error: {missing[0]}: no such file, nor any of the "
            f"{counted(len(paths), 'photo')}; a table's paths start from its folder, or --photos"
        )
    if missing:
        say(
            f"photos: {len(missing):,} of {len(paths):,} do not exist and are left out; "
            f"the first is {missing[0]}"
        )


@dataclass(frozen=True)
class Featured(Photographed):
    """A source whose Φ may also come from a file."""

    features: Path | None = option(
        None,
        "feature file; FILE:ARRAY; FILE,FILE; FILE.zip:MEMBER [from photos]",
    )

    def __post_init__(self) -> None:
        if self.features is not None and self.tags_only:
            raise InputError("--tags_only and --features must not be given together")
        super().__post_init__()

    def in_place_of_photographs(self) -> str | None:
        return super().in_place_of_photographs() or ("--features" if self.features else None)

    def feature_inputs(self) -> dict[str, Path]:
        if self.features is None:
            return {}
        files = feature_files.parse(self.features)
        paths = [packed.file_of(file.path) for file in files]
        more = {f"features {n}": path for n, path in enumerate(paths[1:], 2)}
        return {"features": paths[0]} | more

    def feature_settings(self) -> dict[str, Any]:
        files = [] if self.features is None else feature_files.parse(self.features)
        arrays = [file.array for file in files]
        members = [packed.split(file.path)[1] for file in files]
        chosen = {"arrays": arrays, "members": members}
        return {name: values for name, values in chosen.items() if any(values)}

    def with_features(self, found: Collection, cache: Cache) -> Raw:
        """Adds Φ: from a file, none, or from photos (unreadable ones are left out)."""
        rows = found.manifest
        if self.features is not None:
            features = image_features.from_file(self.features, len(rows), found.orders, rows)
            return Raw(rows, features, left_out=found.left_out)
        paths = [] if self.tags_only else table.photograph_paths(rows, self.raw)
        return self.with_photographs(rows, paths, found.left_out, cache)


class Published(Featured):
    """A source that is a folder of published files."""

    def choices(self) -> dict[str, Any]:
        """The settings that the images depend on."""
        raise NotImplementedError

    def files(self) -> list[Original]:
        """The files that the images are read from."""
        raise NotImplementedError

    def photographs(self) -> Path | None:
        """The folder of the photos; None if there is none."""
        raise NotImplementedError

    def manifest_settings(self) -> dict[str, Any]:
        if not self.raw.is_dir():
            raise InputError(f"--raw={self.raw}: is not a folder")
        if self.in_place_of_photographs() is not None:
            return self.choices()
        folder = self.photographs()
        if folder is None:
            raise InputError(
                f"{self.raw}: has no photos; give --source={self.name} "
                "--features=FILE, or --tags_only to prepare only tags and neighbours"
            )
        paths = [str(path) for path in sorted(folder.rglob("*.jpg"))]
        digest = image_features.photographs_digest(paths, self.network)
        return self.choices() | {"photographs": digest}

    def manifest_inputs(self) -> dict[str, Path]:
        return {str(file.path.relative_to(self.raw)): file.path for file in self.files()}
