"""The source `mirflickr`: MIRFLICKR-25000 (Huiskes and Lew 2008), in two forms.

As published: photographs `im1.jpg`, `im2.jpg` and on, tags one a line in
`meta/tags/tags1.txt` (as Flickr cleans them) or `meta/tags_raw/tags1.txt` (as
people typed them), below the folder or below `mirflickr` in it; beside them the
annotations, `sky.txt` and on, each the numbers of the images that have the label.
For 24 labels these are all images in which it may be seen; for 14 of them,
`sea_r1.txt` and on, those to which it is relevant.

As lists, below the folder or below `tags_and_labels` in it: `all_imgs.txt`,
`all_tags.txt` (between commas) and `all_labels.txt` (24 columns of 0 and 1), a
line for each of the 20,015 images with one of the 1,386 tags of `TagList.txt`.

The images with a label and tags are used. A feature matrix has a row for each of
the 25,000 images, or for each line of the lists.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.sources import manifest
from data_tools.sources.published_files import Collection, Original, decode, find, lacking
from tagnet.errors import InputError
from tagnet.system.console import progress

SIZE = 25_000
TAG_SETS = ("all", "raw")
LABEL_SETS = ("potential", "relevant", "both")
POTENTIAL = tuple(
    "animals baby bird car clouds dog female flower food indoor lake male night people "
    "plant_life portrait river sea sky structures sunset transport tree water".split()
)
RELEVANT = tuple(
    f"{name}_r1"
    for name in "baby bird car clouds dog female flower male night people portrait river sea "
    "tree".split()
)
ANNOTATIONS = ("annotations", "mirflickr25k_annotations_v080")
LISTS = ("all_imgs.txt", "all_tags.txt", "all_labels.txt")


def read(raw: Path, tag_set: str = "all", label_set: str = "potential") -> Collection:
    """Reads MIRFLICKR.

    Args:
        raw: the folder that holds it, in either form.
        tag_set: `all` tags as Flickr cleans them, or `raw` as they were typed.
        label_set: the 24 `potential` labels, the 14 `relevant` ones (`_r1`), or `both`.

    Raises:
        InputError: names the file and the line.
    """
    if (folder := _list_folder(raw)) is not None:
        images, orders = _read_lists(raw, folder, tag_set, label_set)
    else:
        images, orders = _read_published(raw, tag_set, label_set)
    photographs = photograph_folder(raw)
    kept, left_out = [], []
    for row, image in enumerate(images):
        image["path"] = photographs and str(photographs / f"{image['image_id']}.jpg")
        reason = lacking(image["tags"], image["labels"])
        if reason is None:
            kept.append(row)
        else:
            left_out.append((image["image_id"], reason))
    table = manifest.from_rows(((row + 1, images[row]) for row in kept), raw, "|")
    return Collection(table, left_out, {size: rows[kept] for size, rows in orders.items()})


def files(raw: Path, tag_set: str = "all", label_set: str = "potential") -> list[Original]:
    """The files that `read` reads, apart from photographs."""
    if (folder := _list_folder(raw)) is not None:
        found = [Original(folder / name) for name in LISTS]
        annotations = set(_label_names(label_set)) & set(RELEVANT)
    else:
        tags = _published_folder(raw) / _tag_folder(tag_set)
        found = [Original(path) for path in _numbered(tags)]
        annotations = set(_label_names(label_set))
    return found + [_annotation(raw, name) for name in sorted(annotations)]


def photograph_folder(raw: Path) -> Path | None:
    """The folder with `im1.jpg` and so on; None if there is none."""
    folders = (raw.absolute(), raw.absolute() / "mirflickr")
    return next((folder for folder in folders if any(folder.glob("im*.jpg"))), None)


def _list_folder(raw: Path) -> Path | None:
    folders = (raw, raw / "tags_and_labels")
    return next((folder for folder in folders if (folder / LISTS[0]).is_file()), None)


def _published_folder(raw: Path) -> Path:
    for folder in (raw, raw / "mirflickr"):
        if (folder / "meta").is_dir():
            return folder
    raise InputError(
        f"{raw}: must hold MIRFLICKR as published (meta/tags) or as lists ({', '.join(LISTS)}); "
        "received neither"
    )


def _tag_folder(tag_set: str) -> str:
    return "meta/tags_raw" if tag_set == "raw" else "meta/tags"


def _label_names(label_set: str) -> tuple[str, ...]:
    return {"potential": POTENTIAL, "relevant": RELEVANT, "both": POTENTIAL + RELEVANT}[label_set]


def _numbered(folder: Path) -> list[Path]:
    """`tags1.txt`, `tags2.txt` and so on, one per image."""
    found = {
        int(match[1]): path
        for path in folder.glob("tags*.txt")
        if (match := re.fullmatch(r"tags([1-9][0-9]*)\.txt", path.name))
    }
    if not found:
        raise InputError(f"{folder}: has no tags1.txt")
    last = max(found)
    for number in range(1, last + 1):
        if number not in found:
            raise InputError(
                f"{folder}: must hold tags1.txt to tags{last}.txt; tags{number}.txt is missing"
            )
    return [found[number] for number in range(1, last + 1)]


def _read_published(
    raw: Path, tag_set: str, label_set: str
) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
    paths = _numbered(_published_folder(raw) / _tag_folder(tag_set))
    labels = _read_annotations(raw, _label_names(label_set), len(paths))
    images = [
        {
            "image_id": f"im{number}",
            "tags": [decode(line) for _, line in Original(path).lines()],
            "labels": labels[number],
        }
        for number, path in enumerate(progress(paths, "tags"), 1)
    ]
    return images, {len(images): np.arange(len(images))}


def _read_lists(
    raw: Path, folder: Path, tag_set: str, label_set: str
) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
    if tag_set == "raw":
        raise InputError("--tag_set=raw needs meta/tags_raw; the lists hold cleaned tags only")
    names = _label_names(label_set)
    relevant = [name for name in names if name in RELEVANT]
    annotated = _read_annotations(raw, relevant, SIZE) if relevant else None
    numbers = _column(folder / LISTS[0], _image_number)
    tags = _column(folder / LISTS[1], lambda line: line.split(","))
    columns = _column(folder / LISTS[2], _label_row)
    for name, column in zip(LISTS[1:], (tags, columns), strict=True):
        if len(column) != len(numbers):
            raise InputError(
                f"{folder / name}: must have one line for each of the {len(numbers):,} images in "
                f"{LISTS[0]}; received {len(column):,} lines"
            )
    images = []
    for number, image_tags, row in zip(numbers, tags, columns, strict=True):
        labels = [POTENTIAL[label] for label in row] if label_set != "relevant" else []
        if annotated is not None:
            labels = labels + annotated[number]
        images.append({"image_id": f"im{number}", "tags": image_tags, "labels": labels})
    orders = {SIZE: np.array(numbers) - 1}
    return images, orders | {len(images): np.arange(len(images))}


def _column(path: Path, parse: Callable[[str], Any]) -> list[Any]:
    """Applies `parse` to each line, including blank ones: an image may have no tags."""
    content = Original(path).read().removesuffix(b"\n")
    values = []
    for number, line in enumerate(decode(content).split("\n"), 1):
        try:
            values.append(parse(line.strip()))
        except ValueError as error:
            raise InputError(f"{path}: line {number} {error}; received {line[:40]!r}") from error
    return values


def _image_number(line: str) -> int:
    match = re.fullmatch(r"(?:.*[/\\])?im([1-9][0-9]*)\.jpg", line)
    if match is None or int(match[1]) > SIZE:
        raise ValueError(f"must name an image im1.jpg to im{SIZE}.jpg")
    return int(match[1])


def _label_row(line: str) -> list[int]:
    values = line.split()
    if len(values) != len(POTENTIAL) or not set(values) <= {"0", "1"}:
        raise ValueError(f"must be {len(POTENTIAL)} digits 0 or 1")
    return [label for label, value in enumerate(values) if value == "1"]


def _annotation(raw: Path, name: str) -> Original:
    for folder in ANNOTATIONS:
        if (original := find(raw, folder, f"{name}.txt")) is not None:
            return original
    raise InputError(
        f"{raw}: must hold the label file {name}.txt in {' or '.join(ANNOTATIONS)}, "
        "a folder or a zip; received neither"
    )


def _read_annotations(raw: Path, names: Sequence[str], num_images: int) -> dict[int, list[str]]:
    """The labels of each image by number, from one file per label."""
    labels: dict[int, list[str]] = {number: [] for number in range(1, num_images + 1)}
    for name in names:
        original = _annotation(raw, name)
        for line, text in original.lines():
            if not text.isdigit() or int(text) not in labels:
                missing = text.isdigit() and num_images < int(text) <= SIZE
                raise InputError(
                    f"{original}: line {line} must be the number of an image, 1 to {num_images}; "
                    f"received {decode(text)[:40]!r}"
                    + (f" (is tags{num_images + 1}.txt missing?)" if missing else "")
                )
            labels[int(text)].append(name)
    return labels
