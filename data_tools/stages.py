"""Runs each stage once, and again only if something it depends on has changed.

A stage that has finished leaves a mark, `.stages/NAME.json`, which says what it
was made from and which files it wrote. A stage is up to date when its settings,
the user's files it reads and the stages it builds on are those of the mark, and
its files still stand there as it left them, by their checksums.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagnet.errors import CannotWrite, InputError
from tagnet.system.checksums import sha256
from tagnet.system.console import say
from tagnet.system.files import Check, read_json, write_json
from tagnet.system.locks import LOCKS

MARKS = ".stages"
DIGEST = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step from named artefacts to others.

    Attributes:
        name: of the mark, and in what is printed.
        work: does it; what it returns is kept in the mark and must fit in JSON.
        outputs: glob patterns of what `work` writes, relative to the directory.
        settings: the settings that it reads.
        inputs: the user's files that it reads, by the part they play.
        after: names of the stages whose artefacts it reads.
    """

    name: str
    work: Callable[[], dict[str, Any]]
    outputs: Sequence[str]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    after: Sequence[str] = ()


class Stages:
    """The stages of one directory, run one after the other.

    Args:
        directory: where artefacts and marks are; must exist unless `dry_run`.
        last: the artefact whose presence says that the directory is whole. It is
            removed before any stage runs, so that a killed run never looks finished.
        dry_run: only say what would be done.
        check: called before a stage begins and before its mark takes its place; raises where
            the lock on the directory is lost. An attribute too.
    """

    def __init__(
        self, directory: Path, last: str, dry_run: bool = False, check: Check | None = None
    ) -> None:
        self.directory = directory
        self.last = last
        self.dry_run = dry_run
        self.check = check
        self.seconds: dict[str, float] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.sums: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._stale: set[str] = set()

    def run(self, stage: Stage) -> None:
        """Runs `stage` unless it is up to date, and prints which.

        What its work returned, now or when it last ran, is then in `reports`, and the checksums
        of what it wrote in `sums`.

        Raises:
            InputError: the work raised it, or a file cannot be written.
        """
        mark = self._read_mark(stage.name)
        made_from = self._made_from(stage, mark)
        reason = self._reason(stage, mark, made_from)
        self._digests[stage.name] = _digest(made_from)
        if reason is None:
            say(f"{stage.name}: up to date")
            self.reports[stage.name] = mark["report"]
            self.sums |= mark.get("checksums") or self._checksums(mark["outputs"])
        elif self.dry_run:
            self._stale.add(stage.name)
            say(f"{stage.name}: would run{reason}", result=True)
        else:
            if self.check is not None:
                self.check()
            say(f"{stage.name}: running{reason}")
            start = time.monotonic()
            with self._explained():
                (self.directory / MARKS).mkdir(exist_ok=True)  # it may have been taken away
                (self.directory / self.last).unlink(missing_ok=True)
                self._remove(stage.name, mark)
                self.reports[stage.name] = stage.work()
                self._write_mark(stage, made_from, self.reports[stage.name])
            self.seconds[stage.name] = time.monotonic() - start
            say(f"{stage.name}: {self.seconds[stage.name]:.1f} s")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Removes empty folders after an error, and turns system errors into one line."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # it is not empty, and stays
                # Beside files it tells that they are ours.
                if {path.name for path in self.directory.iterdir()} <= {MARKS, LOCKS}:
                    (self.directory / MARKS).rmdir()
            if isinstance(error, OSError):
                place = Path(os.fsdecode(error.filename or self.directory))
                ours = self.directory in (place, *place.parents)
                how = "written" if ours else "read"
                raise CannotWrite(f"{place}: cannot be {how} ({error.strerror})") from error
            raise

    def remove_others(self) -> None:
        """Removes the files of stages that are no longer requested."""
        for path in sorted((self.directory / MARKS).glob("*.json")):
            if path.stem in self._digests:
                continue
            if self.dry_run:
                say(f"{path.stem}: would be removed (no longer requested)", result=True)
            else:
                say(f"{path.stem}: removed (no longer requested)")
                self._remove(path.stem, self._read_mark(path.stem))

    def _read_mark(self, name: str) -> dict[str, Any]:
        """Reads a mark; empty if it is missing or damaged."""
        try:
            return read_json(self._mark(name))
        except InputError:
            return {}

    def _mark(self, name: str) -> Path:
        return self.directory / MARKS / f"{name}.json"

    def _write_mark(self, stage: Stage, made_from: dict[str, Any], report: dict[str, Any]) -> None:
        outputs = {
            path.relative_to(self.directory).as_posix(): path.stat().st_size
            for pattern in stage.outputs
            for path in sorted(self.directory.glob(pattern))
        }
        checksums = self._checksums(outputs)
        mark = {"made_from": made_from, "outputs": outputs, "checksums": checksums}
        write_json(self._mark(stage.name), mark | {"report": report}, self.check)
        self.sums |= checksums

    def _checksums(self, files: Iterable[str]) -> dict[str, str]:
        return {file: sha256(self.directory / file) for file in files}

    def _made_from(self, stage: Stage, mark: dict[str, Any]) -> dict[str, Any]:
        known = mark.get("made_from", {}).get("inputs", {})
        # Through JSON, so that a tuple equals the list that is read back.
        return json.loads(
            json.dumps(
                {
                    "settings": dict(stage.settings),
                    "inputs": {
                        role: _fingerprint(path, known.get(role, {}))
                        for role, path in stage.inputs.items()
                    },
                    "after": {name: self._digests[name] for name in stage.after},
                }
            )
        )

    def _reason(self, stage: Stage, mark: dict[str, Any], made_from: dict[str, Any]) -> str | None:
        """Why `stage` must run again, as the end of a line; None if it need not."""
        if not mark:
            return " again, its record is damaged" if self._mark(stage.name).exists() else ""
        before = mark["made_from"]
        for setting in before["settings"] | made_from["settings"]:
            old, new = (made["settings"].get(setting) for made in (before, made_from))
            if old != new:
                return f" again, {setting} changed{_from_to(old, new)}"
        for role in before["inputs"] | made_from["inputs"]:
            old, new = (made["inputs"].get(role, {}).get("sha256") for made in (before, made_from))
            if old != new and new is None:
                return f" again, {role} no longer given"
            if old != new:
                return f" again, {role} {'changed' if old else 'added'} ({stage.inputs[role]})"
        for name, digest in made_from["after"].items():
            if before["after"].get(name) != digest or name in self._stale:
                return f" again, after {name}"
        if _digest(before) != _digest(made_from):
            return " again, its settings changed"
        for output, size in mark["outputs"].items():
            path = self.directory / output
            if not path.is_file() or path.stat().st_size != size:
                return f" again, {output} is missing or was modified"
        for output, digest in mark.get("checksums", {}).items():
            if sha256(self.directory / output) != digest:
                return f"  again, {output} was modified"
        return None

    def _remove(self, name: str, mark: dict[str, Any]) -> None:
        """Removes a stage's mark and files, the mark first, and folders left empty."""
        self._mark(name).unlink(missing_ok=True)
        for output in mark.get("outputs", {}):
            path = self.directory / output
            path.unlink(missing_ok=True)
            while path.parent != self.directory and path.parent.is_dir():
                if any(path.parent.iterdir()):
                    break
                path = path.parent
                path.rmdir()


def _from_to(old: Any, new: Any) -> str:
    """A setting's old and new value; empty for digests."""
    values = []
    for value in (old, new):
        if isinstance(value, str) and DIGEST.fullmatch(value):
            return ""
        shown = "none" if value is None else value
        values.append(",".join(map(str, shown)) if isinstance(shown, list) else str(shown))
    return " from " + " to ".join(values)


def _digest(made_from: dict[str, Any]) -> str:
    """SHA-256 of a stage's inputs and settings; for the user's files, of their contents only."""
    content = {role: file["sha256"] for role, file in made_from["inputs"].items()}
    text = json.dumps(made_from | {"inputs": content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Size, times and SHA-256 of a file; read only when the others differ from `known`."""
    try:
        stat = path.stat()
        # Archives and build tools give all files one time of change; the last is the system's own.
        seen = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
        if seen == {key: known.get(key) for key in seen}:
            return known
        return seen | {"sha256": sha256(path)}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
