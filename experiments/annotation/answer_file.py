"""Answers as JSON Lines: each is read when it is wanted, none is kept in memory."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from tagnet.errors import InputError
from tagnet.system.files import atomic_write, writing

BEGINNING = b'{"photo": '  # of every line

Answer: TypeAlias = dict[str, Any]
"""What a line holds: `photo` with `labels`, `neighbours` and tags, or with `error`."""


class AnswerFile:
    """The answers in a file, by photo.

    When it is opened, a last line that was cut off is taken out of it, and so are the errors,
    whose photographs are tried again.

    Args:
        path: the file; made if it is not there.
        settings: the digest of what the answers depend on.

    Raises:
        InputError: the file cannot be read or written, has other lines than answers, or
            answers of other settings.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self._path = path
        self._settings = settings
        self._places: dict[str, int] = {}  # where an answer's line begins
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            kept, whole = self._examined()
            if not whole:
                self._keep(kept)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str) -> Answer:
        """The answer of a photo that has one."""
        with open(self._path, "rb") as file:
            file.seek(self._places[name])
            answer = json.loads(file.readline())
        del answer["settings"]
        return answer

    def add(self, answers: Iterable[Answer]) -> None:
        """Adds lines at the end of the file."""
        lines = "".join(
            json.dumps(answer | {"settings": self._settings}) + "\n" for answer in answers
        )
        with writing(self._path), open(self._path, "a", encoding="ascii") as file:
            file.write(lines)

    def _examined(self) -> tuple[list[tuple[int, int]], bool]:
        """Notes where answers are going to be; returns the lines to keep, and if all are."""
        kept, start, end, whole = [], 0, 0, True
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                answer = self._parsed(line, number)
                if answer is None or "error" in answer:
                    whole = False
                else:
                    self._places[answer["photo"]] = end
                    kept.append((start, len(line)))
                    end += len(line)
                start += len(line)
        return kept, whole

    def _parsed(self, line: bytes, number: int) -> Answer | None:
        """The answer in a line; None where the line was cut off."""
        if not line.endswith(b"\n") and (line.startswith(BEGINNING) or BEGINNING.startswith(line)):
            return None
        try:
            answer = json.loads(line)
            there, _ = answer["settings"], answer["photo"]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InputError(
                f"{self._path}: line {number} is not an answer of this command; choose another "
                "file, or remove the line to annotate its photo again"
            ) from error
        if there != self._settings:
            raise InputError(
                f"{self._path}: line {number} was written with another model or other flags; "
                "choose another file or remove it"
            )
        return answer

    def _keep(self, lines: Iterable[tuple[int, int]]) -> None:
        """Writes the file anew with only these lines, given as beginnings and lengths."""
        with open(self._path, "rb") as file, atomic_write(self._path) as temporary:
            with open(temporary, "wb") as copy:
                for start, length in lines:
                    file.seek(start)
                    copy.write(file.read(length))
