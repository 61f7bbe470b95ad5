"""What other programs read of photos before `annotate --xmp`, after it, and after `--remove`.

    python -m benchmarks.studies.sidecar_readers

Twelve kinds of photos and sidecars are written by exiftool, labelled, and unlabelled again. Each
program that is installed reads the sidecar, or without one the photo; darktable reads both.
"""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

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
    readers = {name: read for name, read in READERS.items() if shutil.which(PROGRAMS[name])}
    columns = " | ".join(f"{name}: before | after" for name in readers)
    say(f"| photo | {columns} | after `--remove` |")
    say("|---" * (2 + 2 * len(readers)) + "|")
    for kind, (suffix, embedded, beside, flags) in KINDS.items():
        with tempfile.TemporaryDirectory() as place:
            photo = Path(place, f"a{suffix}")
            Image.new("RGB", (64, 48), "red").save(photo)
            _write(photo, embedded)
            if beside:
                Path(place, beside).write_text(EMPTY, encoding="utf-8")
                _write(Path(place, beside), flags)
            files = _files(place)
            before = {name: read(photo) for name, read in readers.items()}
            write_labels(photograph_at(photo, {})[0], LABELS, "auto")
            after = {name: read(photo) for name, read in readers.items()}
            write_labels(photograph_at(photo, {})[0], [], "auto")
            again = {name: read(photo) for name, read in readers.items()}
            same = "as before" if again == before else "DIFFERENT"
            same += ", every byte" if _files(place) == files else ", OTHER BYTES"
        cells = [text or "–" for name in readers for text in (before[name], after[name])]
        say(f"| {kind} | {' | '.join(cells)} | {same} |")


def _files(place: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(place).iterdir()}


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


PROGRAMS = {"exiftool": "exiftool", "exiv2": "exiv2", "darktable": "darktable-cli"}
READERS: dict[str, Callable[[Path], str]] = {
    "exiftool": _by_exiftool,
    "exiv2": _by_exiv2,
    "darktable": _by_darktable,
}

if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
