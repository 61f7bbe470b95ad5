"""The source `photo_folder`: photos in a folder and its subfolders.

Tags are the keywords inside the files and their sidecars, see `tagnet.photos.keywords`. What
stands in several places counts once; every level of a hierarchy is a tag.

An image_id is the path below the folder. Names are compared in Unicode NFC.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools.sources import manifest
from tagnet.errors import InputError
from tagnet.photos.folders import Photograph
from tagnet.photos.keywords import read_keywords, split_keywords
from tagnet.system.console import counted, progress, say


def read_folder(
    folder: Path, photographs: Sequence[Photograph], label_prefix: str | None, labels: Any = None
) -> pd.DataFrame:
    """Reads the keywords of all photos as a manifest.

    Labels come from keywords that start with `label_prefix`, or from `labels`, or else from
    the name of the subfolder (a photo directly in `folder` then has none).

    Args:
        folder: what `find_photographs` was given.
        photographs: what it found.
        label_prefix: the beginning of keywords that are labels, see `split_keywords`.
        labels: a manifest whose rows give labels, and tags to add, by image_id.

    Raises:
        InputError: not one photograph has a label, or `labels` has a row for none.
    """
    listed = None
    if labels is not None:
        columns = (labels["image_id"], labels["tags"], labels["labels"])
        listed = {name: (tags, own) for name, tags, own in zip(*columns, strict=True)}
        listed = _by_photograph(listed, photographs)
    rows: list[tuple[int, Mapping[str, Any]]] = []
    damaged: list[str] = []
    for number, photograph in enumerate(progress(photographs, "Keywords"), 1):
        keywords, problems = read_keywords(photograph)
        damaged += problems
        tags, own = split_keywords(keywords, label_prefix)
        if listed is not None:
            more, own = listed.get(photograph.image_id, ([], []))
            tags = [*tags, *more]
        elif label_prefix is None:
            own = list(Path(photograph.image_id).parent.parts[-1:])
        row = {"image_id": photograph.image_id, "path": str(photograph.path)}
        rows.append((number, row | {"tags": tags, "labels": own}))
    if damaged:
        count = counted(len(damaged), "unreadable place")
        say(f"keywords: {count}; first: {damaged[0]}")
    if not any(row["labels"] for _, row in rows):
        sought = "subfolder names" if label_prefix is None else repr(label_prefix)
        raise InputError(
            f"{folder}: no photo has a label from "
            f"{sought if listed is None else '--label_table'} "
            "(see --label_prefix and --label_table)"
        )
    return manifest.from_rows(rows, folder, "|")


def _by_photograph(listed: Mapping[str, Any], photographs: Sequence[Photograph]) -> dict[str, Any]:
    """The rows of a table by image_id, whose accents may be written differently there."""
    alike = {unicodedata.normalize("NFC", name): name for name in listed}
    names: dict[str, str] = {}
    for photograph in photographs:
        image_id = photograph.image_id
        name = image_id
        if name not in listed:
            name = alike.get(unicodedata.normalize("NFC", image_id), image_id)
        if name in listed:
            names[image_id] = name
    if not names:
        raise InputError(
            "--label_table: image_id must be the path below --raw, such as "
            f"{photographs[0].image_id!r}; no row matches, received {next(iter(listed))!r}"
        )
    if unlisted := len(photographs) - len(names):
        say(f"labels: {counted(unlisted, 'photo')} not in the table: without labels")
    if missing := listed.keys() - set(names.values()):
        count = counted(len(missing), "row")
        say(f"labels: {count} of the table without a photo, such as {min(missing)!r}")
    return {image_id: listed[name] for image_id, name in names.items()}
