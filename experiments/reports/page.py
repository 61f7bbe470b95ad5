"""A self-contained HTML page of a report or a gallery."""

import base64
import datetime
import hashlib
import html
import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagnet import __version__
from tagnet.errors import HINT_PREPARE
from tagnet.photos.images import read_image
from tagnet.system.checksums import verify_known
from tagnet.system.files import read_text, with_hint

THUMBNAIL = (240, 180)  # pixels
QUALITY = 75  # of a thumbnail's JPEG
LONGEST = 400  # characters of a command that are shown
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1a1b1c; --rule: #d5d7da; --soft: #f3f4f6;
  --best: #0b6e4f; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --ink: #e6e7e9; --rule: #3a3e44; --soft: #20242a; --best: #5fd3a4; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 1200px; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
nav a { display: inline-block; margin-right: 1rem; padding: .3rem 0; color: inherit; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }
th { background: var(--soft); font-weight: 600; }
.name { position: sticky; left: 0; text-align: left; }
.wide { overflow-x: auto; } .best { font-weight: 700; color: var(--best); }
svg { max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr));
  gap: 1rem; }
.pictures img { width: 100%; border-radius: 4px; } figure { margin: 0; }
figcaption { font-size: .85rem; }
@media (max-width: 640px) {
  body { padding: .75rem; } nav a { padding: .65rem 0; }
  .name { min-width: 6.5rem; max-width: 40vw; white-space: normal; }
  .drawing svg { max-width: none; } }
footer { margin-top: 3rem; padding-top: .5rem; border-top: 1px solid var(--rule);
  font-size: .8rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page; `body` is HTML."""

    name: str
    title: str
    body: str


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG; `base64` is None where there is none."""

    base64: str | None
    width: int
    height: int

    @property
    def source(self) -> str | None:
        """The picture as the address of an `<img>`."""
        return None if self.base64 is None else f"data:image/jpeg;base64,{self.base64}"


def document(title: str, body: str, style: str = "", script: str = "") -> str:
    """A complete page, whose footer says what wrote it.

    Args:
        title: plain text.
        body: HTML.
        style: CSS, besides the colours and letters that all pages share.
        script: JavaScript, run after the body; the page lets no other run.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    # Pictures in files beside a page are its own, also where it is opened as a file.
    policy = f"default-src 'none'; img-src data: 'self'; {allowed}style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body>{body}<footer>{html.escape(written_by())}</footer>"
        f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def written_by() -> str:
    """The version, the day, and the command, where one of ours runs."""
    told = f"Written by tagnet {__version__} on {datetime.date.today().isoformat()}"
    name = Path(sys.argv[0])
    if name.parent.name != "experiments":
        return told
    command = shlex.join(["tagnet", name.stem, *sys.argv[1:]])
    command = command.encode(errors="replace").decode()  # names that are no Unicode
    return f"{told}: {command if len(command) <= LONGEST else command[:LONGEST] + ' …'}"


def page(title: str, sections: Sequence[Section], style: str = "", script: str = "") -> str:
    """The page of a report; `style` and `script` as in `document`."""
    links = "".join(f'<a href="#{part.name}">{html.escape(part.title)}</a>' for part in sections)
    parts = "".join(
        f'<section id="{part.name}"><h2>{html.escape(part.title)}</h2>{part.body}</section>'
        for part in sections
    )
    head = f'<header><h1>{html.escape(title)}</h1><nav aria-label="sections">{links}</nav></header>'
    return document(title, f"{head}<main>{parts}</main>", style, script)


def scrolling(name: str, body: str, kind: str = "") -> str:
    """HTML that may be wider than the window, in a box that keys scroll too.

    Args:
        name: what is in it, plain text.
        body: HTML.
        kind: one more class, e.g. `drawing`.
    """
    label = html.escape(name, quote=True)
    marks = f"wide {kind}".strip()
    return f'<div class="{marks}" tabindex="0" role="region" aria-label="{label}">{body}</div>'


def listed(lines: Sequence[str]) -> str:
    """Plain lines as a list."""
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def paragraphs(lines: Sequence[str]) -> str:
    """Plain lines as paragraphs."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def picture(path: Path, lines: Sequence[str]) -> str:
    """A photo thumbnail embedded in the page, with lines of text below."""
    small = thumbnail(path, THUMBNAIL)
    text = "<br>".join(map(html.escape, lines))
    alt = html.escape(lines[0], quote=True)
    return f'<figure><img src="{small.source}" alt="{alt}"><figcaption>{text}</figcaption></figure>'


def thumbnail(path: Path, size: tuple[int, int]) -> Thumbnail:
    """A photo, upright, scaled down to fit `size` (width, height in pixels).

    Raises:
        InputError: it cannot be read.
    """
    image = read_image(path, reduced_to=2 * max(size))
    image.thumbnail(size)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Thumbnail(base64.b64encode(file.getvalue()).decode(), *image.size)


def photograph_paths(data: str | Path) -> dict[int, tuple[str, Path]]:
    """The name and photo of each image of a prepared directory that has one, by row.

    Raises:
        InputError: the manifest is not as it was prepared.
    """
    manifest = Path(data) / "manifest.jsonl"
    if not manifest.exists():
        return {}
    with with_hint(HINT_PREPARE):
        verify_known(manifest.parent, manifest.name)
    images = (json.loads(line) for line in read_text(manifest).split("\n") if line)
    return {
        row: (image["image_id"], Path(image["path"]))
        for row, image in enumerate(images)
        if image.get("path")
    }
