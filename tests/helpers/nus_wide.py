"""NUS-WIDE: small files in the published layout, with the traps of the originals."""

from pathlib import Path

# Folder names with `_`, backslashes, and photo 44 twice, as in the original.
IMAGES = (
    r"actor\0001_11.jpg",
    r"actor\0002_22.jpg",
    r"aircraft_carrier\0001_33.jpg",
    r"aircraft_carrier\0002_44.jpg",
    r"lake\0001_44.jpg",
    r"lake\0002_55.jpg",
    r"lake\0003_66.jpg",
    r"sky\0001_77.jpg",
    r"sky\0002_88.jpg",
    r"sky\0003_99.jpg",
)
TEST = (1, 3, 7)  # the rows of TestImagelist.txt
LABELS = {
    "airport": [0, 0, 1, 1, 0, 0, 0, 0, 0, 0],
    "lake": [0, 0, 0, 0, 1, 1, 0, 0, 1, 0],
    "sky": [1, 1, 1, 0, 1, 0, 0, 0, 1, 1],
}
TAGS = {
    "11": ["sky", "blue"],
    "22": ["sky"],
    "33": ["sea", "ship", "blue"],
    "44": ["ship"],
    "55": ["lake", "blue"],
    "66": ["sun"],
    "77": [],
    "88": ["sky", "lake", "été"],
    "99": [],
}
IDS = [name.replace("\\", "/")[:-4] for name in IMAGES]
KEPT = [0, 1, 2, 3, 5, 8]  # 4 is a photo again, 6 and 7 have no label, 9 no tags
WORDS_1K = ("blue", "sky", "lake")


def lines(*entries: object, end: str = "\n") -> bytes:
    return "".join(f"{entry}{end}" for entry in entries).encode()


def column(name: str, rows: list[int] | tuple[int, ...]) -> bytes:
    return lines(*(LABELS[name][row] for row in rows))


def write_raw(raw: Path) -> Path:
    """Writes the published files of these images below `raw`."""
    rows = list(range(len(IMAGES)))
    train = [row for row in rows if row not in TEST]
    files = {
        "ImageList/Imagelist.txt": lines(*IMAGES),
        "ImageList/TestImagelist.txt": lines(*(IMAGES[row] for row in TEST)),
        "ConceptsList/Concepts81.txt": lines(*LABELS, end="\r\n"),
        "NUS_WID_Tags/All_Tags.txt": lines(
            *(f"{photo}      {' '.join(tags)} " for photo, tags in TAGS.items())
        ),
        "NUS_WID_Tags/TagList1k.txt": lines(*WORDS_1K, end="\r\n"),
        "NUS_WID_Tags/Final_Tag_List.txt": lines("lake", "sky", "ship", "sun"),
        "NUS_WID_Tags/AllTags1k.txt": lines(
            *(
                "\t".join(str(int(word in TAGS[photo(name)])) for word in WORDS_1K) + "\t"
                for name in IMAGES
            )
        ),
    }
    for name in LABELS:
        files[f"Groundtruth/AllLabels/Labels_{name}.txt"] = column(name, rows)
        files[f"Groundtruth/TrainTestLabels/Labels_{name}_Train.txt"] = column(name, train)
        files[f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt"] = column(name, TEST)
    for name, content in files.items():
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return raw


def photo(name: str) -> str:
    return name[:-4].split("_")[-1]
