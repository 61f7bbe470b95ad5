"""COCO's JSON as rows of a table: categories are labels, the words of captions are tags.

A file may hold categories (`instances_val2017.json`), captions (`captions_val2017.json`) or both.
Where it is called `instances_…`, the file `captions_…` beside it, if there is one, adds tags. An
image_id is COCO's number, a path its `file_name`. Karpathy's `split` of an image is kept, and so
are the `tags` that `tagnet annotate --coco` writes.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_tools import packed
from tagnet.errors import InputError
from tagnet.system.console import counted

WORD = re.compile(r"[^\W\d_]{2,}")  # of two letters or more


def words(caption: str) -> list[str]:
    """The words of a caption in lower case, each once, without stop words.

    >>> words("Two dogs run on the beach; the dogs are wet.")
    ['dogs', 'run', 'beach', 'wet']
    """
    from gensim.parsing.preprocessing import STOPWORDS

    return [word for word in dict.fromkeys(WORD.findall(caption.lower())) if word not in STOPWORDS]


def is_coco(content: Any) -> bool:
    """Whether what a JSON file holds is in COCO's format."""
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def captions_beside(path: Path) -> Path | None:
    """The captions of the images whose categories are in `path`; None without such a file."""
    zipped, member = packed.split(path)
    if member is not None:
        folder, slash, name = member.rpartition("/")
        other = f"{folder}{slash}{name.replace('instances', 'captions', 1)}"
        is_there = name.startswith("instances") and other in packed.members(zipped)
        return Path(f"{zipped}:{other}") if is_there else None
    for place in (path, path.resolve()):  # a link may be named after a part
        if place.name.startswith("instances"):
            beside = place.with_name(place.name.replace("instances", "captions", 1))
            if beside.is_file():
                return beside
    return None


def read(
    content: dict[str, Any], path: Path, read_json: Callable[[Path], Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a file, and what a user should be told about them.

    Args:
        content: what the file holds.
        path: its path.
        read_json: reads another one.

    Raises:
        InputError: an entry lacks a field, or names an image or category that is not there.
    """
    rows = {}
    for number, image in enumerate(content["images"], 1):
        if not isinstance(image, dict) or "id" not in image:
            raise InputError(f"{path}: images[{number}] must have an id; received {image!r:.60}")
        row = {"image_id": image["id"], "labels": []}
        row |= {name: image[name] for name in ("file_name", "split", "tags") if name in image}
        rows[image["id"]] = row
    names = {
        category.get("id"): category.get("name") for category in content.get("categories") or ()
    }
    captions: dict[Any, list[str]] = defaultdict(list)
    _annotate(content, path, rows, names, captions)
    notes = [f"labels: the {counted(len(names), 'category', 'categories')} of {path.name}"]
    if (beside := captions_beside(path)) is not None and not captions:
        more = read_json(beside)
        if is_coco(more):
            _annotate(more, beside, rows, {}, captions, others=True)
            path = beside
    if captions:
        notes.append(f"tags: the words of the captions in {path.name}, without stop words")
        for image_id, texts in captions.items():
            rows[image_id]["tags"] = words(" ".join(texts))
    return list(rows.values()), notes


def _annotate(
    content: dict[str, Any],
    path: Path,
    rows: dict[Any, dict[str, Any]],
    names: dict[Any, Any],
    captions: dict[Any, list[str]],
    others: bool = False,
) -> None:
    """Adds a file's annotations; those of images that are not in `rows` only where `others`."""
    for number, entry in enumerate(content.get("annotations") or (), 1):
        place = f"{path}: annotations[{number}]"
        if not isinstance(entry, dict) or entry.get("image_id") not in rows:
            if others:
                continue
            found = entry.get("image_id") if isinstance(entry, dict) else entry
            raise InputError(f"{place} must name an image of images; received {found!r:.60}")
        if isinstance(entry.get("caption"), str):
            captions[entry["image_id"]].append(entry["caption"])
        elif "category_id" in entry and not others:
            if entry["category_id"] not in names:
                raise InputError(
                    f"{place} must name a category of categories; "
                    f"received {entry['category_id']!r:.60}"
                )
            labels = rows[entry["image_id"]]["labels"]
            if (name := names[entry["category_id"]]) not in labels:
                labels.append(name)
