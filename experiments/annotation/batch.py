"""Annotates many photos in chunks, so that an interrupted batch can resume."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from experiments.annotation.answer_file import Answer, AnswerFile
from tagnet.errors import CannotWrite, DiskFull, InputError, single_line
from tagnet.photos.folders import LeftOut, Listing, Photograph, find_photographs, photograph_at
from tagnet.photos.keywords import read_keywords, split_keywords
from tagnet.settings import MAX_TAGS
from tagnet.system.console import progress
from tagnet.system.files import read_text

if TYPE_CHECKING:  # flags are listed without TensorFlow
    from tagnet.serving.annotator import Annotation, Annotator

CHUNK = 128  # photographs whose answers are written together
AHEAD = 2  # chunks that are read meanwhile
DIGITS = 6  # decimals of probabilities and scores, which float32 does not exceed by much

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Job:
    """One photo to annotate.

    Attributes:
        name: what it is called in answers.
        path: its file.
        tags: what is known about it; None reads the keywords in the file.
        photograph: the file with its sidecars; None if it has none.
        labels: the true ones, where they are known.
    """

    name: str
    path: Path
    tags: tuple[str, ...] | None
    photograph: Photograph | None = None
    labels: tuple[str, ...] | None = None

    @property
    def with_sidecars(self) -> Photograph:
        """The file with its sidecars."""
        return self.photograph or Photograph(self.name, self.path)

    def read_tags(self) -> list[str]:
        """The given tags, or else the keywords of the file (at most `MAX_TAGS`)."""
        if self.tags is not None:
            return list(self.tags)
        keywords, damaged = read_keywords(self.with_sidecars)
        for place in damaged:
            report(f"unreadable keywords: {place}")
        return split_keywords(keywords, None)[0][:MAX_TAGS]


def jobs_of(
    arguments: Sequence[str], tags: tuple[str, ...] | None
) -> tuple[list[Job], list[LeftOut]]:
    """The photos named on a command line, including those in folders, each once.

    Returns:
        The photos, and for each file or folder that is not used its path and the reason.

    Raises:
        InputError: one is neither a file nor a folder, or a folder has no photographs.
    """
    if tags is not None:
        _check_tags(tags, "--tags")
    jobs: dict[Path, Job] = {}
    passed_over: list[LeftOut] = []
    listings: dict[Path, Listing] = {}
    for argument in arguments:
        place = Path(argument)
        shown = argument.encode("utf-8", "backslashreplace").decode()
        if shown != argument or len(argument.splitlines()) > 1:
            raise InputError(f"{ascii(argument)}: its name must be Unicode without line breaks")
        if place.is_dir():
            found, left_out = find_photographs(place)
        elif place.exists():
            photo, left_out = photograph_at(place, listings)
            found = [photo]
        else:
            raise InputError(f"{argument}: no such file or folder")
        folder = place if place.is_dir() else place.parent
        passed_over += [(str(folder / name), reason) for name, reason in left_out]
        for photo in found:
            name = str(place / photo.image_id) if place.is_dir() else argument
            jobs.setdefault(photo.path.resolve(), Job(name, photo.path, tags, photo))
    return list(jobs.values()), list(dict.fromkeys(passed_over))


def report_left_out(left_out: Iterable[LeftOut]) -> int:
    """Prints each kind of what is not used, with its first example; returns how many there are."""
    kinds: dict[str, list[str]] = {}
    for name, reason in left_out:
        kinds.setdefault(reason, []).append(name)
    for reason, names in kinds.items():
        more = "" if len(names) == 1 else f" (and {len(names) - 1:,} more)"
        report(f"{names[0]}: {reason}{more}")
    return sum(map(len, kinds.values()))


def jobs_of_table(table: Path, separator: str) -> list[Job]:
    """The photos of a CSV: `path` relative to its folder, `tags`, and optional `labels`.

    Raises:
        InputError: the table cannot be read, or lacks a column or a path.
    """
    text = io.StringIO(read_text(table).removeprefix("\ufeff"), newline="")
    rows = csv.DictReader(text, strict=True)
    jobs: dict[str, Job] = {}
    listings: dict[Path, Listing] = {}
    number = 0
    try:
        if missing := {"path", "tags"} - set(rows.fieldnames or ()):
            raise InputError(
                f"{table}: must have the columns path and tags; {min(missing)} is missing"
            )
        for number, row in enumerate(rows, 1):
            job = _job_of_row(row, f"{table}: row {number}", table.parent, separator, listings)
            if job.name in jobs:
                raise InputError(f"{table}: row {number} repeats the path {job.name!r}")
            jobs[job.name] = job
    except csv.Error as error:
        raise InputError(f"{table}: row {number + 1} is not CSV ({error})") from error
    if not jobs:
        raise InputError(f"{table}: must have at least one row; received none")
    return list(jobs.values())


def _job_of_row(
    row: dict[str, str], where: str, folder: Path, separator: str, listings: dict[Path, Listing]
) -> Job:
    if not row["path"] or None in row or None in row.values():
        raise InputError(f"{where} must have a path and a field for each column; received {row}")
    if "\0" in row["path"]:
        raise InputError(f"{where}: a path must not contain NUL; received {row['path']!r}")
    tags, labels = (
        None if text is None else tuple(filter(None, map(str.strip, text.split(separator))))
        for text in (row["tags"], row.get("labels"))
    )
    assert tags is not None  # the column is there
    _check_tags(tags, where)
    path = folder / row["path"]
    return Job(row["path"], path, tags, photograph_at(path, listings)[0], labels)


def _check_tags(tags: Sequence[str], where: str) -> None:
    if len(tags) > MAX_TAGS:
        raise InputError(f"{where}: must have at most {MAX_TAGS} tags; received {len(tags)}")


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which labels an answer includes.

    Attributes:
        thresholds: for each label that is wanted its least probability.
        top_k: how many there are at most; None sets no limit.
    """

    thresholds: dict[str, float]
    top_k: int | None

    def answer(self, name: str, annotation: "Annotation") -> Answer:
        """The answer written for an annotation."""
        labels = [
            label
            for label in annotation.labels
            if label.probability >= self.thresholds.get(label.name, float("inf"))
        ]
        return {
            "photo": name,
            "tags": annotation.known_tags,
            "unknown_tags": annotation.unknown_tags,
            "neighbours_by": "features" if annotation.by_features else "tags",
            "labels": [
                {
                    "label": label.name,
                    "probability": round(label.probability, DIGITS),
                    "score": round(label.score, DIGITS),
                    "shares": label.shares and dict(vars(label.shares)),
                }
                for label in labels[: self.top_k]
            ],
            "neighbours": [dict(vars(neighbour)) for neighbour in annotation.neighbours],
        }


class Batch:
    """Annotates many photos with one model.

    Args:
        annotator: the model.
        choice: which labels are given.
        jsonl: where answers are written as they come; None writes none.
        each: called with every new answer, before it is written; an `InputError` that
            it raises becomes the answer.

    Attributes:
        annotated, skipped, there: how many photographs were annotated, could not be
            read, and had an answer in `jsonl` before.
    """

    def __init__(
        self,
        annotator: "Annotator",
        choice: Choice,
        jsonl: Path | None,
        each: Sequence[Callable[[Job, Answer], None]] = (),
    ) -> None:
        self._annotator = annotator
        self._choice = choice
        self._jsonl = jsonl
        self._each = each
        self.annotated = self.skipped = self.there = 0

    def run(self, jobs: Sequence[Job]) -> list[Answer]:
        """All answers at once; see `answers`."""
        return list(self.answers(jobs))

    def answers(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        """Annotates the photos without an answer, and yields the answers of all, in their order.

        Answers that the file has are read when it is their turn, so that a batch of any size
        takes the memory of some chunks.

        Raises:
            InputError: the answers cannot be written, or those that are there were given
                by other settings; or not one photograph can be read.
            CannotWrite: a folder of photographs is taken away meanwhile, or the disk is full.
        """
        file = None if self._jsonl is None else AnswerFile(self._jsonl, self._digest())
        there = [job.name for job in jobs if file is not None and job.name in file]
        todo = [job for job in jobs if file is None or job.name not in file]
        self.there = len(there)
        old, new = _read(file, there), self._new_answers(todo, file)
        for job in jobs:
            yield next(old if file is not None and job.name in file else new)
        next(new, None)  # it ends, or says that not one could be annotated

    def _new_answers(self, todo: Sequence[Job], file: AnswerFile | None) -> Iterator[Answer]:
        """Annotates photos in chunks and writes the answers before they are yielded."""
        first_error = None
        folders = {folder for folder in {job.path.parent for job in todo} if folder.is_dir()}
        chunks = [todo[first : first + CHUNK] for first in range(0, len(todo), CHUNK)]
        with (
            progress(None, "Annotating", len(todo)) as bar,
            contextlib.closing(_made_ahead(self._read, chunks)) as contents,
        ):
            for chunk, content in zip(chunks, contents, strict=True):
                doubtful = {chunk[place].path.parent for place in content.errors}
                _require_folders(doubtful & folders)
                answers = self._answers(chunk, content)
                for place, job in enumerate(chunk):
                    if "error" not in answers[place]:
                        answers[place] = self._acted(job, answers[place])
                    if "error" in answers[place]:
                        self.skipped += 1
                        first_error = first_error or answers[place]["error"]
                        report(answers[place]["error"])
                    else:
                        self.annotated += 1
                if file is not None:
                    file.add(answers)
                bar.update(len(chunk))
                yield from answers
        if first_error and not self.annotated and not self.there:
            raise InputError(f"no photo can be annotated; first error: {first_error}")

    def _acted(self, job: Job, answer: Answer) -> Answer:
        try:
            for act in self._each:
                act(job, answer)
        except DiskFull:  # the others' could not be written either
            raise
        except InputError as error:
            return {"photo": job.name, "error": str(error)}
        return answer

    def _read(self, jobs: Sequence[Job]) -> "_Content":
        """Reads features and tags of photos: the slow part."""
        errors: dict[int, InputError] = {}
        tags = [job.read_tags() for job in jobs]
        phi = self._annotator.features([job.path for job in jobs], errors.__setitem__)
        return _Content(phi, tags, errors)

    def _answers(self, jobs: Sequence[Job], content: "_Content") -> list[Answer]:
        read = [place for place in range(len(jobs)) if place not in content.errors]
        tags = [content.tags[place] for place in read]
        annotations = self._annotator.annotate_all(list(content.phi), tags)
        answers = {
            place: {"photo": jobs[place].name, "error": str(error)}
            for place, error in content.errors.items()
        }
        for place, annotation in zip(read, annotations, strict=True):
            answers[place] = self._choice.answer(jobs[place].name, annotation)
        return [answers[place] for place in range(len(jobs))]

    def _digest(self) -> str:
        """Identifies what answers depend on: the model and the choice of labels."""
        asked = json.dumps([self._annotator.digest, dataclasses.asdict(self._choice)])
        return hashlib.sha256(asked.encode()).hexdigest()[:12]


def _read(file: AnswerFile | None, names: Sequence[str]) -> Iterator[Answer]:
    """Reads answers that are there, under a bar that is gone with the last."""
    if file is None or not names:
        return
    bar = progress(None, "Reading answers", len(names))
    for number, name in enumerate(names, 1):
        bar.update()
        if number == len(names):
            bar.close()
        yield file.read(name)


class _Content(NamedTuple):
    """Φ of the readable photos [n, D], the tags of all photos, and the errors."""

    phi: np.ndarray
    tags: list[list[str]]
    errors: dict[int, InputError]


def _require_folders(folders: set[Path]) -> None:
    """Raises `CannotWrite` if one of the folders has disappeared."""
    for folder in sorted(folders):
        if not folder.is_dir():
            raise CannotWrite(
                f"{folder}: was removed or is unreachable; run the command again when it is back"
            )


def _made_ahead(
    call: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Results in order; the next `AHEAD` are made in other threads while one is used."""
    with ThreadPoolExecutor(AHEAD) as threads:
        made: deque[Future[Result]] = deque()
        for item in items:
            made.append(threads.submit(call, item))
            if len(made) > AHEAD:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()


def report(line: str) -> None:
    """Prints that a photo is skipped."""
    print(f"skipped: {single_line(line)}", file=sys.stderr, flush=True)
