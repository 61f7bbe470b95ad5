"""The stage that splits the images into train, validation and test: at random, or as given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagnet.errors import InputError
from tagnet.settings import PARTS
from tagnet.system.console import counted, say
from tagnet.system.files import read_arrays, write_arrays

FEWEST = 6  # images for three parts of which each has neighbours in itself


def parse_sizes(text: str) -> tuple[int, ...] | tuple[float, ...]:
    """Reads `train,validation,test` as three counts or three fractions.

    Raises:
        InputError: they are not three counts of at least 1, nor three fractions
            above 0 that add up to 1 at most.

    >>> parse_sizes("110000,40000,40253"), parse_sizes(".6,.2,.2")
    ((110000, 40000, 40253), (0.6, 0.2, 0.2))
    """
    rule = (
        "--sizes must be three counts of at least 1, or three fractions above 0 that add "
        f"up to 1 at most (train,validation,test); received {text!r}"
    )
    fields = [field.strip() for field in text.split(",")]
    if len(fields) != len(PARTS):
        raise InputError(rule)
    if all(field.isdecimal() and int(field) > 0 for field in fields):
        return tuple(int(field) for field in fields)
    try:
        fractions = tuple(float(field) for field in fields)
    except ValueError as error:
        raise InputError(rule) from error
    # Negated, so that NaN is refused too.
    if not (min(fractions) > 0 and max(fractions) < 1 and sum(fractions) <= 1 + 1e-9):
        raise InputError(rule)
    return fractions


def part_sizes(num_images: int, sizes: Sequence[float], left_out: int = 0) -> list[int]:
    """How many images each part has.

    Args:
        num_images: N.
        sizes: three counts, or three fractions of N.
        left_out: how many other images cannot be used, for an error line.

    Raises:
        InputError: together they need more than N images, or a part would be empty.

    >>> part_sizes(11, (0.6, 0.2, 0.2))
    [7, 2, 2]
    """
    if all(isinstance(size, int) for size in sizes):
        counts = [int(size) for size in sizes]
    else:
        # Cut points are rounded, not sizes, so that fractions that add up to 1 use every image.
        cuts = np.rint(np.cumsum([0, *sizes]) * num_images).astype(int)
        counts = np.diff(cuts).tolist()
    shown = ",".join(map(str, counts))
    others = f" ({left_out:,} left out, see above)" if left_out else ""
    if sum(counts) > num_images:
        raise InputError(
            f"--sizes must not exceed {counted(num_images, 'image')}{others}; received {shown}"
        )
    if min(counts) < 1:
        raise InputError(
            f"--sizes must leave every part an image; {counted(num_images, 'image')}{others} give "
            f"{shown}{' (too few images for three parts)' if num_images < FEWEST else ''}"
        )
    return counts


def draw_split(counts: Sequence[int], num_images: int, seed: int, index: int) -> dict[str, Any]:
    """Draws split `index`: disjoint sorted row numbers, int32, by part.

    It depends on nothing but the arguments, so that asking for more splits later
    leaves the earlier ones as they are.
    """
    order = np.random.default_rng([seed, index]).permutation(num_images).astype(np.int32)
    bounds = np.cumsum([0, *counts])
    return {
        part: np.sort(order[first:last])
        for part, first, last in zip(PARTS, bounds, bounds[1:], strict=False)
    }


def write_splits(
    directory: Path,
    num_images: int,
    sizes: Sequence[float],
    number: int,
    seed: int,
    left_out: int = 0,
) -> dict[str, Any]:
    """Writes `splits/split-0.npz` and so on, each with the arrays train, validation and test."""
    counts = part_sizes(num_images, sizes, left_out)
    for index in range(number):
        split = draw_split(counts, num_images, seed, index)
        write_arrays(directory / "splits" / f"split-{index}.npz", split)
    if others := num_images - sum(counts):
        say(
            f"splits: {others:,} of {counted(num_images, 'image')} are in no part; fractions such "
            "as --sizes=.6,.2,.2 use all images"
        )
    return dict(zip(PARTS, counts, strict=True))


def write_given(directory: Path, parts: Sequence[str | None]) -> dict[str, Any]:
    """Writes `splits/split-0.npz` from the part of every image.

    Raises:
        InputError: a part has no image.
    """
    split = {
        part: np.array([row for row, own in enumerate(parts) if own == part], np.int32)
        for part in PARTS
    }
    counts = {part: len(rows) for part, rows in split.items()}
    if not all(counts.values()):
        raise InputError(f"splits: every part must have an image; received {counts}")
    write_arrays(directory / "splits" / "split-0.npz", split)
    if others := parts.count(None):
        say(f"splits: {others:,} of {counted(len(parts), 'image')} are in no part")
    return counts


def read_split(directory: Path, index: int) -> dict[str, np.ndarray]:
    """Reads what `write_splits` wrote."""
    return read_arrays(directory / "splits" / f"split-{index}.npz", *PARTS)
