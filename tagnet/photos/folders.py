"""Finds photos in folders, and the sidecars beside them."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tagnet.errors import InputError
from tagnet.photos.images import FORMATS

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp")
SUFFIXES += (".heic", ".heif", *((".avif",) if "AVIF" in FORMATS else ()))
RAW_SUFFIXES = tuple(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef "
    ".raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)
SIDECAR = ".xmp"
# What NAS devices, systems and programs put beside photos: thumbnails, what was deleted.
MACHINES: tuple[str, ...] = ("@eadir", "#recycle", "$recycle.bin", "lost+found", "__macosx")
MACHINES += ("system volume information", "@recycle", "@recently-snapshot", "#snapshot")

LeftOut: TypeAlias = tuple[str, str]
"""A file or folder that is not used: its path below the folder, and the reason."""


@dataclass(frozen=True)
class Photograph:
    """One file: where it is, what it is called, and its sidecars.

    Attributes:
        image_id: its name.
        path: its file.
        sidecars: those that are there, the most particular first.
        is_shared: whether the last of the sidecars is another photo's too.
    """

    image_id: str
    path: Path
    sidecars: tuple[Path, ...] = ()
    is_shared: bool = False


class Listing:
    """The files of a folder, to look sidecars up.

    A photo's sidecars are `photo.jpg.xmp` (darktable, digiKam) and `photo.xmp` (Lightroom, Capture
    One), in any case of letters. The latter is the raw file's where there is one beside. Of names
    that differ only in case the one counts that is spelt as the photo is.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._sidecars: dict[str, list[str]] = {}
        self._photos: dict[str, list[str]] = {}
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == SIDECAR:
                self._sidecars.setdefault(_key(stem), []).append(name)
            elif suffix.lower() in (*SUFFIXES, *RAW_SUFFIXES):
                for key in {_key(name), _key(stem)}:
                    self._photos.setdefault(key, []).append(name)

    def photograph(self, image_id: str, path: Path) -> tuple[Photograph, list[LeftOut]]:
        """A photo of this folder with its sidecars, and the sidecars that give way to them."""
        own, left_out = self._chosen(path.name, path.name)
        shared: list[str] = []
        rivals = [
            other for other in self._photos.get(_key(path.stem), ()) if _is_rival(other, path.name)
        ]
        if not any(other.lower().endswith(RAW_SUFFIXES) for other in rivals):
            shared, more = self._chosen(path.stem, path.name)
            left_out += more
        sidecars = tuple(path.with_name(name) for name in (*own, *shared))
        folder = image_id[: len(image_id) - len(path.name)]
        return (
            Photograph(image_id, path, sidecars, bool(shared and rivals)),
            [(folder + name, reason) for name, reason in left_out],
        )

    def _chosen(self, wanted: str, photo: str) -> tuple[list[str], list[LeftOut]]:
        """The sidecar called `wanted`, if there is one, and others that differ in case."""
        twins = [other for other in self._photos.get(_key(photo), ()) if _key(other) == _key(photo)]
        others = {os.path.splitext(twin)[0] for twin in twins} | set(twins)
        others -= {wanted}
        found = [
            name
            for name in self._sidecars.get(_key(wanted), ())
            if os.path.splitext(name)[0] not in others
        ]
        found.sort(key=lambda name: (not name.startswith(wanted), not name.endswith(SIDECAR)))
        reason = "differs only in the case of its letters from the sidecar that is used"
        return found[:1], [(name, reason) for name in found[1:]]

    def strays(self) -> Iterator[str]:
        """The sidecars that belong to no photo and no raw file."""
        for key, names in self._sidecars.items():
            if key not in self._photos:
                yield from names


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def _is_rival(other: str, name: str) -> bool:
    """Whether `photo.xmp` may be that of another file, not of a twin that differs in case."""
    return _key(other) != _key(name)


def photograph_at(path: Path, listings: dict[Path, Listing]) -> tuple[Photograph, list[LeftOut]]:
    """The photo of a file, with the sidecars that `find_photographs` would find.

    Args:
        path: the file.
        listings: of folders that were listed already; is added to.
    """
    path = path.absolute()
    if path.parent not in listings:
        try:
            names = os.listdir(path.parent)
        except OSError:  # it may be readable nevertheless
            names = []
        listings[path.parent] = Listing(names)
    return listings[path.parent].photograph(path.name, path)


def find_photographs(folder: Path) -> tuple[list[Photograph], list[LeftOut]]:
    """Lists the photos in a folder and its subfolders, sorted by path.

    Linked folders are followed, but each folder is looked through once.

    Returns:
        The photographs, and for each file or folder that is not used its path
        below `folder` and the reason.

    Raises:
        InputError: it is not a folder, or no photograph is in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    found: list[Photograph] = []
    left_out: list[LeftOut] = []
    for place, names in _folders(folder, left_out):
        listing = Listing(names)
        for name in names:
            path = Path(place, name)
            image_id = path.relative_to(folder).as_posix()
            reason = _unused(name)
            shown = image_id.encode("utf-8", "backslashreplace").decode()
            if reason is None and (shown != image_id or len(image_id.splitlines()) > 1):
                reason = "its name must be Unicode without line breaks"
            if reason is not None:
                left_out.append((shown, reason))
            elif not name.lower().endswith(SIDECAR):
                photograph, twins = listing.photograph(image_id, path.absolute())
                found.append(photograph)
                left_out += twins
        for name in listing.strays():
            shown = Path(place, name).relative_to(folder).as_posix()
            shown = shown.encode("utf-8", "backslashreplace").decode()
            left_out.append((shown, "a sidecar without a photo"))
    if not found:
        raise InputError(f"{folder}: has no photos ({', '.join(SUFFIXES)})")
    left_out = sorted(dict.fromkeys(left_out))
    return sorted(found, key=lambda photograph: photograph.image_id), left_out


def _unused(name: str) -> str | None:
    """Why a file is not used; None for photos and sidecars."""
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        return "its name begins with a dot"
    if suffix not in (*SUFFIXES, SIDECAR):
        return f"a file that ends in {suffix}" if suffix else "a file without an ending"
    return None


def _folders(folder: Path, left_out: list[LeftOut]) -> Iterator[tuple[str, list[str]]]:
    """Each folder and the names of its files: real folders first, then linked ones."""
    root = os.path.realpath(folder)
    seen: set[str] = set()
    waiting = [str(folder)]
    linked: list[str] = []
    while waiting or linked:
        place = waiting.pop() if waiting else linked.pop(0)
        real = os.path.realpath(place)
        name = Path(place).relative_to(folder).as_posix()
        if real in seen:
            continue
        if real != root and Path(root).is_relative_to(real):
            left_out.append((name, "links to a folder above"))
            continue
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            left_out.append((name, f"the folder cannot be read ({error.strerror})"))
            continue
        files = []
        for entry in listed:
            shown = Path(entry.path).relative_to(folder).as_posix()
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.name.lower() in MACHINES:
                left_out.append((shown, f"a folder of the system ({entry.name})"))
            elif entry.name.startswith("."):
                left_out.append((shown, "its name begins with a dot"))
            else:
                (linked if entry.is_symlink() else waiting).append(entry.path)
        yield place, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
