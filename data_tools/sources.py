"""What every source of images gives to the pipeline, and which sources there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools import demo, images, manifest, table
from data_tools.images import Features
from data_tools.settings import Settings
from data_tools.vector_files import WordTable


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
    if settings.features is None:
        raw = settings.raw_file
        paths = table.photograph_paths(table.read_table(raw, settings.separator), raw)
        made_from["photographs"] = images.photographs_digest(paths, settings.backbone)
    return made_from


def _read_table(settings: Settings, cache: Path) -> Raw:
    raw = settings.raw_file
    rows = table.read_table(raw, settings.separator)
    if settings.features is not None:
        return Raw(rows, images.from_file(settings.features, len(rows)))
    paths = table.photograph_paths(rows, raw)
    features, unreadable = images.from_photographs(paths, settings.backbone, cache)
    left_out = [(rows["image_id"][row], reason) for row, reason in unreadable.items()]
    return Raw(
        manifest=rows.drop(index=list(unreadable)).reset_index(drop=True),
        features=features,
        backbone=settings.backbone,
        left_out=left_out,
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
}
