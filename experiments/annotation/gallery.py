"""The gallery: annotated photos as one self-contained HTML page.

What a photograph has is JSON inside the page; `gallery.js` builds a row of it when it
comes near the window, and `gallery.css` draws it. A photograph is data from elsewhere,
and so are its tags and labels: they reach the page as text alone, and the page's own
policy lets no script run but ours.
"""

import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from experiments.annotation.batch import Answer, Job
from experiments.annotation.words import shown
from experiments.reports import page
from experiments.reports.page import Thumbnail, thumbnail
from tagnet.errors import InputError
from tagnet.photos.folders import SUFFIXES
from tagnet.system.console import progress
from tagnet.system.files import read_json

MAX_PHOTOGRAPHS = 5000  # beyond that a browser takes long to open the page
PHOTOGRAPH, NEIGHBOUR = (240, 240), (180, 120)  # pixels
WORKERS = 2
DIGITS = 4  # of numbers in the page

Place = Callable[[str], Path | None]
"""The name of an image of the corpus → its file, where that is known."""

FORM = """<form aria-label="filter photos">
<p><label for="label">label</label><select id="label" name="label"></select></p>
<p><label for="order">order</label><select id="order" name="order">
<option value="">original</option><option value="most">most confident first</option>
<option value="least">least confident first</option></select></p>
{errors}<p><label for="least">threshold</label><span>
<input type="range" id="least" name="least" min="0" max="100">
<output id="leastShown" for="least"></output></span></p>
<p><label for="nearest">neighbours</label><select id="nearest" name="nearest">
<option value="gave">largest contribution first</option>
<option value="nearest">nearest first</option></select></p>
<p><label for="text">name or tag</label><input type="search" id="text" name="text"></p>
<output id="count" aria-live="polite"></output></form>"""
ERRORS = """<p><label for="errors">errors</label><select id="errors" name="errors">
<option value="">all photos</option><option value="any">any error</option>
<option value="wrong">a wrong label</option>
<option value="missed">a missed label</option></select></p>
"""


def gallery(
    title: str,
    jobs: Sequence[Job],
    answers: Sequence[Answer],
    asked: Iterable[str],
    least: int,
    place: Place,
    measure: str = "Jaccard",
) -> str:
    """The whole page.

    Args:
        title: its heading.
        jobs: what was annotated; `labels` of a job are the truth, where it is known.
        answers: of each.
        asked: the labels that could be given.
        least: from which probability on a label counts at first, in per cent.
        place: where the photographs of the corpus are.
        measure: what the distance of two images' tags is, see `Annotator.tag_distance`.
    """
    kept = [pair for pair in zip(jobs, answers, strict=True) if "error" not in pair[1]]
    skipped = [answer["error"] for answer in answers if "error" in answer]
    ids = {near["image_id"]: near for _, answer in kept for near in answer["neighbours"]}
    numbers = {name: number for number, name in enumerate(ids)}
    photographs = _thumbnails([job.path for job, _ in kept], PHOTOGRAPH)
    corpus = _thumbnails([place(name) for name in ids], NEIGHBOUR)
    data = {
        "asked": list(asked),
        "least": least,
        "measure": measure,
        "photos": [
            _photograph(job, answer, small, numbers)
            for (job, answer), small in zip(kept, photographs, strict=True)
        ],
        "corpus": [
            {"id": name, "tags": shown(near["tags"]), "labels": near["labels"], "src": small.source}
            for (name, near), small in zip(ids.items(), corpus, strict=True)
        ],
    }
    return page.document(title, _body(title, data, skipped), _file("css"), _file("js"))


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


def _thumbnails(paths: Sequence[Path | None], size: tuple[int, int]) -> list[Thumbnail]:
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


def _body(title: str, data: Mapping[str, Any], skipped: Sequence[str]) -> str:
    known = any(photo["truth"] is not None for photo in data["photos"])
    # In JSON `<` can only be part of a string; as an escape it cannot end the element.
    text = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in skipped)
    told = f"<details><summary>{len(skipped)} skipped</summary><ul>{lines}</ul></details>"
    return (
        f'<a class="skip" href="#photos">to the photos</a><h1>{html.escape(title)}</h1>'
        f"{FORM.format(errors=ERRORS if known else '')}{told if skipped else ''}"
        "<noscript><p>This page needs JavaScript; it loads nothing.</p></noscript>"
        '<main><div id="photos" role="feed" aria-label="photos" aria-busy="true"></div></main>'
        f'<script type="application/json" id="data">{text}</script>'
    )


def _file(suffix: str) -> str:
    return Path(__file__).with_suffix(f".{suffix}").read_text(encoding="utf-8")
