"""Finds photos in folders and reads the keywords that people gave them.

Keywords are read as digiKam, Lightroom and darktable write them: IPTC Keywords, and of
XMP dc:subject, lr:hierarchicalSubject and digiKam:TagsList, also from sidecars beside a
photograph (`name.xmp`, `name.jpg.xmp`). Pillow reads all of it: XMP in every format, IPTC in
JPEG and TIFF, the two that have a place for it.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageFile, IptcImagePlugin

from tagnet.errors import InputError
from tagnet.photos.images import FORMATS

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".heic", ".heif")
IPTC_KEYWORDS = (2, 25)  # IIM 4.2, dataset 2:25
# Property of XMP: what stands between the levels of a keyword.
XMP_KEYWORDS = {"subject": "|", "hierarchicalSubject": "|", "TagsList": "/"}
INTERNAL = ("darktable", "_Digikam_Internal_Tags_")  # what these programs note for themselves

Keyword: TypeAlias = tuple[str, ...]
"""A keyword's levels, the most general first."""


@dataclass(frozen=True)
class Photograph:
    """One file: where it is, what it is called, and its sidecars."""

    image_id: str
    path: Path
    sidecars: tuple[Path, ...]


def find_photographs(folder: Path) -> tuple[list[Photograph], list[tuple[str, str]]]:
    """Lists the photos in a folder and its subfolders, sorted by path.

    Returns:
        The photographs, and for each file or folder that cannot be used its path
        below `folder` and the reason.

    Raises:
        InputError: it is not a folder, or no photograph is in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    found: list[Photograph] = []
    left_out: list[tuple[str, str]] = []

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        left_out.append((name, f"the folder cannot be read ({error.strerror})"))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        sidecars = {name.lower(): name for name in files if name.lower().endswith(".xmp")}
        for name in sorted(files):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = Path(place, name)
            image_id = path.relative_to(folder).as_posix()
            shown = image_id.encode("utf-8", "backslashreplace").decode()
            if shown != image_id or len(image_id.splitlines()) > 1:
                left_out.append((shown, "its name must be Unicode without line breaks"))
                continue
            wanted = (f"{path.stem}.xmp".lower(), f"{name}.xmp".lower())
            beside = [Path(place, sidecars[name]) for name in wanted if name in sidecars]
            found.append(Photograph(image_id, path.absolute(), tuple(beside)))
    if not found:
        raise InputError(f"{folder}: has no photos ({', '.join(SUFFIXES)})")
    return sorted(found, key=lambda photograph: photograph.image_id), left_out


def read_keywords(photograph: Photograph) -> tuple[list[Keyword], list[str]]:
    """Reads the keywords of a photo and its sidecars.

    Returns:
        The keywords, and a line for each place that is damaged. A file that is no
        image has neither: whoever reads its pixels says so.

    Raises:
        MemoryError: there is too little memory to read them.
    """
    found: list[Keyword] = []
    damaged: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels and fields that are not read here
        for path in (photograph.path, *photograph.sidecars):
            try:
                image = _sidecar(path) if path in photograph.sidecars else _photograph(path)
            except MemoryError:
                raise
            except Exception as error:  # a damaged file can make Pillow raise anything
                if path in photograph.sidecars:
                    damaged.append(f"{path} ({' '.join(str(error).split())})")
                continue
            for read in (_iptc, _xmp):
                try:
                    found += read(image)
                except MemoryError:
                    raise
                except Exception as error:
                    damaged.append(f"{path} ({' '.join(str(error).split())})")
    # White space, line breaks among it, becomes single blanks; empty levels go.
    blanks = (tuple(" ".join(level.split()) for level in keyword) for keyword in found)
    keywords = (tuple(filter(None, keyword)) for keyword in blanks)
    return [keyword for keyword in keywords if keyword and keyword[0] not in INTERNAL], damaged


def split_keywords(
    keywords: Iterable[Keyword], label_prefix: str | None
) -> tuple[list[str], list[str]]:
    """Splits keywords into tags and labels.

    A keyword, its levels joined by `|`, that begins with the prefix (capitals do not
    matter) gives labels: each level of what follows. Programs repeat the levels of a
    hierarchy as keywords of their own; those of a label are not tags, since they
    would give the label away.

    >>> split_keywords([("label", "Beach"), ("beach",), ("label",), ("sea",)], "label|")
    (['sea'], ['Beach'])
    """
    labels: dict[str, None] = {}
    given_away: set[str] = set()
    others: list[Keyword] = []
    for levels in keywords:
        whole = "|".join(levels)
        if label_prefix and whole.lower().startswith(label_prefix.lower()):
            labels.update(dict.fromkeys(filter(None, whole[len(label_prefix) :].split("|"))))
            given_away.update(level.lower() for level in levels)
        else:
            others.append(levels)
    tags = dict.fromkeys(
        level
        for levels in others
        if len(levels) > 1 or levels[0].lower() not in given_away
        for level in levels
    )
    return list(tags), list(labels)


def _photograph(path: Path) -> Image.Image:
    with Image.open(path, formats=FORMATS) as image:  # the header; pixels are not read
        return image


def _sidecar(path: Path) -> Image.Image:
    image = Image.new("L", (1, 1))  # Pillow reads XMP as a property of an image
    image.info["xmp"] = path.read_bytes()
    return image


def _iptc(image: Image.Image) -> Iterator[Keyword]:
    fields = IptcImagePlugin.getiptcinfo(image) if isinstance(image, ImageFile.ImageFile) else None
    values = (fields or {}).get(IPTC_KEYWORDS) or []
    for value in values if isinstance(values, list) else [values]:
        try:
            text = value.decode()
        except UnicodeDecodeError:  # older programs wrote their system's letters
            text = value.decode("cp1252", "replace")
        yield tuple(text.split("|"))


def _xmp(image: Image.Image) -> Iterator[Keyword]:
    document = image.getxmp()
    rdf = (document.get("xmpmeta") or document).get("RDF") or {}
    for description in filter(None, _several(rdf.get("Description"))):
        for name, separator in XMP_KEYWORDS.items():
            for text in _texts(description.get(name)):
                yield tuple(text.split(separator))


def _several(value: Any) -> list[Any]:
    """Makes a list of an XMP property, which Pillow gives bare where there is only one."""
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> Iterator[str]:
    """The strings in a bag, sequence or plain value of XMP."""
    for entry in _several(value):
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for name in ("Bag", "Seq", "Alt", "li", "text"):
                yield from _texts(entry.get(name))
