"""What every source of images gives to the pipeline, and which sources there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_tools import demo, images, manifest, photo_folder, table
from data_tools.images import Features
from data_tools.settings import Settings


@dataclass(frozen=True)
class Raw:
    """A raw data set, read and checked.

    Attributes:
        manifest: the images that can be used, see `data_tools.manifest`.
        features: Φ of those images.
        backbone: the network that Φ is of; None where the source does not say.
        words: those with a vector, for sources that bring their own word vectors.
        vectors: float32 [words, n].
        left_out: for each image that cannot be used its image_id and the reason.
    """

    manifest: pd.DataFrame
    features: Features
    backbone: str | None = None
    words: Sequence[str] = ()
    vectors: np.ndarray = field(default_factory=lambda: np.zeros([0, 0], np.float32))
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
        words=data.words,
        vectors=data.vectors,
    )


def _table_settings(settings: Settings) -> dict[str, Any]:
    made_from: dict[str, Any] = {"separator": settings.separator}
    if settings.features is None:
        raw = settings.raw_file
        paths = table.photograph_paths(table.read_table(raw, settings.separator), raw)
        made_from["photographs"] = images.photographs_digest(paths, settings.network)
    return made_from


def _read_table(settings: Settings, cache: Path) -> Raw:
    raw = settings.raw_file
    rows = table.read_table(raw, settings.separator)
    if settings.features is not None:
        return Raw(rows, images.from_file(settings.features, len(rows)))
    return _with_photographs(rows, table.photograph_paths(rows, raw), [], settings, cache)


def _folder_settings(settings: Settings) -> dict[str, Any]:
    photographs, _ = photo_folder.find_photographs(settings.raw_file)
    files = [file for photo in photographs for file in (photo.path, *photo.sidecars)]
    digest = images.photographs_digest(list(map(str, files)), settings.network)
    made_from: dict[str, Any] = {"photographs": digest, "label_prefix": settings.label_prefix}
    return made_from | ({} if settings.label_table is None else {"separator": settings.separator})


def _read_folder(settings: Settings, cache: Path) -> Raw:
    photographs, left_out = photo_folder.find_photographs(settings.raw_file)
    labels = None
    if settings.label_table is not None:
        labels = table.read_table(settings.label_table, settings.separator)
    rows = photo_folder.read_folder(settings.raw_file, photographs, settings.label_prefix, labels)
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
    "photo_folder": Source(
        read=_read_folder,
        manifest_settings=_folder_settings,
        manifest_inputs=lambda settings: (
            {} if settings.label_table is None else {"label_table": settings.label_table}
        ),
        feature_inputs=lambda settings: {},
    ),
}
