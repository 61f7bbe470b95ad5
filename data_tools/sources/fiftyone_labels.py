"""FiftyOne's `labels.json` of image classifications as rows of a table.

The type is `fiftyone.types.FiftyOneImageClassificationDataset`, of one label an image or several.
An image is named by its path, or by that below the folder `data` beside the file, without ending.
"""

import os
from pathlib import Path
from typing import Any

from tagnet.errors import InputError
from tagnet.system.console import counted

DATA = "data"  # FiftyOne's folder of images beside the file


def is_fiftyone(content: Any) -> bool:
    """Whether what a JSON file holds are FiftyOne's labels of images."""
    return (
        isinstance(content, dict)
        and "classes" in content
        and isinstance(content.get("labels"), dict)
    )


def read(content: dict[str, Any], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a file, and what a user should be told about them.

    Args:
        content: what the file holds.
        path: its path.

    Raises:
        InputError: a label is none, or no image has labels.
    """
    classes = content["classes"] or []
    if not isinstance(classes, list):
        raise InputError(f"{path}: classes must be a list of names; received {classes!r:.60}")
    images = _images_beside(path)
    rows = []
    for name, target in content["labels"].items():
        if target is None:  # nobody has looked at it
            continue
        row: dict[str, Any] = {"image_id": name}
        if os.path.isabs(name) or name in images:
            row["path"] = images.get(name, name)
        targets = target if isinstance(target, list) else [target]
        names = [_name(one, classes, f"{path}: labels[{name!r:.80}]") for one in targets]
        rows.append(row | {"labels": list(dict.fromkeys(names))})
    if not rows:
        raise InputError(f"{path}: must have at least one image with labels; received none")
    notes = [f"labels: those of {counted(len(rows), 'image')} in {path.name}"]
    if without := len(content["labels"]) - len(rows):
        notes.append(f"labels: {counted(without, 'image')} without a label field left out")
    return rows, notes


def _images_beside(path: Path) -> dict[str, str]:
    """The files in `data` by their paths there, without endings."""
    folder = path.absolute().parent / DATA
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).with_suffix("").as_posix(): str(file) for file in files}


def _name(target: Any, classes: list[Any], place: str) -> str:
    label = target.get("label") if isinstance(target, dict) else target
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
        label = classes[label]
    if not isinstance(label, str):
        raise InputError(
            f"{place} must be names, or numbers of classes from 0; received {target!r:.60}"
        )
    return label
