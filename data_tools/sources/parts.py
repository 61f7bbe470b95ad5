"""Parts of a split that somebody else chose: their names, and lists of the images in them."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from data_tools.sources.cells import trimmed
from data_tools.sources.published_files import Original, decode
from tagnet.errors import InputError
from tagnet.settings import PARTS
from tagnet.system.console import counted, say

TRAIN, VALIDATION, TEST = PARTS
NAMES = {
    TRAIN: ("train", "training", "trn", "restval"),
    VALIDATION: ("validation", "val", "valid", "dev", "development"),
    TEST: ("test", "testing", "eval", "evaluation"),
}
RULE = "train, validation (val, valid, dev) or test"
OFFICIAL = "official"  # in place of files: the lists that come with a data set
SHARE = 0.1  # of the training images, for validation where there is no such part


def part_named(name: str) -> str | None:
    """The part that a name stands for; None if it is no such name.

    >>> part_named("Val"), part_named("train2017"), part_named("holdout")
    ('validation', 'train', None)
    """
    plain = re.sub(r"[\W_]*\d*$", "", trimmed(name).lower())
    return next((part for part, names in NAMES.items() if plain in names), None)


def read_lists(lists: Mapping[str, Original], manifest: pd.DataFrame) -> list[str | None]:
    """The part of every image, from two or three files that name images, one a line.

    A line is an image_id, a path or its end, with or without the ending of the file.

    Args:
        lists: the files, by the part whose images they name.
        manifest: the images.

    Raises:
        InputError: an image is in two lists, or a list names none of the images.
    """
    names = zip(manifest["image_id"], manifest["path"], strict=True)
    index = index_of([image_id, path or ""] for image_id, path in names)
    parts: list[str | None] = [None] * len(manifest)
    for part, original in lists.items():
        found, others = 0, 0
        for number, line in original.lines():
            row = row_of(decode(line), index)
            if row is None:
                others += 1
                continue
            if parts[row] not in (None, part):
                raise InputError(
                    f"{original}: line {number} names {decode(line)!r}, which is also in the list "
                    f"of {parts[row]}; an image must be in one part"
                )
            parts[row] = part
            found += 1
        if not found:
            raise InputError(
                f"{original}: must name images by image_id or path, one per line, such as "
                f"{manifest['image_id'][0]!r}; no line does"
            )
        if others:
            say(f"splits: {counted(others, 'line')} of {original} for images that are not used")
    return parts


def _spellings(name: str) -> Iterable[str]:
    """A name, and what may be left of it: without its ending, without its folders."""
    name = trimmed(name).replace("\\", "/")
    yield from dict.fromkeys(
        (name, *(_bare(name),), PurePosixPath(name).name, _bare(PurePosixPath(name).name))
    )


def _bare(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if re.fullmatch(r"\.[A-Za-z]\w{1,4}", path.suffix) else name


def index_of(names: Iterable[Sequence[str]]) -> dict[str, int | None]:
    """The row that each spelling of a name stands for; None where it is that of several rows.

    Args:
        names: of every row, the one by which it is found in any case first.
    """
    index: dict[str, int | None] = {}
    exact: dict[str, int | None] = {}
    for row, own in enumerate(names):
        first = trimmed(own[0])
        exact[first] = None if first in exact else row
        for key in {spelling for name in own if name for spelling in _spellings(name)}:
            index[key] = row if index.get(key, row) == row else None
    return index | exact


def row_of(name: str, index: Mapping[str, int | None]) -> int | None:
    """The row that a name, or what is left of it, stands for; None if there is none."""
    return next((row for key in _spellings(name) if (row := index.get(key)) is not None), None)


def with_validation(parts: Sequence[str | None], seed: int) -> list[str | None]:
    """Parts that have a validation part; prints what was done to get it.

    Where there are two parts, the one that is not train is the test part, and images of train
    that are drawn at random become the validation part.

    Args:
        parts: of every image.
        seed: of the draw.

    Raises:
        InputError: there is no training part, or no other one, or it is too small.
    """
    present = set(parts) - {None}
    if TRAIN not in present or len(present) < 2:
        found = ", ".join(part for part in PARTS if part in present) or "none"
        raise InputError(
            f"splits: the given parts must be train and test, or train, validation and test; "
            f"received {found}"
        )
    if len(present) == len(PARTS):
        return list(parts)
    result = [TEST if part == VALIDATION else part for part in parts]
    rows = [row for row, part in enumerate(result) if part == TRAIN]
    count = max(1, round(SHARE * len(rows)))
    if len(rows) < 2:
        raise InputError("splits: the training part must have at least 2 images; received 1")
    for row in random.Random(seed).sample(rows, count):
        result[row] = VALIDATION
    was = ", the part 'validation' is the test part" if VALIDATION in present else ""
    say(
        f"splits: the given parts are train and {'validation' if was else 'test'}{was}; "
        f"{counted(count, 'training image')} drawn at random (--seed) for validation"
    )
    return result


def list_files(names: Sequence[str]) -> dict[str, Original]:
    """The files that `--split_lists` names, by part.

    Raises:
        InputError: there are not two or three.
    """
    if len(names) not in (2, len(PARTS)):
        raise InputError(
            "--split_lists must be two files (train,test), three (train,validation,test) or "
            f"{OFFICIAL}; received {','.join(names)!r}"
        )
    parts = PARTS if len(names) == len(PARTS) else (TRAIN, TEST)
    return {part: Original(Path(name)) for part, name in zip(parts, names, strict=True)}
