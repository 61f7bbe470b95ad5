"""Photographs that a table names, found on the disk.

A name may be spelled in another Unicode form than the file's (macOS decomposes letters), or have
blanks around it; a table without paths may name photographs by ids, with or without an ending.
"""

import functools
import os
import unicodedata
from pathlib import Path

from data_tools.sources.cells import trimmed
from tagnet.photos.folders import SUFFIXES


class PhotoPaths:
    """Finds photographs below a folder.

    Args:
        folder: where relative names start.

    Attributes:
        by_id: whether a photograph was found by an id.
    """

    def __init__(self, folder: Path) -> None:
        self.by_id = False
        self._folder = folder
        self._listed = functools.lru_cache(maxsize=None)(_listed)

    def find(self, name: str) -> str:
        """The file's path; the trimmed name where there is no such file."""
        plain = name.strip()
        if "\0" in name:
            return name
        for tried in dict.fromkeys((name, plain)):
            if os.path.exists(self._folder / tried):
                return tried
        return self._same_letters(trimmed(name)) or plain

    def find_id(self, image_id: str) -> str | None:
        """The file that an id names, with or without its ending; None if there is none."""
        if "\0" in image_id:
            return None
        for name in (image_id, *(image_id + ending for ending in SUFFIXES)):
            found = name if os.path.isfile(self._folder / name) else self._same_letters(name)
            if found is not None:
                self.by_id = True
                return found
        return None

    def _same_letters(self, name: str) -> str | None:
        """The path whose letters are those of `name`, whatever their Unicode form."""
        if name.isascii():
            return None
        place = self._folder / Path(name).anchor
        for part in Path(name).parts[1 if Path(name).anchor else 0 :]:
            real = part if os.path.exists(place / part) else self._listed(place).get(part)
            if real is None:
                return None
            place = place / real
        return str(place)


def _listed(folder: Path) -> dict[str, str]:
    """The names in a folder by their composed form."""
    try:
        return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}
    except OSError:
        return {}
