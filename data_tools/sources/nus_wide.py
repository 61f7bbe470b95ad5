r"""The source `nus_wide`: the files of NUS-WIDE (Chua et al. 2009) as they were published.

ImageList/Imagelist.txt names the 269,648 images, `actor\0001_2124494179.jpg`; the
rows of Groundtruth/AllLabels and of AllTags1k.txt follow it. An image_id is that
name with a slash and without its ending. The number after the last `_` is the
photo's id at Flickr, by which NUS_WID_Tags/All_Tags.txt has its tags; six photos
stand in the list twice, some with other labels: the first entry that can be used is.

The paper's subset is the images with a label and tags. The authors used a fixed
list of 190,253 of them, which `--ids` takes. A feature matrix has a row for each
image of Imagelist.txt, or for each of the list.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.sources import manifest
from data_tools.sources.published_files import Collection, Original, decode, find, lacking, need
from tagnet.data.tags import normalise
from tagnet.errors import InputError
from tagnet.system.console import counted, progress, say

SIZES = "110000,40000,40253"  # section 3.2 of the paper
SPLITS = 5
TAG_SETS = {
    "all": ("All_Tags.txt",),
    "final": ("All_Tags.txt", "Final_Tag_List.txt"),
    "1k": ("AllTags1k.txt", "TagList1k.txt"),
}
LISTS, TAGS, TRUTH = "ImageList", "NUS_WID_Tags", "Groundtruth"
PARTS = ("Test", "Train")
OFFICIAL = {"train": "Train", "test": "Test"}
SAMPLE = 1000  # images that are looked for in the folders they were published in
PHOTOGRAPHS = ("Flickr", "images")
SHOWN = 3  # of the label files that differ from each other
ODD = 10  # values other than 0 and 1 that a label file may hold before it is refused


@dataclass(frozen=True)
class Image:
    r"""A line of an image list.

    Attributes:
        name: with slashes, as `actor/0001_2124494179.jpg`.
        photo: its id at Flickr.
    """

    name: str
    photo: str

    @property
    def image_id(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0]


def read(raw: Path, tag_set: str = "all", ids: Path | None = None) -> Collection:
    """Reads NUS-WIDE.

    Args:
        raw: the folder that holds its parts.
        tag_set: `all` tags, the `final` list's alone, or the `1k` of the matrix.
        ids: names the images to use, one a line, by name or by photo id; all of
            them are then used, in that order.

    Raises:
        InputError: names the file and the line.
    """
    images = read_image_list(need(raw, LISTS, "Imagelist.txt"))
    names, labels = read_labels(raw, len(images))
    _check_train_test(raw, images, names, labels)
    tags = _read_tags(raw, tag_set, images)
    label_lists = [[names[label] for label in np.flatnonzero(row)] for row in labels]
    if ids is None:
        rows, left_out = _usable(images, tags, label_lists)
    else:
        rows = _read_ids(ids, images)
        others = np.setdiff1d(np.arange(len(images)), rows)
        left_out = [(images[row].image_id, f"not in {ids.name}") for row in others]
    folder = photograph_folder(raw)
    files_of = _photo_names(images, folder)
    table = manifest.from_rows(
        (
            (
                row + 1,
                {
                    "image_id": images[row].image_id,
                    "path": folder and str(folder / files_of[row]),
                    "tags": tags[row],
                    "labels": label_lists[row],
                },
            )
            for row in rows
        ),
        raw,
        "|",
    )
    orders: dict[int, np.ndarray | None] = {len(images): np.array(rows)}
    if ids is not None and rows != list(range(len(images))):
        # A list of all images in another order: nobody can tell which one the features have.
        orders[len(rows)] = None if len(rows) == len(images) else np.arange(len(rows))
    return Collection(table, left_out, orders)


def files(raw: Path, tag_set: str = "all") -> list[Original]:
    """The files that `read` reads, apart from photographs and the list of ids."""
    concepts = need(raw, "ConceptsList", "Concepts81.txt")
    found = [need(raw, LISTS, "Imagelist.txt"), find(raw, LISTS, "TestImagelist.txt"), concepts]
    found += [need(raw, TAGS, name) for name in TAG_SETS[tag_set]]
    for name in _words(concepts):
        found.append(need(raw, TRUTH, f"AllLabels/Labels_{name}.txt"))
        found += [find(raw, TRUTH, f"TrainTestLabels/Labels_{name}_{p}.txt") for p in PARTS]
    return [original for original in found if original is not None]


def photograph_folder(raw: Path) -> Path | None:
    """The folder of the photos; None if there is none."""
    return next((raw.absolute() / name for name in PHOTOGRAPHS if (raw / name).is_dir()), None)


def _photo_names(images: Sequence[Image], folder: Path | None) -> list[str]:
    """The photographs' names in their folder: as published, or without the folders in it.

    Copies of NUS-WIDE have all photographs in one folder; the numbers of six stand for two.
    """
    names = [image.name for image in images]
    if folder is None or any((folder / name).is_file() for name in names[:SAMPLE]):
        return names
    flat = [name.rpartition("/")[2] for name in names]
    if not any((folder / name).is_file() for name in flat):
        return names
    say(f"photos: all in one folder ({folder})")
    return flat


def official_lists(raw: Path) -> dict[str, Original]:
    """The published lists of training and test images.

    Raises:
        InputError: one is missing.
    """
    return {part: need(raw, LISTS, f"{name}Imagelist.txt") for part, name in OFFICIAL.items()}


def read_image_list(original: Original) -> list[Image]:
    r"""Reads the lines `folder\number_photo.jpg`; a folder's name may have `_` in it.

    Raises:
        InputError: names the line that is something else, or stands there twice.
    """
    images = []
    first_seen: dict[str, int] = {}
    for number, line in original.lines():
        name = decode(line).replace("\\", "/")
        folder, _, file = name.rpartition("/")
        photo = file.rpartition(".")[0].rpartition("_")[2]
        if not folder or ".." in folder.split("/") or not photo.isdecimal():
            raise InputError(
                rf"{original}: line {number} must be folder\number_photo.jpg; received {name!r}"
            )
        if name in first_seen:
            raise InputError(f"{original}: line {number} repeats {name} of line {first_seen[name]}")
        first_seen[name] = number
        images.append(Image(name, photo))
    if not images:
        raise InputError(f"{original}: must name at least one image; received none")
    return images


def read_labels(raw: Path, num_images: int) -> tuple[list[str], np.ndarray]:
    """Reads Groundtruth/AllLabels: the names of Concepts81.txt, and bool [N, names].

    Raises:
        InputError: a file is missing, or does not have N lines of 0 and 1.
    """
    names = _words(need(raw, "ConceptsList", "Concepts81.txt"))
    labels = np.zeros([num_images, len(names)], bool)
    for column, name in enumerate(progress(names, "labels")):
        original = need(raw, TRUTH, f"AllLabels/Labels_{name}.txt")
        labels[:, column] = read_column(original, num_images)
    return names, labels


def read_column(original: Original, num_rows: int) -> np.ndarray:
    """Reads a label file with one 0 or 1 per line: bool [num_rows].

    The published files hold one other integer. Such a value is read as 0, and its
    line is printed; a file of more than `ODD` is refused.

    Raises:
        InputError: names the line that is no number, or says how many lines there are.
    """
    content = original.read().replace(b"\r\n", b"\n").rstrip() + b"\n"
    plain = np.frombuffer(content, np.uint8)
    values = plain[0::2]
    if len(plain) % 2 or (plain[1::2] != ord("\n")).any() or not np.isin(values, list(b"01")).all():
        values = _values(original, content)
    if len(values) != num_rows:
        raise InputError(
            f"{original}: must have one line for each of {num_rows:,} images; "
            f"received {len(values):,} lines"
        )
    return values == ord("1")


def _values(original: Original, content: bytes) -> np.ndarray:
    """The lines' values one by one, each `0` or `1`."""
    values, odd = [], 0
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        value = line.strip()
        if value not in (b"0", b"1"):
            odd += 1
            if odd > ODD or not value.removeprefix(b"-").isdigit():
                raise InputError(
                    f"{original}: line {number} must be 0 or 1; received {decode(value)!r}"
                )
            say(f"{original}: line {number:,} is {decode(value)}, not 0 or 1; read as 0")
            value = b"0"
        values.append(value[0])
    return np.array(values, np.uint8)


def _check_train_test(
    raw: Path, images: Sequence[Image], names: Sequence[str], labels: np.ndarray
) -> None:
    """Compares TrainTestLabels, if present, with AllLabels, which are used."""
    test_list = find(raw, LISTS, "TestImagelist.txt")
    if test_list is None:
        return
    row_of = {image.name: row for row, image in enumerate(images)}
    in_test = read_image_list(test_list)
    for image in in_test:
        if image.name not in row_of:
            raise InputError(f"{test_list}: names {image.name}, which is not in Imagelist.txt")
    test = np.array([row_of[image.name] for image in in_test])
    rows = {"Test": test, "Train": np.setdiff1d(np.arange(len(images)), test)}
    compared = differing = 0
    for part in PARTS:
        for column, name in enumerate(names):
            original = find(raw, TRUTH, f"TrainTestLabels/Labels_{name}_{part}.txt")
            if original is None:
                continue
            compared += 1
            wrong = read_column(original, len(rows[part])) != labels[rows[part], column]
            differing += wrong.any()
            if wrong.any() and differing <= SHOWN:
                first = images[rows[part][np.argmax(wrong)]].name
                count = counted(int(wrong.sum()), "image")
                say(
                    f"{original}: {count} with other labels than AllLabels, "
                    f"which is used; first: {first}"
                )
    if compared:
        result = f"; {differing} differ" if differing else ""
        count = counted(compared, "file")
        say(f"labels: compared {count} of TrainTestLabels with AllLabels{result}")


def _read_tags(raw: Path, tag_set: str, images: Sequence[Image]) -> list[list[str]]:
    """The tags of every image."""
    originals = [need(raw, TAGS, name) for name in TAG_SETS[tag_set]]
    if tag_set == "1k":
        return _read_matrix(originals[0], _words(originals[1]), len(images))
    of_photo = _read_all_tags(originals[0], {image.photo for image in images})
    if tag_set == "final":
        final = {normalise(word) for word in _words(originals[1])}
        of_photo = {
            photo: [tag for tag in tags if normalise(tag) in final]
            for photo, tags in of_photo.items()
        }
    return [of_photo.get(image.photo, []) for image in images]


def _read_all_tags(original: Original, photos: set[str]) -> Mapping[str, list[str]]:
    """The tags of each photo, from lines of a photo id and its tags, split at white space."""
    of_photo: dict[str, dict[str, None]] = defaultdict(dict)
    shared: dict[bytes, str] = {}  # a tag is one string in memory, however many photos carry it
    others = 0
    for number, line in progress(original.lines(), "tags"):
        photo, *tags = line.split()
        if not photo.isdigit():
            raise InputError(
                f"{original}: line {number} must begin with a photo id; "
                f"received {decode(photo)[:40]!r}"
            )
        if (name := photo.decode()) not in photos:
            others += 1
            continue
        for tag in tags:  # a photo of two lines has the tags of both
            of_photo[name][shared.setdefault(tag, decode(tag))] = None
    if not of_photo:
        raise InputError(f"{original}: has no tags for any photo of Imagelist.txt")
    if others:
        say(f"{original}: {counted(others, 'line')} for photos that are not in Imagelist.txt")
    return {photo: list(tags) for photo, tags in of_photo.items()}


def _read_matrix(original: Original, words: Sequence[str], num_images: int) -> list[list[str]]:
    """The tags of each image, from a row of 0s and 1s with one column per word."""
    tags = []
    for number, line in progress(original.lines(), "tags"):
        row = np.frombuffer(line.translate(None, b" \t"), np.uint8)
        if len(row) != len(words) or not np.isin(row, list(b"01")).all():
            raise InputError(
                f"{original}: line {number} must be {len(words):,} digits 0 or 1; "
                f"received {len(row):,} characters, {decode(line)[:40]!r}"
            )
        tags.append([words[column] for column in np.flatnonzero(row == ord("1")).tolist()])
    if len(tags) != num_images:
        raise InputError(
            f"{original}: must have one line for each of {num_images:,} images; "
            f"received {len(tags):,} lines"
        )
    return tags


def _words(original: Original) -> list[str]:
    """Reads one word per line.

    Raises:
        InputError: there is none, or one stands there twice.
    """
    numbers: dict[str, int] = {}
    for number, line in original.lines():
        word = decode(line)
        if word in numbers:
            raise InputError(f"{original}: line {number} repeats {word!r} of line {numbers[word]}")
        numbers[word] = number
    if not numbers:
        raise InputError(f"{original}: must hold one word per line; the file is empty")
    return list(numbers)


def _usable(
    images: Sequence[Image], tags: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]
) -> tuple[list[int], list[tuple[str, str]]]:
    """The rows of the images with labels and tags, each photo once; the others and why."""
    rows: list[int] = []
    left_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    for row, image in enumerate(images):
        reason = lacking(tags[row], labels[row])
        if reason is None and image.photo in seen:
            reason = "a photo that stands in the list twice"
        if reason is None:
            seen.add(image.photo)
            rows.append(row)
        else:
            left_out.append((image.image_id, reason))
    return rows, left_out


def _read_ids(path: Path, images: Sequence[Image]) -> list[int]:
    """The rows of the images that a user's list names.

    A photo id that stands in the image list twice may be listed twice.
    """
    of_name: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(images):
        of_name[image.name].append(row)
        of_name[image.image_id].append(row)
        of_name[image.photo].append(row)
    rows: dict[int, int] = {}
    original = Original(path)
    for number, line in original.lines():
        name = decode(line).replace("\\", "/")
        if name not in of_name:
            raise InputError(
                f"{path}: line {number} must be an image or photo id of Imagelist.txt; "
                f"received {name!r}"
            )
        free = [row for row in of_name[name] if row not in rows]
        if not free:
            raise InputError(
                f"{path}: line {number} repeats {name} of line {rows[of_name[name][-1]]}"
            )
        rows[free[0]] = number
    if not rows:
        raise InputError(f"{path}: must name at least one image; received none")
    return list(rows)
