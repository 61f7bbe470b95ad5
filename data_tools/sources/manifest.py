"""The manifest: one row per image with `image_id`, optional `path`, `tags` and `labels`.

Every source ends here, so what is checked here holds for all of them.
"""

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tagnet.errors import InputError
from tagnet.system.files import read_text, write_text

REQUIRED = ("image_id", "tags", "labels")


def from_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], where: str | Path, separator: str
) -> pd.DataFrame:
    """Builds a manifest from a source's rows and checks it.

    Args:
        rows: (row number as the user counts, fields). Lists may be lists of
            strings or one string, split at `separator`; blanks around an entry
            and empty entries are dropped. An integer is taken as an `image_id`; blanks
            around one belong to it, as to a file's name.
        where: what error lines call the source.
        separator: between the entries of a list given as one string.

    Returns:
        Columns `image_id`, `path` (None where there is none), `tags`, `labels`.

    Raises:
        InputError: names `where` and the row.
    """
    images: list[dict[str, Any]] = []
    first_seen: dict[str, int] = {}
    for number, fields in rows:
        place = f"{where}: row {number}"
        image = _image(fields, place, separator)
        image_id = image["image_id"]
        if image_id in first_seen:
            raise InputError(
                f"{place}: image_id must be unique; {image_id!r} is also in row "
                f"{first_seen[image_id]}"
            )
        first_seen[image_id] = number
        images.append(image)
    if not images:
        raise InputError(f"{where}: must hold at least one image; received none")
    if not any(image["labels"] for image in images):
        raise InputError(f"{where}: at least one image must have a label; received none")
    return _frame(images)


def save(manifest: pd.DataFrame, path: str | Path) -> None:
    """Writes one JSON object per line, without `path` if an image has none."""
    lines = []
    for image in manifest.to_dict("records"):
        if image["path"] is None:
            del image["path"]
        lines.append(json.dumps(image, ensure_ascii=False))
    write_text(path, "\n".join(lines) + "\n")


def load(path: str | Path) -> pd.DataFrame:
    """Reads what `save` wrote; raises `InputError` if a line is not an image."""
    images = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line:
            continue
        try:
            image = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: line {number} is not JSON ({error})") from error
        if not isinstance(image, dict) or not image.keys() >= set(REQUIRED):
            raise InputError(
                f"{path}: line {number} must be an object with {', '.join(REQUIRED)}; "
                f"received {line[:40]!r}"
            )
        images.append({"path": None} | image)
    return _frame(images)


def _frame(images: list[dict[str, Any]]) -> pd.DataFrame:
    columns = ("image_id", "path", "tags", "labels")
    # dtype object: pandas would turn None into NaN in a column of strings.
    return pd.DataFrame(
        {name: pd.Series([image[name] for image in images], dtype=object) for name in columns}
    )


def _image(fields: Mapping[str, Any], place: str, separator: str) -> dict[str, Any]:
    for name in REQUIRED:
        if name not in fields:
            raise InputError(f"{place}: lacks {name}; received {', '.join(fields) or 'nothing'}")
    image_id = fields["image_id"]
    if isinstance(image_id, int) and not isinstance(image_id, bool):
        image_id = str(image_id)
    if not isinstance(image_id, str) or not image_id.strip():
        raise InputError(f"{place}: image_id must be a non-empty string; received {image_id!r}")
    path = fields.get("path")
    if isinstance(path, float) and math.isnan(path):  # how pandas says "none"
        path = None
    if not isinstance(path, str | None):
        raise InputError(f"{place}: path must be a string; received {path!r}")
    if path and "\0" in path:
        raise InputError(f"{place}: path must not contain NUL; received {path!r}")
    tags = _entries(fields["tags"], f"{place}: tags", separator)
    # Canonically equal labels are one: some systems write an accent as a letter of its own.
    labels = [
        unicodedata.normalize("NFC", label)
        for label in _entries(fields["labels"], f"{place}: labels", separator)
    ]
    labels = list(dict.fromkeys(labels))
    for name in (image_id, *labels):
        if len(name.splitlines()) > 1:  # artefacts hold one name a line
            raise InputError(f"{place}: names must not contain line breaks; received {name!r}")
    for text in (image_id, path or "", *tags, *labels):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{place}: text must be Unicode without lone surrogates; received {ascii(text)}"
            ) from error
    return {"image_id": image_id, "path": path or None, "tags": tags, "labels": labels}


def _entries(value: Any, place: str, separator: str) -> list[str]:
    """The entries of a list field, which may be one string."""
    if isinstance(value, str):
        value = value.split(separator)
    if not isinstance(value, list):
        raise InputError(f"{place} must be a list of strings or one string; received {value!r}")
    for entry in value:
        if not isinstance(entry, str):
            raise InputError(f"{place} must hold only strings; received {entry!r}")
    return [stripped for entry in value if (stripped := entry.strip())]
