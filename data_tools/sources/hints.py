"""What the cells of a table look like that may have been read otherwise than they were meant."""

from collections import Counter, defaultdict
from typing import Any

import pandas as pd

SEPARATORS = ("|", ",", ";", "/", "\t", " ")
FLAGS = {"tags": "--separator", "labels": "--label_separator"}
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
            if isinstance(value, str) and (value in cells or len(cells) < SAMPLE):
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
    """A separator that at least half of the cells have, and between whose parts words recur.

    >>> likely_separator(Counter({"sea, sky": 3, "city, sky": 1}), "|")
    ','
    """
    total = sum(count for cell, count in cells.items() if cell.strip())
    for mark in SEPARATORS:
        if mark == used:
            continue
        having = [cell.strip() for cell in cells if mark in cell.strip()]
        if 2 * sum(cells[cell] for cell in cells if mark in cell.strip()) < total:
            continue
        owners: dict[str, set[str]] = defaultdict(set)
        for cell in having:
            for part in cell.split(mark):
                owners[part.strip()].add(cell)
        if any(part and len(cells_of) > 1 for part, cells_of in owners.items()):
            return mark
    return None
