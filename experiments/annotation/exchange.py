"""Answers in the formats of other tools: COCO's JSON, Label Studio's tasks, FiftyOne's labels.

Each is written while photos are annotated, and gets its name when it is complete. A photo's path is
relative to the folder of the file, so that both can be moved together; that of a photo elsewhere
is absolute. The readers in `data_tools/sources` take what people corrected.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from experiments.annotation.batch import Answer, Job
from tagnet.errors import InputError
from tagnet.system.files import atomic_write, write_text

Add = Callable[[str, Answer], None]
"""Adds a photo's answer; the first argument is its path."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Who annotates.

    Attributes:
        name: what it is called.
        labels: those that it may give.
    """

    name: str
    labels: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of another tool.

    Attributes:
        head: how a file of ours begins; one that begins otherwise is not replaced.
        opened: makes the file at a path; gives a function that adds to it.
        about: what is said of the file once it is written.
    """

    head: str
    opened: Callable[[Path, Model], contextlib.AbstractContextManager[Add]]
    about: str


def written(
    name: str, path: Path, model: Model, jobs: Sequence[Job], answers: Iterable[Answer]
) -> Iterator[Answer]:
    """Passes answers on and writes them in the format called `name`, those with errors left out.

    Args:
        name: of `FORMATS`.
        path: the file; complete when the last answer was passed on.
        model: who annotates.
        jobs: the photos.
        answers: of each.
    """
    with atomic_write(path) as temporary, FORMATS[name].opened(temporary, model) as add:
        for job, answer in zip(jobs, answers, strict=True):
            if "error" not in answer:
                add(place_of(job.path, path.parent), answer)
            yield answer
    if name == "label_studio":
        write_text(interface_of(path), _interface(model))


def place_of(photo: Path, folder: Path) -> str:
    """The path of a photo, relative to `folder` where it is below that."""
    absolute, above = Path(os.path.abspath(photo)), os.path.abspath(folder)
    return (absolute.relative_to(above) if absolute.is_relative_to(above) else absolute).as_posix()


def require_served(path: Path, jobs: Iterable[Job]) -> None:
    """Raises `InputError` if Label Studio could not show a photo, or the file is its interface."""
    if interface_of(path) == path:
        raise InputError(
            f"--label_studio must end in .json, since .xml is its interface; received {path}"
        )
    for job in jobs:
        if Path(place_of(job.path, path.parent)).is_absolute():
            raise InputError(
                f"--label_studio={path}: photos must be below the folder of this file, from which "
                f"Label Studio serves them; received {job.name}; write the file to a folder that "
                "holds the photos"
            )


def _tags(answer: Answer) -> list[str]:
    return [*answer["tags"], *answer["unknown_tags"]]


# --- COCO ---------------------------------------------------------------------------------

COCO_HEAD = '{"info": {"description": "Labels by tagnet'


@contextlib.contextmanager
def _coco(path: Path, model: Model) -> Iterator[Add]:
    """Annotations are of whole images, without boxes; a tool ignores `tags` if it has no use."""
    ids = {name: number for number, name in enumerate(model.labels, 1)}
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    count = {"image": 0, "annotation": 0}
    # Images and annotations are two lists of one file, and come in turn.
    with open(path, "w", encoding="ascii") as file, _spool(path) as images:
        file.write(f'{COCO_HEAD}, {json.dumps(model.name)[1:-1]}"}},\n')
        file.write(f'"categories": {json.dumps(categories)},\n"annotations": [')

        def add(place: str, answer: Answer) -> None:
            _entry(images, count["image"], {"file_name": place, "tags": _tags(answer)})
            count["image"] += 1
            for label in answer["labels"]:
                entry = {"image_id": count["image"], "category_id": ids[label["label"]]}
                _entry(file, count["annotation"], entry | {"score": label["probability"]})
                count["annotation"] += 1

        yield add
        file.write('\n],\n"images": [')
        images.seek(0)
        shutil.copyfileobj(images, file)
        file.write("\n]}\n")


def _spool(path: Path) -> Any:
    return tempfile.TemporaryFile("w+", encoding="ascii", dir=path.parent)


def _entry(file: TextIO, before: int, fields: dict[str, Any]) -> None:
    """Writes an entry of a list that has `before` others, with an id from 1."""
    file.write(("," if before else "") + "\n" + json.dumps({"id": before + 1} | fields))


# --- Label Studio -------------------------------------------------------------------------

LABEL_STUDIO_HEAD = '[\n{"predictions": [{"model_version": "tagnet'
INTERFACE_HEAD = "<View><!-- Labels by tagnet -->\n"
SERVED = "/data/local-files/?d="


@contextlib.contextmanager
def _label_studio(path: Path, model: Model) -> Iterator[Add]:
    """A task for each photo, with the labels as a prediction that people correct."""
    with open(path, "w", encoding="ascii") as file:
        file.write("[")
        between = "\n"

        def add(place: str, answer: Answer) -> None:
            nonlocal between
            file.write(between + json.dumps(_task(place, answer, model)))
            between = ",\n"

        yield add
        file.write("\n]\n")


def _task(place: str, answer: Answer, model: Model) -> dict[str, Any]:
    labels = answer["labels"]
    # So that a sort by score shows the doubtful photos first.
    score = min((label["probability"] for label in labels), default=0.0)
    value = {"choices": [label["label"] for label in labels]}
    result = {"from_name": "labels", "to_name": "image", "type": "choices", "value": value}
    return {
        "predictions": [
            {
                "model_version": f"tagnet {model.name}",
                "score": score,
                "result": [result] if labels else [],
            }
        ],
        "data": {"image": SERVED + quote(place), "tags": "|".join(_tags(answer))},
    }


def interface_of(path: Path) -> Path:
    """Where the labelling interface of a file of tasks is."""
    return path.with_suffix(".xml")


def _interface(model: Model) -> str:
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in model.labels)
    return (
        f'{INTERFACE_HEAD}  <Image name="image" value="$image"/>\n'
        '  <Text name="tags" value="$tags"/>\n'
        f'  <Choices name="labels" toName="image" choice="multiple">\n{choices}'
        "  </Choices>\n</View>\n"
    )


# --- FiftyOne -----------------------------------------------------------------------------

FIFTYONE_HEAD = '{"info": "Labels by tagnet'


@contextlib.contextmanager
def _fiftyone(path: Path, model: Model) -> Iterator[Add]:
    """Paths are absolute: FiftyOne would take relative ones for names in a folder `data`."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f'{FIFTYONE_HEAD}, {json.dumps(model.name)[1:-1]}",\n')
        file.write(f'"classes": {json.dumps(model.labels)},\n"labels": {{')
        between = "\n"

        def add(place: str, answer: Answer) -> None:
            nonlocal between
            given = [
                {"label": label["label"], "confidence": label["probability"]}
                for label in answer["labels"]
            ]
            name = os.path.join(os.path.abspath(path.parent), place)
            file.write(f"{between}{json.dumps(name)}: {json.dumps(given)}")
            between = ",\n"

        yield add
        file.write("\n}}\n")


FORMATS = {
    "coco": Format(COCO_HEAD, _coco, "image labels in COCO's format"),
    "label_studio": Format(
        LABEL_STUDIO_HEAD,
        _label_studio,
        "tasks for Label Studio, and their labelling interface in .xml beside it",
    ),
    "fiftyone": Format(FIFTYONE_HEAD, _fiftyone, "labels for FiftyOne"),
}
