"""Several tables that are one data set, as COCO's `instances_train2017.json` and `…_val2017.json`.

Their images stand one below the other. Where the files' names say so (`…train…`, `…val…`,
`…test…`), each is a part of the split.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from data_tools import packed
from data_tools.sources.parts import PARTS, TEST, TRAIN, part_named
from tagnet.errors import InputError

WORD = re.compile(r"[^\W\d_]+")


def files(raw: Path) -> list[Path]:
    """The files that `--raw` names.

    >>> files(Path("a/train.csv,b.zip:test.csv"))
    [PosixPath('a/train.csv'), PosixPath('b.zip:test.csv')]
    """
    names = [name for name in str(raw).split(",") if name.strip()]
    return [raw] if len(names) < 2 or os.path.exists(raw) else list(map(Path, names))


def part_of(path: Path) -> str | None:
    """The part that a file's name tells of; None if it tells of none, or of several.

    >>> part_of(Path("instances_val2017.json")), part_of(Path("trainval.csv"))
    ('validation', None)
    """
    words = WORD.findall(packed.shown(path).lower())
    found = {part for word in words if (part := part_named(word)) is not None}
    return found.pop() if len(found) == 1 else None


def parts_of(paths: Sequence[Path]) -> list[str] | None:
    """The part of every file; None where there is one file, or no name tells of a part.

    Raises:
        InputError: the names of some do not.
    """
    parts = [part_of(path) for path in paths]
    if len(paths) < 2 or not any(parts):
        return None
    for path, part in zip(paths, parts, strict=True):
        if part is None:
            raise InputError(
                f"--raw: the name of every file must say its part (train, val or test), or that "
                f"of none; received {packed.shown(path)}"
            )
    return [part for part in parts if part is not None]


def require_parts(paths: Sequence[Path]) -> None:
    """Checks that the files' names tell of all the parts that are needed.

    Raises:
        InputError: there is no training or no test part.
    """
    present = parts_of(paths)
    if present is not None and (missing := [part for part in (TRAIN, TEST) if part not in present]):
        raise InputError(
            "--raw: by their names, the files must be of train and test, or train, validation and "
            f"test; received {', '.join(part for part in PARTS if part in present)}; add or rename "
            f"a file for {' and '.join(missing)}, or draw the parts (--sizes=.6,.2,.2)"
        )


def read(
    paths: Sequence[Path], read_one: Callable[[Path, list[str]], pd.DataFrame], notes: list[str]
) -> pd.DataFrame:
    """Reads tables as one manifest.

    Args:
        paths: the files.
        read_one: reads one of them as a manifest, and adds what a user should be told.
        notes: where that is added, each line once.

    Raises:
        InputError: an image is in two files.
    """
    if len(paths) == 1:
        return read_one(paths[0], notes)
    parts = parts_of(paths)
    tables = []
    where: dict[str, Path] = {}
    for number, path in enumerate(paths):
        told: list[str] = []
        table = read_one(path, told)
        notes += [line for line in told if line not in notes]
        if "split" not in table and parts is not None:
            table["split"] = pd.Series([parts[number]] * len(table), dtype=object)
        for image_id in table["image_id"]:
            if image_id in where:
                raise InputError(
                    f"{path}: image_id must be unique; {image_id!r} is also in {where[image_id]}"
                )
        where |= dict.fromkeys(table["image_id"], path)
        tables.append(table)
    columns = list(dict.fromkeys(name for table in tables for name in table))
    # Not by pandas, which would turn a None into NaN where a table lacks a column.
    lists = {
        name: [cell for table in tables for cell in table.get(name, [None] * len(table))]
        for name in columns
    }
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in lists.items()})
