"""Label Studio's JSON export as rows of a table: what people chose are labels, `data.tags` tags.

Of several annotations of a task the ground truth counts, or else the newest; cancelled ones do not.
Predictions are no labels. A path is what `data.image` serves: from Label Studio's local files, or a
file that was uploaded, `upload/…` in its folder of media.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tagnet.errors import InputError
from tagnet.system.console import counted

SERVED, MEDIA = "/data/local-files/", "/data/"


def is_label_studio(content: Any) -> bool:
    """Whether what a JSON file holds are tasks of Label Studio."""
    first = content[0] if isinstance(content, list) and content else None
    return (
        isinstance(first, dict)
        and isinstance(first.get("data"), dict)
        and not first.keys().isdisjoint(("annotations", "predictions"))
    )


def read(content: list[Any], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of an export, and what a user should be told about them.

    Args:
        content: what the file holds.
        path: its path.

    Raises:
        InputError: a task has no image, an annotation is not one, or no task has any.
    """
    rows = []
    for number, task in enumerate(content, 1):
        place = f"{path}: task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("image"), str):
            raise InputError(f"{place} must have data.image, a path or URL; received {data!r:.80}")
        if (annotation := _final(task, place)) is not None:
            rows.append(
                {
                    "path": file_of(data["image"]),
                    "tags": data.get("tags"),
                    "labels": _labels(annotation, place),
                }
            )
    if not rows:
        raise InputError(
            f"{path}: must have at least one annotated task; received {len(content)} without an "
            "annotation (predictions are not labels; export the project after annotating)"
        )
    notes = [f"labels: what people chose in {counted(len(rows), 'task')} of {path.name}"]
    if without := len(content) - len(rows):
        notes.append(f"labels: {counted(without, 'task')} without an annotation left out")
    return rows, notes


def file_of(image: str) -> str:
    """The path that an image's address stands for, below the folder that is served.

    >>> file_of("/data/local-files/?d=photos/a%20b.jpg"), file_of("/data/upload/1/x-a.jpg")
    ('photos/a b.jpg', 'upload/1/x-a.jpg')
    """
    address = urlsplit(image)
    if address.path == SERVED:
        return parse_qs(address.query).get("d", [image])[0]
    return image.removeprefix(MEDIA)


def _final(task: Mapping[str, Any], place: str) -> Mapping[str, Any] | None:
    """The annotation that counts."""
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        raise InputError(
            f"{place}: annotations must be a list of objects; received {annotations!r:.60} "
            "(export as JSON, not as JSON-MIN)"
        )
    kept = [one for one in annotations if not one.get("was_cancelled")]
    ranks = [(bool(one.get("ground_truth")), str(one.get("updated_at") or "")) for one in kept]
    # Of equal ranks the last.
    return max(zip(ranks, range(len(kept)), kept, strict=True))[2] if kept else None


def _labels(annotation: Mapping[str, Any], place: str) -> list[str]:
    """The choices, and the labels of regions, each once."""
    found: dict[str, None] = {}
    for result in annotation.get("result") or []:
        kind = result.get("type") if isinstance(result, dict) else None
        if not isinstance(kind, str):
            raise InputError(f"{place}: a result must have a type; received {result!r:.60}")
        if kind != "choices" and not kind.endswith("labels"):
            continue
        value = result.get("value")
        names = value.get(kind) if isinstance(value, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{place}: value.{kind} must be a list of names; received {value!r:.60}"
            )
        found |= dict.fromkeys(names)
    return list(found)
