"""The report as one self-contained HTML page: no script, nothing loaded from elsewhere."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

THUMBNAIL = (240, 180)  # pixels
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1a1b1c; --rule: #d5d7da; --soft: #f3f4f6;
  --best: #0b6e4f; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --ink: #e6e7e9; --rule: #3a3e44; --soft: #20242a; --best: #5fd3a4; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 1200px; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
nav a { margin-right: 1rem; color: inherit; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }
th { background: var(--soft); }
td:first-child, th:first-child { text-align: left; }
.wide { overflow-x: auto; } .best { font-weight: 700; color: var(--best); }
svg { max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr));
  gap: 1rem; }
.pictures img { width: 100%; border-radius: 4px; } figure { margin: 0; }
figcaption { font-size: .85rem; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page; `body` is HTML."""

    name: str
    title: str
    body: str


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{part.name}">{html.escape(part.title)}</a>' for part in sections)
    parts = "".join(
        f'<section id="{part.name}"><h2>{html.escape(part.title)}</h2>{part.body}</section>'
        for part in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{html.escape(title)}</h1><nav>{links}</nav>{parts}</body></html>\n"
    )


def paragraphs(lines: Sequence[str]) -> str:
    """Plain lines as paragraphs."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table."""
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def picture(path: Path, lines: Sequence[str]) -> str:
    """A photograph, small and inside the page, with lines of text below."""
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail(THUMBNAIL)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    text = "<br>".join(map(html.escape, lines))
    alt = html.escape(lines[0], quote=True)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{alt}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
