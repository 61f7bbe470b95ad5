"""What other programs read of photos before `annotate --xmp`, after it, and after `--remove`.

    python -m benchmarks.studies.sidecar_readers

Twelve kinds of photos and sidecars are written by exiftool, labelled, and unlabelled again. Each
program that is installed reads the sidecar, or without one the photo; darktable and digiKam read
both.
"""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.studies import digikam
from experiments.annotation.sidecars import write_labels
from tagnet.errors import InputError
from tagnet.photos.folders import photograph_at
from tagnet.photos.xmp import EMPTY
from tagnet.system import console
from tagnet.system.console import say

LABELS = ["dog", "sea"]
TITLE = ["-XMP-dc:Title=T", "-XMP-xmp:Rating=4", "-XMP-dc:Rights=R"]
XMP = ["-XMP-dc:Subject=Rome", "-XMP-dc:Subject=dog"]
DEEP = ["-XMP-lr:HierarchicalSubject=places|Rome", "-XMP-lr:HierarchicalSubject=dog"]
DIGIKAM = ["-XMP-digiKam:TagsList=places/Rome", "-XMP-digiKam:TagsList=dog"]
NOTES = ["-XMP-dc:Subject=exported", "-XMP-lr:HierarchicalSubject=darktable|exported"]
IPTC = ["-codedcharacterset=utf8", "-IPTC:Keywords=Rome", "-IPTC:Keywords=dog"]
SHORT = ["-api", "Compact=Shorthand"]
# A kind: the photo's ending, what is written into it, the sidecar, what is written into that.
KINDS: dict[str, tuple[str, list[str], str, list[str]]] = {
    "JPEG, nothing in it": (".jpg", [], "", []),
    "JPEG, XMP": (".jpg", [*XMP, *TITLE], "", []),
    "JPEG, XMP hierarchy": (".jpg", [*XMP, *DEEP, *TITLE], "", []),
    "JPEG, IPTC": (".jpg", IPTC, "", []),
    "JPEG, IPTC and XMP": (".jpg", [*IPTC, *XMP, *TITLE], "", []),
    "PNG, XMP": (".png", [*XMP, *TITLE], "", []),
    "TIFF, IPTC and XMP": (".tif", [*IPTC, *XMP, *TITLE], "", []),
    "JPEG, and digiKam's sidecar": (".jpg", [], "a.jpg.xmp", [*DIGIKAM, *XMP, *DEEP, *TITLE]),
    "JPEG, and darktable's sidecar": (".jpg", XMP, "a.jpg.xmp", [*XMP, *DEEP, *NOTES, *TITLE]),
    "JPEG, and Lightroom's a.xmp": (".jpg", [], "a.xmp", [*XMP, *DEEP, *TITLE]),
    "JPEG, and a sidecar with attributes": (".jpg", [], "a.jpg.xmp", [*XMP, *TITLE, *SHORT]),
    "JPEG, and a sidecar without keywords": (".jpg", [], "a.jpg.xmp", TITLE),
}
FIELDS = {
    "exiftool": "-XMP-dc:Subject -IPTC:Keywords -XMP-lr:HierarchicalSubject -XMP-digiKam:TagsList "
    "-XMP-dc:Title -XMP-dc:Rights -XMP-xmp:Rating",
    "exiv2": "Xmp.dc.subject Iptc.Application2.Keywords Xmp.lr.hierarchicalSubject "
    "Xmp.digiKam.TagsList Xmp.dc.title Xmp.dc.rights Xmp.xmp.Rating",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """No flags."""


def main(options: Options) -> None:
    """Prints the table."""
    if shutil.which("exiftool") is None:
        raise InputError("exiftool is not installed; it writes the photos")
    readers = {name: read for name, (is_there, read) in READERS.items() if is_there()}
    with tempfile.TemporaryDirectory() as place:
        photos = [path for number in range(len(KINDS)) for path in _states(Path(place), number)]
        told = {name: read(photos) for name, read in readers.items()}
        columns = " | ".join(f"{name}: before | after" for name in readers)
        say(f"| photo | {columns} | after `--remove` |")
        say("|---" * (2 + 2 * len(readers)) + "|")
        for number, kind in enumerate(KINDS):
            first, labelled, last = range(3 * number, 3 * number + 3)
            is_same = all(cells[last] == cells[first] for cells in told.values())
            same = "as before" if is_same else "DIFFERENT"
            is_same = _files(photos[last].parent) == _files(photos[first].parent)
            same += ", every byte" if is_same else ", OTHER BYTES"
            cells = [told[name][at] or "–" for name in readers for at in (first, labelled)]
            say(f"| {kind} | {' | '.join(cells)} | {same} |")


def _states(place: Path, number: int) -> list[Path]:
    """A photo of one kind in three folders: before labels, with them, and after `--remove`."""
    suffix, embedded, beside, flags = list(KINDS.values())[number]
    photo = place / f"{number}-now" / f"a{suffix}"
    photo.parent.mkdir()
    Image.new("RGB", (64, 48), "red").save(photo)
    _write(photo, embedded)
    if beside:
        (photo.parent / beside).write_text(EMPTY, encoding="utf-8")
        _write(photo.parent / beside, flags)
    found = []
    for state, labels in (("before", None), ("after", LABELS), ("removed", [])):
        if labels is not None:
            write_labels(photograph_at(photo, {})[0], labels, "auto")
        copy = place / f"{number}-{state}"
        shutil.copytree(photo.parent, copy)
        found.append(copy / photo.name)
    shutil.rmtree(photo.parent)
    return found


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _write(path: Path, flags: list[str]) -> None:
    if flags:
        _run("exiftool", "-q", "-overwrite_original", *flags, str(path))


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _source(photo: Path) -> str:
    """The sidecar, or without one the photo."""
    found = photograph_at(photo, {})[0].sidecars
    return str(found[0] if found else photo)


def _by_exiftool(photo: Path) -> str:
    return _told(_run("exiftool", "-s3", *FIELDS["exiftool"].split(), _source(photo)))


def _by_exiv2(photo: Path) -> str:
    keys = [flag for key in FIELDS["exiv2"].split() for flag in ("-K", key)]
    text = _run("exiv2", "-q", "-Pv", *keys, _source(photo))
    return _told(text.replace('lang="x-default" ', ""))


def _by_darktable(photo: Path) -> str:
    with tempfile.TemporaryDirectory() as place:
        out = str(Path(place, "out.jpg"))
        shutil.copytree(photo.parent, Path(place, "in"))
        copy = str(Path(place, "in", photo.name))
        sidecar = Path(place, "in", Path(_source(photo)).name)
        given = [str(sidecar)] if sidecar.suffix == ".xmp" else []
        config = ["--core", "--configdir", place, "--library", ":memory:"]
        _run("darktable-cli", copy, *given, out, *config)
        fields = FIELDS["exiftool"].replace("-XMP-digiKam:TagsList", "").split()
        return _told(_run("exiftool", "-s3", *fields, out))


def _told(text: str) -> str:
    """One cell: words, each once, without darktable's own."""
    words = dict.fromkeys(word.strip() for line in text.splitlines() for word in line.split(", "))
    return "; ".join(word for word in words if word).replace("|", "\\|")


def _by_digikam(photos: list[Path]) -> list[str]:
    return [_told("\n".join(found)) for found in digikam.read([photo.parent for photo in photos])]


def _each(read: Callable[[Path], str]) -> Callable[[list[Path]], list[str]]:
    return lambda photos: [read(photo) for photo in photos]


def _has(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


# Whether a program is installed, and what reads photos with it.
READERS: dict[str, tuple[Callable[[], bool], Callable[[list[Path]], list[str]]]] = {
    "exiftool": (_has("exiftool"), _each(_by_exiftool)),
    "exiv2": (_has("exiv2"), _each(_by_exiv2)),
    "darktable": (_has("darktable-cli"), _each(_by_darktable)),
    "digiKam": (digikam.is_installed, _by_digikam),
}

if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
