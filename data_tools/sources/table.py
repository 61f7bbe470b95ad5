"""The source `table`: a CSV, JSONL or Parquet file with one row per image.

Columns image_id, tags and labels, and path where there are photographs; others
are ignored. The list columns hold one string each, split at a separator, or, in
JSONL and Parquet, lists of strings. Rows are counted from 1, a CSV's header not
counted; of JSONL they are the lines.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_tools.sources import manifest
from tagnet.errors import InputError

Rows = Iterator[tuple[int, Mapping[str, Any]]]


def read_table(path: Path, separator: str, tags: bool = True) -> pd.DataFrame:
    """Reads a table as a manifest; a relative photograph path is taken from its folder.

    Args:
        path: the file, whose ending says what it is.
        separator: between the entries of a list given as one string.
        tags: whether there must be tags; a table without them lists files, and blanks
            around an image_id count.

    Raises:
        InputError: names the file, and the row where there is one.
    """
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: a table must end in {', '.join(READERS)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a table must be a file")
    needed = [name for name in manifest.REQUIRED if tags or name != "tags"]
    rows = READERS[path.suffix.lower()](path, needed)
    if tags:
        rows = ((number, _without_blanks(fields)) for number, fields in rows)
    else:
        rows = ((number, {"tags": []} | dict(fields)) for number, fields in rows)
    try:
        table = manifest.from_rows(rows, path, separator)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8 text ({error.reason})") from error
    folder = path.parent.absolute()
    table["path"] = pd.Series([name and str(folder / name) for name in table["path"]], dtype=object)
    return table


def _without_blanks(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    image_id = fields.get("image_id")
    if not isinstance(image_id, str):
        return fields
    return {**fields, "image_id": image_id.strip() or image_id}


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


def _read_csv(path: Path, needed: Sequence[str]) -> Rows:
    with open(path, encoding="utf-8-sig", newline="") as file:  # sig: tolerates a BOM
        lines = csv.reader(file, strict=True)
        header: list[str] = []
        number = 0
        try:
            header = next(lines, [])
            _check_columns(header, needed, path)
            for fields in lines:
                if not fields:  # a blank line
                    continue
                number += 1
                if len(fields) != len(header):
                    raise InputError(
                        f"{path}: row {number} must have {len(header)} fields, "
                        f"as the header; received {len(fields)}"
                    )
                yield number, dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: row {number + 1} is not CSV ({error})") from error


def _read_jsonl(path: Path, needed: Sequence[str]) -> Rows:
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: row {number} is not JSON ({error})") from error
            if not isinstance(fields, dict):
                raise InputError(
                    f"{path}: row {number} must be a JSON object; received {type(fields).__name__}"
                )
            yield number, fields


def _read_parquet(path: Path, needed: Sequence[str]) -> Rows:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow; run `pip install pyarrow`") from error
    except Exception as error:  # pyarrow's exceptions cannot be named where it is not installed
        if isinstance(error, OSError) and error.errno:  # the system's, not pyarrow's
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is not a valid Parquet file ({reason})") from error
    _check_columns(list(frame.columns), needed, path)
    for number, fields in enumerate(frame.to_dict("records"), 1):
        yield (
            number,
            {
                str(name): value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in fields.items()
            },
        )


def _check_columns(columns: list[Any], needed: Sequence[str], path: Path) -> None:
    for name in manifest.REQUIRED:
        if columns.count(name) > 1 or name in needed and name not in columns:
            found = ",".join(map(str, columns)) or "none"
            raise InputError(f"{path}: must have one column {name}; received {found}")


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
