"""What every source of images gives to the pipeline, and which sources there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_tools import demo, images, manifest, mirflickr, nus_wide, photo_folder, table, twin
from data_tools.images import Features
from data_tools.originals import Collection, Original
from data_tools.settings import Settings
from data_tools.vector_files import WordTable
from tagnet.console import say
from tagnet.files import InputError
from tagnet.keywords import find_photographs


@dataclass(frozen=True)
class Raw:
    """A raw data set, read and checked.

    Attributes:
        manifest: the images that can be used, see `data_tools.manifest`.
        features: Φ of those images.
        backbone: the network that Φ is of; None where the source does not say.
        word_tables: for each encoding the word vectors that the source brings.
        left_out: for each image that cannot be used its image_id and the reason.
    """

    manifest: pd.DataFrame
    features: Features
    backbone: str | None = None
    word_tables: Mapping[str, WordTable] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """How the images of one kind of raw data set are read.

    Attributes:
        read: settings and a folder for what is costly to compute → the raw data set.
        manifest_settings: the settings on which the manifest depends.
        manifest_inputs: the user's files on which it depends, by the part they play.
        feature_inputs: the further files on which Φ depends.
    """

    read: Callable[[Settings, Path], Raw]
    manifest_settings: Callable[[Settings], dict[str, Any]]
    manifest_inputs: Callable[[Settings], dict[str, Path]]
    feature_inputs: Callable[[Settings], dict[str, Path]]


def _read_demo(settings: Settings, cache: Path) -> Raw:
    data = demo.load()
    return Raw(
        manifest=manifest.from_rows(
            enumerate(data.manifest.to_dict("records"), 1), "the demo data set", settings.separator
        ),
        features=images.from_array(data.features, "the demo data set"),
        backbone="efficientnet_lite0",
        word_tables={"w2v": WordTable(data.words, data.vectors)},
    )


def _table_settings(settings: Settings) -> dict[str, Any]:
    made_from: dict[str, Any] = {"separator": settings.separator}
    if settings.features is None and not settings.tags_only:
        raw = settings.raw_file
        paths = table.photograph_paths(table.read_table(raw, settings.separator), raw)
        made_from["photographs"] = images.photographs_digest(paths, settings.network)
    return made_from


def _read_table(settings: Settings, cache: Path) -> Raw:
    rows = table.read_table(settings.raw_file, settings.separator)
    return _with_features(settings, cache, Collection(rows, [], {len(rows): np.arange(len(rows))}))


def _with_features(settings: Settings, cache: Path, found: Collection) -> Raw:
    """Adds Φ from the file, from nowhere, or from the photographs; those unreadable go."""
    rows = found.manifest
    if settings.tags_only:
        return Raw(rows, images.none(len(rows)), left_out=found.left_out)
    if settings.features is not None:
        features = images.from_file(settings.features, len(rows), found.orders)
        return Raw(rows, features, left_out=found.left_out)
    paths = table.photograph_paths(rows, settings.raw_file)
    return _with_photographs(rows, paths, found.left_out, settings, cache)


def _folder_settings(settings: Settings) -> dict[str, Any]:
    photographs, _ = find_photographs(settings.raw_file)
    files = [file for photo in photographs for file in (photo.path, *photo.sidecars)]
    digest = images.photographs_digest(list(map(str, files)), settings.network)
    made_from: dict[str, Any] = {"photographs": digest, "label_prefix": settings.label_prefix}
    return made_from | ({} if settings.label_table is None else {"separator": settings.separator})


def _read_folder(settings: Settings, cache: Path) -> Raw:
    photographs, left_out = find_photographs(settings.raw_file)
    labels = None
    if settings.label_table is not None:
        labels = table.read_table(settings.label_table, settings.separator)
    rows = photo_folder.read_folder(settings.raw_file, photographs, settings.label_prefix, labels)
    if settings.tags_only:
        return Raw(rows, images.none(len(rows)), left_out=left_out)
    return _with_photographs(rows, list(rows["path"]), left_out, settings, cache)


def _with_photographs(
    rows: pd.DataFrame,
    paths: list[str],
    left_out: list[tuple[str, str]],
    settings: Settings,
    cache: Path,
) -> Raw:
    """The images of `rows` whose photographs can be read, and Φ of those."""
    features, unreadable = images.from_photographs(paths, settings.network, cache)
    return Raw(
        manifest=rows.drop(index=list(unreadable)).reset_index(drop=True),
        features=features,
        backbone=settings.backbone,
        left_out=left_out + [(rows["image_id"][row], reason) for row, reason in unreadable.items()],
    )


def _published(
    read: Callable[[Settings], Collection],
    files: Callable[[Settings], list[Original]],
    choices: Callable[[Settings], dict[str, Any]],
    photographs: Callable[[Path], Path | None],
) -> Source:
    """A source that is a folder of published files.

    Args:
        read: the settings → its images.
        files: the settings → the files that `read` reads.
        choices: the settings on which `read` depends.
        photographs: the folder → that of its photographs, None where there is none.
    """

    def manifest_settings(settings: Settings) -> dict[str, Any]:
        if not settings.raw_file.is_dir():
            raise InputError(f"--raw={settings.raw_file}: must be a folder; received no folder")
        if settings.features is not None or settings.tags_only:
            return choices(settings)
        folder = photographs(settings.raw_file)
        if folder is None:
            raise InputError(
                f"{settings.raw_file}: holds no photographs; --source={settings.source} then needs "
                "--features=FILE, or --tags_only to prepare tags and neighbours alone"
            )
        paths = [str(path) for path in sorted(folder.rglob("*.jpg"))]
        digest = images.photographs_digest(paths, settings.network)
        return choices(settings) | {"photographs": digest}

    def feature_inputs(settings: Settings) -> dict[str, Path]:
        return {} if settings.features is None else {"features": settings.features}

    return Source(
        read=lambda settings, cache: _with_features(settings, cache, read(settings)),
        manifest_settings=manifest_settings,
        manifest_inputs=lambda settings: (
            {str(file.path.relative_to(settings.raw_file)): file.path for file in files(settings)}
            | ({} if settings.ids is None else {"ids": settings.ids})
        ),
        feature_inputs=feature_inputs,
    )


def _read_twin(settings: Settings, cache: Path) -> Raw:
    say(f"twin: {twin.NOTE}")
    words, vectors = twin.word_vectors()
    return Raw(
        manifest=manifest.from_rows(twin.rows(settings.images), "the twin", settings.separator),
        features=images.Features(twin.FEATURES, lambda: twin.feature_blocks(settings.images)),
        word_tables={"w2v": WordTable(tuple(words), vectors)},
    )


SOURCES = {
    "demo": Source(
        read=_read_demo,
        manifest_settings=lambda settings: {},
        manifest_inputs=lambda settings: {
            file.name: file for file in sorted(demo.FOLDER.glob("*.*"))
        },
        feature_inputs=lambda settings: {},
    ),
    "table": Source(
        read=_read_table,
        manifest_settings=_table_settings,
        manifest_inputs=lambda settings: {"raw": settings.raw_file},
        feature_inputs=lambda settings: (
            {} if settings.features is None else {"features": settings.features}
        ),
    ),
    "nus_wide": _published(
        lambda settings: nus_wide.read(settings.raw_file, settings.tag_set or "all", settings.ids),
        lambda settings: nus_wide.files(settings.raw_file, settings.tag_set or "all"),
        lambda settings: {"tag_set": settings.tag_set or "all"},
        nus_wide.photograph_folder,
    ),
    "mirflickr": _published(
        lambda settings: mirflickr.read(
            settings.raw_file, settings.tag_set or "all", settings.label_set or "potential"
        ),
        lambda settings: mirflickr.files(
            settings.raw_file, settings.tag_set or "all", settings.label_set or "potential"
        ),
        lambda settings: {
            "tag_set": settings.tag_set or "all",
            "label_set": settings.label_set or "potential",
        },
        mirflickr.photograph_folder,
    ),
    "twin": Source(
        read=_read_twin,
        manifest_settings=lambda settings: {"images": settings.images},
        manifest_inputs=lambda settings: {},
        feature_inputs=lambda settings: {},
    ),
    "photo_folder": Source(
        read=_read_folder,
        manifest_settings=_folder_settings,
        manifest_inputs=lambda settings: (
            {} if settings.label_table is None else {"label_table": settings.label_table}
        ),
        feature_inputs=lambda settings: {},
    ),
}
