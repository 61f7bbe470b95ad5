"""What the cells of a table look like that may have been read otherwise than they were meant."""

from collections import Counter, defaultdict
from typing import Any

import pandas as pd

SEPARATORS = ("|", ",", ";", "/", "\t", " ")
FLAGS = {"tags": "--separator", "labels": "--label_separator"}
WITHIN_NAMES = ("/", " ")  # these may well stand in a name
SAMPLE = 10_000  # distinct cells that are looked at


class Cells:
    """Counts the cells of tags and labels that are one string.

    Args:
        separator: by which tags are split.
        label_separator: by which labels are.
    """

    def __init__(self, separator: str, label_separator: str) -> None:
        self._separators = {"tags": separator, "labels": label_separator}
        self._cells: dict[str, Counter[str]] = {name: Counter() for name in FLAGS}

    def add(self, image: dict[str, Any]) -> None:
        """Notes the cells of a row."""
        for name, cells in self._cells.items():
            value = image.get(name)
            if isinstance(value, str) and (len(cells) < SAMPLE or value in cells):
                cells[value] += 1

    def notes(self, table: pd.DataFrame) -> list[str]:
        """A line for tags and for labels that nobody has two of, if the cells suggest a reason."""
        lines = []
        for name, cells in self._cells.items():
            if max(map(len, table[name]), default=0) != 1 or not cells:
                continue
            used = self._separators[name]
            other = likely_separator(cells, used)
            if other is not None:
                lines.append(
                    f"{name}: no image has more than one, and {other!r} stands in them; if they "
                    f"are separated by it, give {FLAGS[name]}={other!r}"
                )
            elif name == "tags":
                lines.append(
                    f"tags: no image has more than one; are they separated by {used!r}? "
                    "(see --separator)"
                )
        return lines


def likely_separator(cells: Counter[str], used: str) -> str | None:
    """A separator that many cells have, and between whose parts words of other cells recur.

    >>> likely_separator(Counter({"sea, sky": 3, "city, sky": 1}), "|")
    ','
    >>> likely_separator(Counter({"sea": 5, "sky": 3, "sea,sky": 2}), "|")
    ','
    """
    total = sum(count for cell, count in cells.items() if cell.strip())
    for mark in SEPARATORS:
        if mark == used:
            continue
        having = [cell.strip() for cell in cells if mark in cell.strip()]
        count = sum(cells[cell] for cell in cells if mark in cell.strip())
        if count < total / (2 if mark in WITHIN_NAMES else 20) or not having:
            continue
        owners: dict[str, set[str]] = defaultdict(set)
        for cell in cells:
            for part in cell.strip().split(mark):
                owners[part.strip()].add(cell)
        parts = {part.strip() for cell in having for part in cell.split(mark)} - {""}
        recurring = sum(len(owners[part]) > 1 for part in parts)
        # Where few cells have it, it may be part of a name: most of its words must recur.
        if recurring >= (1 if 2 * count >= total else len(parts) / 2):
            return mark
    return None
