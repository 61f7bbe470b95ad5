"""The source `photo_folder`: photographs in a folder and those below it.

Tags are the keywords inside the files and their sidecars, see `tagnet.photos.keywords`. What
stands in several places counts once; every level of a hierarchy is a tag.

An image_id is the path below the folder. Names that begin with a dot are passed over.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools.sources import manifest
from tagnet.errors import InputError
from tagnet.photos.keywords import Photograph, read_keywords, split_keywords
from tagnet.system.console import progress, say


def read_folder(
    folder: Path, photographs: Sequence[Photograph], label_prefix: str | None, labels: Any = None
) -> pd.DataFrame:
    """Reads the keywords of all photographs as a manifest.

    Labels are what follows `label_prefix` in keywords, or stand in `labels`, or are
    else the name of the folder that a photograph lies in, with none for those that
    lie in `folder` itself.

    Args:
        folder: what `find_photographs` was given.
        photographs: what it found.
        label_prefix: how a keyword begins that is a label, see `split_keywords`.
        labels: a manifest whose rows give labels, and tags to add, by image_id.

    Raises:
        InputError: not one photograph has a label, or `labels` has a row for none.
    """
    listed = None
    if labels is not None:
        columns = (labels["image_id"], labels["tags"], labels["labels"])
        listed = {name: (tags, own) for name, tags, own in zip(*columns, strict=True)}
        _check_listed(listed, photographs)
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
        say(f"keywords: {len(damaged)} places cannot be read; the first: {damaged[0]}")
    if not any(row["labels"] for _, row in rows):
        sought = "the name of a folder below it" if label_prefix is None else repr(label_prefix)
        raise InputError(
            f"{folder}: at least one photograph must have a label, from "
            f"{sought if listed is None else '--label_table'}; received none "
            "(see --label_prefix and --label_table)"
        )
    return manifest.from_rows(rows, folder, "|")


def _check_listed(listed: Mapping[str, Any], photographs: Sequence[Photograph]) -> None:
    names = {photograph.image_id for photograph in photographs}
    if not names & listed.keys():
        raise InputError(
            "--label_table: an image_id must be a photograph's path below --raw, as "
            f"{photographs[0].image_id!r}; received {next(iter(listed))!r} and no such"
        )
    if unlisted := len(names - listed.keys()):
        say(f"labels: {unlisted} photographs are not in the table and get none")
    if missing := listed.keys() - names:
        say(f"labels: {len(missing)} rows of the table are of no photograph, as {min(missing)!r}")
