"""Writes a gallery: one page, or a folder of pages and an index where there are many photos.

A page of a folder holds its own photos; the neighbours' are files that all pages share, so that
each is there once. No more than one page is in memory.
"""

import base64
import html
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from experiments.annotation.batch import Answer, Job
from experiments.annotation.gallery import (
    NEIGHBOUR,
    Model,
    Place,
    gallery,
    thumbnails,
)
from experiments.reports import page
from tagnet.errors import InputError
from tagnet.system.console import counted
from tagnet.system.files import atomic_write, write_text, writing

PAGE = 200  # photographs
SHARED = "neighbours"  # the folder of the corpus' photographs
OURS = re.compile(rf"\d+\.html|{SHARED}")


def folder_of(path: Path) -> Path:
    """Where the pages of a gallery are if it has several."""
    return path.with_name(f"{path.stem}_pages")


def check_folder(path: Path) -> None:
    """Raises `InputError` if the folder of pages holds what no gallery wrote."""
    folder = folder_of(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: must be a folder; choose another name for --html")
    for inside in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not OURS.fullmatch(inside.name):
            raise InputError(
                f"{folder}: must hold only pages of a gallery, since it is replaced; received "
                f"{inside.name}; choose another name for --html"
            )


def write(
    path: Path, model: Model, jobs: Sequence[Job], answers: Iterable[Answer], place: Place
) -> None:
    """Writes a gallery, with more than `PAGE` photographs as an index of pages.

    Args:
        path: the page, or the index.
        model: who annotated.
        jobs: the photographs.
        answers: of each; read page by page.
        place: where the photographs of the corpus are.
    """
    pairs = zip(jobs, answers, strict=True)
    title = f"{counted(len(jobs), 'photo')} annotated by {model.name}"
    if len(jobs) <= PAGE:
        text = gallery(title, model, pairs, lambda names: _inline(place, names))
        with writing(path):
            write_text(path, text)
        return
    count = -(-len(jobs) // PAGE)
    links = []
    with writing(folder_of(path)), atomic_write(folder_of(path)) as folder:
        shared = _Shared(folder, place)
        for number in range(1, count + 1):
            part = list(itertools.islice(pairs, PAGE))
            first, last = 1 + PAGE * (number - 1), PAGE * (number - 1) + len(part)
            heading = f"Photos {first:,} to {last:,} of {title}"
            text = gallery(heading, model, part, shared, _navigation(path, number, count))
            write_text(folder / f"{number}.html", text)
            names = f"{part[0][0].name} to {part[-1][0].name}"
            links.append(
                (f"{quote(folder_of(path).name)}/{number}.html", f"{first:,}–{last:,}", names)
            )
        next(pairs, None)  # the last answer is given; what is said at the end is said
    write_text(path, _index(title, links))


def _inline(place: Place, names: Sequence[str]) -> list[str | None]:
    return [small.source for small in thumbnails([place(name) for name in names], NEIGHBOUR)]


class _Shared:
    """Photographs of the corpus as files beside the pages, each once."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder = folder / SHARED
        self._folder.mkdir(parents=True)
        self._place = place
        self._written: dict[str, str | None] = {}

    def __call__(self, names: Sequence[str]) -> list[str | None]:
        new = [name for name in names if name not in self._written]
        small = thumbnails([self._place(name) for name in new], NEIGHBOUR)
        for name, picture in zip(new, small, strict=True):
            file = f"{len(self._written)}.jpg"
            if picture.base64 is not None:
                (self._folder / file).write_bytes(base64.b64decode(picture.base64))
            self._written[name] = None if picture.base64 is None else f"{SHARED}/{file}"
        return [self._written[name] for name in names]


def _navigation(path: Path, number: int, count: int) -> str:
    links = [f'<a href="../{quote(path.name)}">all pages</a>']
    links += [f'<a href="{number - 1}.html" rel="prev">previous page</a>'] if number > 1 else []
    links += [f'<a href="{number + 1}.html" rel="next">next page</a>'] if number < count else []
    return f'<nav aria-label="pages">page {number} of {count}: {" ".join(links)}</nav>'


def _index(title: str, links: Sequence[tuple[str, str, str]]) -> str:
    lines = "".join(
        f'<li><a href="{address}">photos {numbers}</a>: {html.escape(names)}</li>'
        for address, numbers, names in links
    )
    return page.document(
        title,
        f"<header><h1>{html.escape(title)}</h1></header><main><p>{len(links)} pages of "
        f"{PAGE} photos each. Filters on a page apply to that page.</p><ul>{lines}</ul></main>",
    )
