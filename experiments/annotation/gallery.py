"""The gallery: annotated photos as a self-contained HTML page.

What a photograph has is JSON inside the page; `gallery.js` builds a row of it when it
comes near the window, and `gallery.css` draws it. A photograph is data from elsewhere,
and so are its tags and labels: they reach the page as text alone, and the page's own
policy lets no script run but ours. `gallery_files.py` writes the page, or many of them.
"""

import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.annotation.batch import Answer, Job
from experiments.annotation.words import left_out, shown
from experiments.reports import page
from experiments.reports.page import Thumbnail, thumbnail
from tagnet.errors import InputError
from tagnet.photos.folders import SUFFIXES
from tagnet.system.console import progress
from tagnet.system.files import read_json

PHOTOGRAPH, NEIGHBOUR = (240, 240), (180, 120)  # pixels
WORKERS = 2
DIGITS = 4  # of numbers in the page

Place = Callable[[str], Path | None]
"""The name of an image of the corpus → its file, where that is known."""
Pictures = Callable[[Sequence[str]], Sequence[str | None]]
"""Names of images of the corpus → for each what an `<img>` shows, where there is a file."""

FORM = """<details class="controls" open><summary>Filter and sort</summary>
<form aria-label="filter and sort photos">
<p><label for="label">label</label><select id="label" name="label"></select></p>
<p><label for="order">order</label><select id="order" name="order">
<option value="">original</option><option value="most">most confident first</option>
<option value="least">least confident first</option></select></p>
{errors}<p><label for="least">minimum probability</label><span>
<input type="range" id="least" name="least" min="0" max="100">
<output id="leastShown" for="least"></output></span></p>
{nearest}<p><label for="text">name or tag</label><input type="search" id="text" name="text"></p>
</form></details>"""
ERRORS = """<p><label for="errors">errors</label><select id="errors" name="errors">
<option value="">all photos</option><option value="any">any error</option>
<option value="wrong">a wrong label</option>
<option value="missed">a missed label</option></select></p>
"""
NEAREST = """<p><label for="nearest">neighbours</label><select id="nearest" name="nearest">
<option value="gave">most influential first</option>
<option value="nearest">nearest first</option></select></p>
"""
NOT_EXPLAINED = (
    "This model combines image, tags and neighbours in an LSTM, so their contributions to a score "
    "cannot be separated. The neighbours that it used are shown without them."
)


@dataclass(frozen=True)
class Model:
    """What a gallery says of the model that annotated.

    Attributes:
        name: what it is called in headings.
        asked: the labels that could be given.
        least: from which probability on a label counts at first, in per cent.
        measure: what the distance of two images' tags is, see `Annotator.tag_distance`.
        explains: whether scores can be split, see `Annotator.explains`.
    """

    name: str
    asked: tuple[str, ...]
    least: int
    measure: str
    explains: bool


def gallery(
    title: str,
    model: Model,
    pairs: Iterable[tuple[Job, Answer]],
    pictures: Pictures,
    navigation: str = "",
) -> str:
    """A whole page.

    Args:
        title: its heading.
        model: who annotated.
        pairs: what was annotated, and its answer; `labels` of a job are the truth, where it
            is known.
        pictures: the photographs of the corpus.
        navigation: HTML, links to other pages.
    """
    pairs = list(pairs)
    kept = [pair for pair in pairs if "error" not in pair[1]]
    skipped = [answer["error"] for _, answer in pairs if "error" in answer]
    ids = {near["image_id"]: near for _, answer in kept for near in answer["neighbours"]}
    numbers = {name: number for number, name in enumerate(ids)}
    photographs = thumbnails([job.path for job, _ in kept], PHOTOGRAPH)
    tags = {name: shown(near["tags"]) for name, near in ids.items()}
    data = {
        "asked": list(model.asked),
        "least": model.least,
        "measure": model.measure,
        "explains": model.explains,
        "photos": [
            _photograph(job, answer, small, numbers)
            for (job, answer), small in zip(kept, photographs, strict=True)
        ],
        "corpus": [
            {"id": name, "tags": tags[name], "labels": near["labels"], "src": picture}
            for (name, near), picture in zip(ids.items(), pictures(list(ids)), strict=True)
        ],
    }
    hidden = left_out(tag for near in ids.values() for tag in near["tags"])
    body = _body(title, data, skipped, hidden, navigation)
    return page.document(title, body, file("css"), file("js"))


def model_name(arch: str, model: Path) -> str:
    """What a model is called: its architecture, and its data set where the run names it."""
    metrics = model / "metrics.json"
    name = read_json(metrics).get("dataset") if metrics.is_file() else None
    return f"{arch}, trained on {name}" if name else arch


def corpus_place(model: Path, folder: Path | None) -> Place:
    """Makes the look-up of a corpus image's file.

    Args:
        model: a run directory, or a SavedModel.
        folder: where photographs are called as in the data set, with or without an
            ending; None takes the paths that the data set of the run has, if it is there.
    """
    if folder is not None:
        return lambda name: _below(folder, name)
    config = model / "config.json"
    data = read_json(config).get("data") if config.is_file() else None
    return dict(page.photograph_paths(data).values()).get if data else lambda name: None


def _below(folder: Path, name: str) -> Path | None:
    """Finds an image by name; a name from a model must not lead out of the folder."""
    for suffix in ("", *SUFFIXES):
        path = folder / f"{name}{suffix}"
        if "\0" not in name and path.is_file():
            return path if path.resolve().is_relative_to(folder.resolve()) else None
    return None


def thumbnails(paths: Sequence[Path | None], size: tuple[int, int]) -> list[Thumbnail]:
    """Small photos, of which those that cannot be had are empty."""

    def one(path: Path | None) -> Thumbnail:
        try:
            return NO_PICTURE if path is None else thumbnail(path, size)
        except InputError:  # gone or changed since it was annotated
            return NO_PICTURE

    with ThreadPoolExecutor(WORKERS) as threads:
        return list(progress(threads.map(one, paths), "Thumbnails", len(paths)))


NO_PICTURE = Thumbnail(None, 0, 0)


def _photograph(
    job: Job, answer: Answer, small: Thumbnail, numbers: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "name": job.name,
        "image": small.source,
        "width": small.width,
        "height": small.height,
        "tags": answer["tags"],
        "unknown": answer["unknown_tags"],
        "by": answer["neighbours_by"],
        "truth": job.labels,
        "labels": [
            {
                "name": label["label"],
                "probability": round(label["probability"], DIGITS),
                "shares": label["shares"] and _rounded(label["shares"]),
            }
            for label in answer["labels"]
        ],
        "neighbours": [
            {"image": numbers[near["image_id"]], "distance": round(near["distance"], DIGITS)}
            for near in answer["neighbours"]
        ],
    }


def _rounded(shares: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [round(part, DIGITS) for part in share]
        if name == "neighbours"
        else round(share, DIGITS)
        for name, share in shares.items()
    }


def _body(
    title: str, data: Mapping[str, Any], skipped: Sequence[str], hidden: str, navigation: str
) -> str:
    photos = data["photos"]
    form = FORM.format(
        errors=ERRORS if any(photo["truth"] is not None for photo in photos) else "",
        nearest=NEAREST if data["explains"] and data["corpus"] else "",
    )
    # In JSON `<` can only be part of a string; as an escape it cannot end the element.
    text = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in skipped)
    told = f"<details><summary>{len(skipped)} skipped</summary><ul>{lines}</ul></details>"
    return (
        '<a class="skip" href="#photos">to the photos</a>'
        f"<header><h1>{html.escape(title)}</h1>{navigation}"
        f"{f'<p>{NOT_EXPLAINED}</p>' if not data['explains'] and data['corpus'] else ''}</header>"
        f'<section class="top" aria-label="controls">{form}'
        f'<output id="count" aria-live="polite"></output></section>{told if skipped else ""}'
        "<noscript><p>This page needs JavaScript; it loads nothing.</p></noscript>"
        '<main><div id="photos" role="feed" aria-label="photos" aria-busy="true"></div>'
        f"{hidden}</main>"
        f'<script type="application/json" id="data">{text}</script>'
    )


def file(suffix: str) -> str:
    """The gallery's style sheet (`css`) or script (`js`)."""
    return Path(__file__).with_suffix(f".{suffix}").read_text(encoding="utf-8")
