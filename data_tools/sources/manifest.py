"""The manifest: one row per image: `image_id`, `path`, `tags`, `labels`, perhaps `split`, `weight`.

Every source ends here, so what is checked here holds for all of them: ids are in Unicode NFC,
tags and labels are spelled as `cells.spelled` does.
"""

import functools
import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools.sources.cells import as_text, is_null, list_in, spelled
from tagnet.data.tags import normalise
from tagnet.errors import InputError
from tagnet.system.console import counted
from tagnet.system.files import read_text, write_text

REQUIRED = ("image_id", "tags", "labels")
OPTIONAL = ("split", "weight")
WORDS = 2**18  # distinct tags and labels whose spelling is remembered


def from_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    where: str | Path,
    separator: str,
    label_separator: str | None = None,
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Builds a manifest from a source's rows and checks it.

    Args:
        rows: (row number as the user counts, fields). Lists may be lists of
            strings or one string: a list in one of the notations of `cells`, or
            split at `separator`; empty entries are dropped. A number stands for
            its digits. `split`, where there is one, is train, validation, test or None;
            `weight` is a number.
        where: what error lines call the source.
        separator: between the entries of a list given as one string.
        label_separator: likewise for labels, if it is another.
        notes: given where several rows may be of one image that differ in labels
            alone: these are united, and a line that says so is added to it.

    Returns:
        Columns `image_id`, `path` (None where there is none), `tags`, `labels`, and
        `split` and `weight` if a row has one.

    Raises:
        InputError: names `where` and the row.
    """
    images: dict[str, dict[str, Any]] = {}
    first_seen: dict[str, int] = {}
    written: dict[str, str | None] = {}  # an id as its first row has it
    repeated: str | None = None
    number_of_rows = 0
    separators = {"tags": separator, "labels": label_separator or separator}
    table = str(where)
    for number, fields in rows:
        number_of_rows += 1
        place = f"{table}: row {number}"
        given, image = _image(fields, place, separators)
        image_id = image["image_id"]
        if image_id in images and written[image_id] != given and image["path"] is not None:
            # Two files whose names differ only in how an accent is written.
            image_id = image["image_id"] = unicodedata.normalize("NFD", image_id)
        if image_id not in images:
            written[image_id] = given
            first_seen[image_id] = number
            images[image_id] = image
            continue
        first = images[image_id]
        if notes is None or image | {"labels": []} != first | {"labels": []}:
            raise InputError(
                f"{place}: image_id must be unique; {image_id!r} is also in row "
                f"{first_seen[image_id]}"
                + ("" if notes is None else ", with another path, split or tags")
            )
        repeated = repeated or image_id
        first["labels"] = list(dict.fromkeys(first["labels"] + image["labels"]))
    if not images:
        raise InputError(f"{where}: must hold at least one image; received none")
    if not any(image["labels"] for image in images.values()):
        raise InputError(f"{where}: at least one image must have a label; received none")
    if repeated is not None and notes is not None:
        notes.append(
            f"labels: {number_of_rows:,} rows are of {counted(len(images), 'image')}; the labels "
            f"of the rows of one image are united ({repeated!r}, for example)"
        )
    return _frame(list(images.values()))


def remarks(manifest: pd.DataFrame) -> list[str]:
    """Lines on labels that may be one label in several spellings."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for labels in manifest["labels"]:
        for label in labels:
            spellings[normalise(label)].add(label)
    several = sorted(
        " and ".join(map(repr, sorted(names))) for names in spellings.values() if len(names) > 1
    )
    if not several:
        return []
    shown = "; ".join(several[:3]) + ("; …" if len(several) > 3 else "")
    return [f"labels: differ only by capitals or the like, and are kept apart: {shown}"]


def save(manifest: pd.DataFrame, path: str | Path) -> None:
    """Writes one JSON object per line, without what an image does not have."""
    lines = []
    for image in manifest.to_dict("records"):
        for name in ("path", *OPTIONAL):
            if image.get(name, "") is None:
                del image[name]
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
    columns = ["image_id", "path", "tags", "labels"]
    for name in OPTIONAL:
        if any(image.get(name) is not None for image in images):
            columns.append(name)
    # dtype object: pandas would turn None into NaN in a column of strings.
    return pd.DataFrame(
        {name: pd.Series([image.get(name) for image in images], dtype=object) for name in columns}
    )


def _image(
    fields: Mapping[str, Any], place: str, separators: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The id as it is written, and the image."""
    for name in REQUIRED:
        if name not in fields:
            raise InputError(f"{place}: lacks {name}; received {', '.join(fields) or 'nothing'}")
    image_id = as_text(fields["image_id"])
    if image_id is None or not image_id.strip():
        raise InputError(
            f"{place}: image_id must be a non-empty string; received {fields['image_id']!r}"
        )
    path = fields.get("path")
    if is_null(path):
        path = None
    if not isinstance(path, str | None):
        raise InputError(f"{place}: path must be a string; received {path!r}")
    if path and "\0" in path:
        raise InputError(f"{place}: path must not contain NUL; received {path!r}")
    tags = _entries(fields["tags"], place, "tags", separators["tags"])
    labels = _entries(fields["labels"], place, "labels", separators["labels"])
    for name in (image_id.strip(), *labels):
        if not name.isprintable() and len(name.splitlines()) > 1:  # artefacts: one name a line
            raise InputError(f"{place}: names must not contain line breaks; received {name!r}")
    try:
        image_id.encode()
        (path or "").encode()
        words, names = [_word(tag) for tag in tags], [_word(label) for label in labels]
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: text must be Unicode without lone surrogates; received {ascii(error.object)}"
        ) from error
    image: dict[str, Any] = {
        "image_id": unicodedata.normalize("NFC", image_id),
        "path": path or None,
        "tags": [word for word in words if word],
        "labels": [name for name in dict.fromkeys(names) if name],
    }
    optional = {"split": fields.get("split"), "weight": _weight(fields.get("weight"), place)}
    image |= {name: value for name, value in optional.items() if value is not None}
    return image_id, image


def _weight(value: Any, place: str) -> float | None:
    """How much an image counts in the loss; None where its row does not say."""
    if is_null(value) or value == "":
        return None
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise InputError(f"{place}: weight must be a number of 0 or more; received {value!r}")
    return weight


@functools.lru_cache(maxsize=WORDS)
def _word(text: str) -> str:
    """The spelling of a tag or label, of which most occur often.

    Raises:
        UnicodeEncodeError: it has lone surrogates.
    """
    text.encode()
    return spelled(text)


def _entries(value: Any, place: str, name: str, separator: str) -> list[str]:
    """The entries of the list field `name`, which may be one string."""
    if is_null(value):
        return []
    if isinstance(value, str):
        try:
            found = list_in(value)
        except ValueError as error:
            raise InputError(
                f"{place}: {name} must be a list or entries with {separator!r} between them; "
                f"received {value[:60]!r} ({error})"
            ) from error
        if found is None:  # nearly all cells
            return [stripped for entry in value.split(separator) if (stripped := entry.strip())]
        value = found
    elif as_text(value) is not None:
        value = [value]
    if not isinstance(value, list):
        raise InputError(
            f"{place}: {name} must be a list of strings or one string; received {value!r}"
        )
    entries = []
    for entry in value:
        if is_null(entry):
            continue
        if (text := as_text(entry)) is None:
            raise InputError(f"{place}: {name} must hold only strings; received {entry!r}")
        if stripped := text.strip():
            entries.append(stripped)
    return entries
