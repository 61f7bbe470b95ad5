"""The source `table`: a file with one row per image, or per image and label.

Which column is which is told by flags, or by its name in one of the usual spellings (`image_id`,
`ImageID`, `file_name`, `path`, `Labels`, …). Without a column of ids, a path is the id. Labels may
also be columns of 0 and 1. See `table_files` for the kinds of file, `cells` for what an entry
may be.
"""

import fnmatch
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools import packed
from data_tools.sources import coco, hints, manifest
from data_tools.sources.cells import as_text, is_null, plain_name, trimmed
from data_tools.sources.parts import RULE, part_named
from data_tools.sources.photo_paths import PhotoPaths
from data_tools.sources.table_files import RowFile, Rows, open_rows
from tagnet.errors import InputError
from tagnet.system.console import counted

# The usual names of columns, the first one that a table has is taken. They are compared in lower
# case, without blanks, `_` and `-`.
USUAL = {
    "image_id": ("imageid", "imgid", "imagename", "image", "img", "id"),
    "path": ("path", "filename", "filepath", "imagepath", "imgpath", "imagefile", "file"),
    "tags": ("tags", "tag", "keywords", "caption", "captions"),
    "labels": ("labels", "label", "labelname", "categories", "category", "classes", "class"),
    "split": ("split", "subset", "partition"),
    "weight": ("weight", "sampleweight", "imageweight"),
}
FLAGS = {
    "image_id": "image_column",
    "path": "path_column",
    "tags": "tags_column",
    "labels": "labels_column",
    "split": "split_column",
    "weight": "weight_column",
}
CONFIDENCE = "confidence"
CONFIDENT = 0.5  # of a row's label, from which it counts
ONE_LABEL = ("label", "labelname", "category", "class")  # columns to which a confidence belongs
ONES, ZEROS = ("1", "true"), ("0", "false", "")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are read; None for the usual names.

    Attributes:
        names: for each field of `FLAGS` that was named the column.
        label_columns: columns of 0 and 1, perhaps with `*` in their names.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    label_columns: Sequence[str] = ()


@dataclass
class _Chosen:
    """The columns of one table, and the labels that columns of 0 and 1 stand for."""

    names: dict[str, str]
    ones: dict[str, str]
    confidence: str | None

    @property
    def all(self) -> list[str]:
        names = [*self.names.values(), *self.ones, *([self.confidence] if self.confidence else [])]
        return list(dict.fromkeys(names))


def read_table(
    path: Path,
    separator: str,
    *,
    label_separator: str | None = None,
    columns: Columns | None = None,
    photos: Path | None = None,
    find_photos: bool = False,
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Reads a table as a manifest.

    Args:
        path: the file, whose ending says what it is.
        separator: between the entries of a list given as one string.
        label_separator: between labels, if it is another.
        columns: which are read.
        photos: the folder that relative paths start from; that of the table unless given.
        find_photos: whether photographs are looked for on the disk, under other spellings of
            their names and, where the table has no paths, under their ids.
        notes: what a user should be told is added to it.

    Raises:
        InputError: names the file, and the row where there is one.
    """
    notes = [] if notes is None else notes
    opened = open_rows(path)
    chosen = _choose(opened, columns or Columns(), path, notes)
    folder = (photos or packed.file_of(path).parent).absolute()
    seen = hints.Cells(separator, label_separator or separator)
    on_disk = PhotoPaths(folder) if find_photos else None
    rows = _rows(opened, chosen, path, notes, seen, on_disk)
    table = manifest.from_rows(rows, path, separator, label_separator, notes)
    notes += [*opened.notes, *seen.notes(table)]
    if on_disk is not None and on_disk.by_id:
        notes.append("table: photos are the files that the ids name")
        table["path"] = table["path"].where(table["path"].notna(), table["image_id"])
    table["path"] = pd.Series(_below(folder, table["path"]), dtype=object)
    return table


def _below(folder: Path, names: Iterable[str | None]) -> list[str | None]:
    """The paths of files, as pathlib joins them; most share their folder with others."""
    folder_of = functools.lru_cache(maxsize=2**12)(lambda name: str(folder / name))

    def joined(name: str) -> str:
        within, _, last = name.rpartition("/")
        if not within or last in ("", ".") or (place := folder_of(within)).endswith(os.sep):
            return str(folder / name)
        return f"{place}{os.sep}{last}"

    return [name and joined(name) for name in names]


def photograph_paths(table: pd.DataFrame, where: Path) -> list[str]:
    """The path of every image.

    Raises:
        InputError: an image has none.
    """
    for image_id, path in zip(table["image_id"], table["path"], strict=True):
        if path is None:
            raise InputError(
                f"{where}: every image must have a path (or give --features); {image_id!r} has none"
            )
    return list(table["path"])


def _choose(opened: RowFile, asked: Columns, path: Path, notes: list[str]) -> _Chosen:
    """The columns to read.

    Raises:
        InputError: one that was asked for is not there, or there are none for ids or labels.
    """
    available = list(map(str, opened.columns))
    shown = ",".join(available[:20]) + (",…" if len(available) > 20 else "") or "none"
    names = {}
    for name in USUAL:
        wanted = asked.names.get(name)
        if wanted is not None and available.count(wanted) != 1:
            raise InputError(
                f"{path}: must have one column {wanted} (--{FLAGS[name]}); received {shown}"
            )
        if (found := wanted or _usual(name, available, path, shown)) is not None:
            names[name] = found
    if "image_id" not in names and "path" not in names:
        raise InputError(
            f"{path}: must have one column image_id or path; received {shown} (see --image_column)"
        )
    if asked.label_columns:
        names.pop("labels", None)
    ones = _asked_ones(asked.label_columns, available, path, shown)
    if "labels" not in names and not ones:
        ones = _columns_of_ones(opened, [name for name in available if name not in names.values()])
        if not ones:
            raise InputError(
                f"{path}: must have one column labels; received {shown} "
                "(see --labels_column and --label_columns)"
            )
    if ones:
        first = ", ".join(list(ones.values())[:6]) + (", …" if len(ones) > 6 else "")
        notes.append(f"labels: {counted(len(ones), 'column')} of 0 and 1: {first}")
    one_label = plain_name(names.get("labels", "")) in ONE_LABEL
    confidence = [name for name in available if one_label and plain_name(name) == CONFIDENCE]
    usual = [
        f"{name} from the column {names[name]!r}"
        for name in names
        if names[name] != name and asked.names.get(name) is None
    ]
    if "image_id" not in names:
        usual.append(f"image_id is the path ({names['path']!r})")
    if usual:
        notes.append(f"table: {'; '.join(usual)}")
    if "weight" in names:
        notes.append(f"weights: the column {names['weight']!r} weights the images in the loss")
    return _Chosen(names, ones, confidence[0] if confidence else None)


def _usual(name: str, available: Sequence[str], path: Path, shown: str) -> str | None:
    """The column that has a field's own name, or else one of its usual names."""
    if name not in available:
        for usual in USUAL[name]:
            found = [column for column in available if plain_name(column) == usual]
            if len(set(found)) > 1:
                raise InputError(
                    f"{path}: must have one column {name}; received {', '.join(found)} "
                    f"(name one with --{FLAGS[name]})"
                )
            if found:
                name = found[0]
                break
        else:
            return None
    if available.count(name) > 1:
        raise InputError(f"{path}: must have one column {name}; received {shown}")
    return name


def _asked_ones(
    patterns: Sequence[str], available: Sequence[str], path: Path, shown: str
) -> dict[str, str]:
    """The columns of 0 and 1 that were asked for, and the labels that they stand for."""
    ones = {}
    for pattern in patterns:
        if pattern in available:
            ones[pattern] = pattern
            continue
        found = fnmatch.filter(available, pattern) if "*" in pattern else []
        if not found:
            raise InputError(f"{path}: --label_columns: no column is {pattern!r}; received {shown}")
        prefix = pattern.split("*")[0]
        ones |= {name: name.removeprefix(prefix) or name for name in found}
    return ones


def _columns_of_ones(opened: RowFile, others: Sequence[str]) -> dict[str, str]:
    """Of the columns that nothing else is read from, those of 0 and 1, if they are several."""
    left = dict.fromkeys(name for name in others if name.strip())
    filled: set[str] = set()
    for _, fields in opened.read(list(left)):
        for name in list(left):
            value = _flag(fields.get(name))
            if value is None:
                del left[name]
            elif not is_null(fields.get(name)) and fields.get(name) != "":
                filled.add(name)
        if not left:
            break
    ones = [name for name in left if name in filled]
    return {name: name for name in ones} if len(ones) > 1 else {}


def _flag(value: Any) -> bool | None:
    """What a cell of 0 or 1 says; None if it is something else."""
    if is_null(value):
        return False
    text = str(value).lower() if isinstance(value, bool) else as_text(value)
    if text is None:
        return None
    text = re.sub(r"^([01])\.0+$", r"\1", text.strip().lower())
    return True if text in ONES else False if text in ZEROS else None


def _rows(
    opened: RowFile,
    chosen: _Chosen,
    path: Path,
    notes: list[str],
    seen: "hints.Cells",
    photos: PhotoPaths | None,
) -> Rows:
    """The fields of a manifest for every row."""
    names, rows, unsure, odd = chosen.names, 0, 0, ""
    understood = 0
    caption = plain_name(names.get("tags", "")) in ("caption", "captions")
    if caption:
        notes.append(f"tags: the words of the column {names['tags']!r}, without stop words")
    for number, fields in opened.read(chosen.all):
        rows += 1
        image = {name: _text(fields.get(column)) for name, column in names.items()}
        image.setdefault("tags", [])
        if caption:
            image["tags"] = coco.words(str(image["tags"] or ""))
        if chosen.ones:
            image["labels"] = list(_ones(fields, chosen.ones, f"{path}: row {number}"))
        seen.add(image)
        if chosen.confidence and not _confident(
            fields.get(chosen.confidence), f"{path}: row {number}"
        ):
            image["labels"] = []
            unsure += 1
        if "split" in image:
            value = image["split"]
            image["split"] = part_named(as_text(value) or "")
            understood += image["split"] is not None
            if image["split"] is None and not is_null(value) and value != "" and not odd:
                odd = f"row {number} holds {value!r}"
        yield number, _with_path(image, photos)
    if chosen.confidence:
        notes.append(
            f"labels: rows with {chosen.confidence} below {CONFIDENT} give no label; "
            f"{unsure:,} of {rows:,} are"
        )
    if odd and understood:
        raise InputError(f"{path}: {odd} in the column {names['split']!r}; it must be {RULE}")
    if odd:
        notes.append(f"splits: the column {names['split']!r} is not used: {odd}, not {RULE}")


def _text(value: Any) -> Any:
    """The file's path where Hugging Face stores an image, otherwise the value itself."""
    return value.get("path") if isinstance(value, dict) else value


def _ones(fields: Mapping[str, Any], ones: Mapping[str, str], place: str) -> Iterator[str]:
    for column, label in ones.items():
        value = _flag(fields.get(column))
        if value is None:
            raise InputError(f"{place}: {column} must be 0 or 1; received {fields[column]!r}")
        if value:
            yield label


def _confident(value: Any, place: str) -> bool:
    if is_null(value) or value == "":
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise InputError(f"{place}: a confidence must be 0 to 1; received {value!r}")
    return number >= CONFIDENT


def _with_path(image: dict[str, Any], photos: PhotoPaths | None) -> dict[str, Any]:
    """Gives the image its id, and the path under which its photograph is found."""
    path = image.get("path")
    if is_null(path) or (isinstance(path, str) and not path.strip()):
        path = None
    elif not isinstance(path, str):
        path = as_text(path) or path
    image_id = image.get("image_id", path)
    image_id = trimmed(text) if (text := as_text(image_id)) is not None else image_id
    if photos is not None and isinstance(image_id, str):
        path = photos.find_id(image_id) if path is None else photos.find(str(path))
    elif isinstance(path, str) and path != path.strip():
        path = path.strip()
    image["image_id"], image["path"] = image_id, path
    return image
