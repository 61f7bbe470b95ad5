"""MIRFLICKR-25k: small files in the published layout, and its lists."""

from pathlib import Path

from data_tools.sources import mirflickr

TAGS = [["sea", "newyork"], ["dog"], [], ["sea", "sky"], ["sky"], ["dog", "été"], ["tree"]]
RAW_TAGS = [["Sea", "New York"], ["Dog"], [], ["Sea", "Sky"], ["sky"], ["Dog", "Été"], ["Tree"]]
# Image numbers, from 1. No label: 7. `_r1` are some of those of the same name.
LABELS = {
    "sea": [1, 4],
    "sea_r1": [4],
    "dog": [2, 6],
    "dog_r1": [2],
    "sky": [3, 4, 5],
    "plant_life": [6],
}
POTENTIAL = [["sea"], ["dog"], ["sky"], ["sea", "sky"], ["sky"], ["dog", "plant_life"], []]
NUMBERS = [1, 2, 4, 5, 6]  # the lists' images, all with tags
RECORDS = [
    {
        "image_id": f"im{number}",
        "path": None,
        "tags": TAGS[number - 1],
        "labels": POTENTIAL[number - 1],
    }
    for number in NUMBERS
]


def write_annotations(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in mirflickr.POTENTIAL + mirflickr.RELEVANT:
        text = "".join(f"{number}\r\n" for number in LABELS.get(name, []))
        (folder / f"{name}.txt").write_bytes(text.encode())


def write_published(raw: Path) -> Path:
    """The folder `mirflickr` and the annotations, beside each other."""
    write_annotations(raw / "mirflickr25k_annotations_v080")
    for folder, lists in {"tags": TAGS, "tags_raw": RAW_TAGS}.items():
        (raw / "mirflickr" / "meta" / folder).mkdir(parents=True)
        for number, tags in enumerate(lists, 1):
            text = "".join(f"{tag}\r\n" for tag in tags)
            path = raw / "mirflickr" / "meta" / folder / f"tags{number}.txt"
            path.write_bytes(text.encode())
    return raw


def write_lists(raw: Path) -> Path:
    """The three lists and the annotations."""
    write_annotations(raw / "annotations")
    rows = [number - 1 for number in NUMBERS]
    columns = {
        "all_imgs.txt": [f"mirflickr/im{number}.jpg" for number in NUMBERS],
        "all_tags.txt": [",".join(TAGS[row]) for row in rows],
        "all_labels.txt": [
            " ".join(str(int(name in POTENTIAL[row])) for name in mirflickr.POTENTIAL)
            for row in rows
        ],
    }
    (raw / "tags_and_labels").mkdir()
    for name, lines in columns.items():
        text = "".join(f"{line}\r\n" for line in lines)
        (raw / "tags_and_labels" / name).write_bytes(text.encode())
    return raw
