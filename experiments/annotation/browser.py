"""The page of the app: photo and tags in, labels and neighbours out."""

import csv
import functools
import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.annotation.answer_file import Answer
from experiments.annotation.batch import Choice, Job
from experiments.annotation.gallery import NOT_EXPLAINED, Place
from experiments.annotation.words import left_out, shown
from experiments.reports.page import thumbnail
from tagnet.errors import InputError
from tagnet.serving.annotator import Annotation, Annotator, Label, Neighbour
from tagnet.system.console import counted
from tagnet.system.files import read_text

SMALL = (160, 120)  # pixels of a neighbour's photograph
KEPT = 3600  # seconds after which an uploaded photograph is removed
FEW = 6  # neighbours shown at first
DROP = "Drop an image file here to upload"  # gradio's name of the place for screen readers
EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"  # in a checkout
API = """from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860")  # the address of this page
client.predict(handle_file("photo.jpg"), "beach, dog", api_name="/annotate")"""
STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: .6rem; }
.cards article { display: flex; flex-direction: column; gap: .25rem; padding: .5rem;
  border: 1px solid var(--border-color-primary); border-radius: 8px; font-size: .8rem;
  line-height: 1.35; overflow-wrap: anywhere; }
.cards img { width: 100%; height: 110px; object-fit: cover; border-radius: 4px; }
.cards p { margin: 0; }
.cards small { font-size: .75rem; opacity: .8; }
#labels * { color: var(--body-text-color); font-family: var(--font); }
.cards b { display: block; }
.cards mark { padding: 0 .15rem; border-radius: 3px; background: #fbe7a1; color: #1a1b1c; }
.chip { display: inline-block; margin: 0 .2rem .15rem 0; padding: 0 .45rem; border-radius: 1rem;
  border: 1px solid var(--border-color-primary); }
.same { background: var(--body-text-color); color: var(--background-fill-primary); }
.cards .gave { margin-top: auto; }
.cards .plus, .cards .minus { height: 6px; background: #0077bb; border-radius: 2px; }
.cards .minus { background: #d62728; }
details.more summary { padding: .7rem 0; cursor: pointer; }
.sum { border-collapse: collapse; font-size: .85rem; }
.sum tr { border: 0 !important; }
.sum td { padding: .1rem .8rem .1rem 0 !important; border: 0 !important;
  font-variant-numeric: tabular-nums; }
.sum tr:last-child td { border-top: 1px solid var(--body-text-color) !important; font-weight: 600; }
"""


def warm_up(annotator: Annotator) -> None:
    """Annotates a blank image, since the first one is slow."""
    if annotator.reads_photographs:
        annotator.annotate(Image.new("RGB", (64, 64)))


def build(gradio: Any, annotator: Annotator, name: str, place: Place, top_k: int) -> Any:
    """Builds the app.

    Args:
        gradio: the package.
        annotator: the model.
        name: what it is called.
        place: where the photographs of the corpus are.
        top_k: how many labels are shown.

    Returns:
        `gradio.Blocks`, not yet launched. Programs call its endpoint `/annotate`.
    """
    explained = Explained(place, annotator.tag_distance)
    choice = Choice(dict.fromkeys(annotator.labels, 0.0), top_k)

    def told(work: Callable[..., Any]) -> Callable[..., Any]:
        """Shows input errors on the page, in one line."""

        @functools.wraps(work)  # its parameters' names are those of the endpoint
        def run(*values: Any) -> Any:
            try:
                return work(*values)
            except InputError as error:
                raise gradio.Error(str(error), print_exception=False) from error

        return run

    def read(path: str | None) -> tuple[np.ndarray | None, str]:
        if path is None:
            return None, ""
        return annotator.features([Path(path)])[0], ", ".join(
            Job(path, Path(path), None).read_tags()
        )

    def annotate(phi: np.ndarray | None, text: str) -> tuple:
        if phi is None:
            return None, gradio.Label(visible=False), "", ""
        annotation = annotator.annotate(phi, split_tags(text))
        top = {label.name: label.probability for label in annotation.labels[:top_k]}
        labels = gradio.Label(top, visible=True)
        return annotation, labels, remark(annotation), explained(annotation, None)

    def example(path: str, text: str) -> tuple:
        phi = annotator.features([Path(path)])[0]
        return phi, *annotate(phi, text)

    def choose(annotation: Annotation | None, chosen: gradio.SelectData) -> str:
        return explained(annotation, chosen.value)

    def answer(photo: str | None, tags: str) -> Answer:
        """Labels, neighbours and contributions, as `tagnet annotate --jsonl` writes them.

        Without tags (comma-separated) it takes the keywords in the file.
        """
        if photo is None:
            raise InputError("photo: is missing; drop one first")
        known = split_tags(tags or "") or Job(photo, Path(photo), None).read_tags()
        return choice.answer(Path(photo).name, annotator.annotate(Path(photo), known))

    with gradio.Blocks(
        title=f"tagnet: {name}", analytics_enabled=False, delete_cache=(KEPT, KEPT)
    ) as app:
        gradio.HTML(introduction(name, annotator))
        phi, annotation = gradio.State(), gradio.State()
        with gradio.Row():
            with gradio.Column():
                # As a path and of any mode the file is passed on as it came.
                photo = gradio.Image(
                    label="Photo",
                    placeholder=DROP,
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=320,
                    elem_id="photo",
                )
                tags = gradio.Textbox(
                    label="Tags, comma-separated",
                    placeholder="beach, sunset, dog",
                    elem_id="tags",
                )
                remarks = gradio.HTML(elem_id="remarks")
            labels = gradio.Label(
                label="Labels", show_heading=False, elem_id="labels", visible=False
            )
        cards = gradio.HTML(elem_id="neighbours")
        one_at_a_time = {"concurrency_id": "model", "concurrency_limit": 1, "api_name": False}
        shown = [annotation, labels, remarks, cards]
        event = {
            "fn": told(annotate),
            "inputs": [phi, tags],
            "outputs": shown,
            "show_progress": "hidden",
            **one_at_a_time,
        }
        # Not at any change: an example brings its own tags.
        for came in (photo.upload, photo.clear):
            came(told(read), photo, [phi, tags], **one_at_a_time).then(**event)
        tags.input(**event, trigger_mode="always_last")
        labels.select(choose, annotation, cards, show_progress="hidden", api_name=False)
        if photos := examples():
            gradio.Examples(
                photos,
                [photo, tags],
                [phi, *shown],
                told(example),
                run_on_click=True,
                cache_examples=False,
                examples_per_page=5,
                label="Example photos",
                api_name=False,
            )
            gradio.HTML(credits())
        with gradio.Accordion("As JSON, and from a program", open=False):
            as_json = gradio.Button("Show the answer as JSON")
            answered = gradio.JSON(label="Answer")
            gradio.Code(API, "python", label="From Python")
            usual = one_at_a_time | {"api_name": "annotate"}
            as_json.click(told(answer), [photo, tags], answered, **usual)
    return app


def introduction(name: str, annotator: Annotator) -> str:
    """What the page is for, the model and its labels, as HTML."""
    labels = "".join(
        f'<span class="chip">{html.escape(label)}</span>' for label in annotator.labels
    )
    note = "" if annotator.explains else f"<p>{NOT_EXPLAINED}</p>"
    select = "; select a label to see what spoke for it" if annotator.explains else ""
    return (
        "<h1>tagnet: labels for a photo from its pixels and tags</h1>"
        "<p>Drop a photo and type what people tagged it with: the model suggests labels and shows "
        f"the tagged training images that it compared the photo with{select}.</p>"
        f"<p>Model: <strong>{html.escape(name)}</strong></p>{note}"
        f'<details class="more"><summary>Its {counted(len(annotator.labels), "label")}</summary>'
        f"<p>{labels}</p></details>"
    )


def examples() -> list[list[str]]:
    """The example photos of a checkout with their tags; none where they are not."""
    rows = _rows("tags.csv")
    return [[str(EXAMPLES / row["path"]), row["tags"].replace("|", ", ")] for row in rows]


def credits() -> str:
    """Who the example photos are by, as HTML."""
    lines = []
    for row in _rows("credits.csv"):
        told = {name: html.escape(text, quote=True) for name, text in row.items()}
        lines.append(
            f'<li>{told["file"]}: <a href="{told["photo_page"]}">photographer and photo at Flickr'
            f'</a>, <a href="{told["licence_url"]}">{told["licence"]}</a>; {told["changes"]}</li>'
        )
    return (
        f'<details class="more"><summary>Photo credits</summary><ul>{"".join(lines)}</ul></details>'
    )


def _rows(name: str) -> list[dict[str, str]]:
    path = EXAMPLES / name
    return list(csv.DictReader(io.StringIO(read_text(path)))) if path.is_file() else []


def split_tags(text: str) -> list[str]:
    """Splits typed tags at commas, semicolons and line breaks.

    >>> split_tags("dog, red sky;;sea")
    ['dog', 'red sky', 'sea']
    """
    return [tag.strip() for tag in re.split(r"[,;\n]", text) if tag.strip()]


def remark(annotation: Annotation) -> str:
    """The known and unknown tags, as HTML."""
    lines = []
    if annotation.known_tags:
        lines.append(f"known: {', '.join(annotation.known_tags)}")
    if annotation.unknown_tags:
        lines.append(f"unknown: {', '.join(annotation.unknown_tags)}")
    if annotation.by_features:
        lines.append("No known tags: showing visually similar photos.")
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


class Explained:
    """An annotation's neighbours and their contributions to a label, as HTML.

    Args:
        place: where the photographs of the corpus are.
        measure: what the distance of two images' tags is, see `Annotator.tag_distance`.
    """

    def __init__(self, place: Place, measure: str) -> None:
        self._place = place
        self._measure = measure

    def __call__(self, annotation: Annotation | None, chosen: str | None) -> str:
        """The contributions to a label: `chosen`, or the most probable one."""
        if annotation is None:
            return ""
        names = [label.name for label in annotation.labels]
        label = annotation.labels[names.index(chosen) if chosen in names else 0]
        if not annotation.neighbours:
            return sums(label)
        ranks = list(range(len(annotation.neighbours)))
        if label.shares is not None:
            given = label.shares.neighbours
            ranks.sort(key=lambda rank: -given[rank])
        cards = [self._card(annotation, label, rank) for rank in ranks]
        alike = "look" if annotation.by_features else "tags"
        heading = f"<h3>Neighbours: {len(cards)} training images with the most similar {alike}</h3>"
        more = (
            f'<details class="more"><summary>Show {len(cards) - FEW} more neighbours</summary>'
            f'<div class="cards">{"".join(cards[FEW:])}</div></details>'
            if len(cards) > FEW
            else ""
        )
        tags = (tag for neighbour in annotation.neighbours for tag in neighbour.tags)
        few = f'<div class="cards">{"".join(cards[:FEW])}</div>'
        return f"{sums(label)}{heading}{few}{more}{left_out(tags)}"

    def _card(self, annotation: Annotation, label: Label, rank: int) -> str:
        neighbour = annotation.neighbours[rank]
        known = set(annotation.known_tags)
        chips = [
            f'<span class="chip{" same" if name == label.name else ""}">{html.escape(name)}</span>'
            for name in neighbour.labels
        ]
        tags = [
            f"<mark>{html.escape(tag)}</mark>" if tag in known else html.escape(tag)
            for tag in shown(neighbour.tags)
        ]
        return (
            f"<article>{self._picture(neighbour)}"
            f"<p><small>labels</small> {''.join(chips) or 'none'}</p>"
            f"<p><small>tags</small> {' '.join(tags) or 'none'}</p>"
            f"<p>{self._likeness(annotation, neighbour)}</p>{contribution(label, rank)}"
            f"<p><small>image {html.escape(neighbour.image_id)}</small></p></article>"
        )

    def _likeness(self, annotation: Annotation, neighbour: Neighbour) -> str:
        """How near a neighbour is, in words with the number that they stand for."""
        similar = f"{max(0.0, 1 - neighbour.distance):.0%}"
        if annotation.by_features:
            return f"looks {similar} similar (cosine of CNN features)"
        known = annotation.known_tags
        common = len(set(known) & set(neighbour.tags)) or "none"
        shared = f"<b>{common} of {counted(len(known), 'tag')} in common</b>"
        return f"{shared} {self._measure} similarity {similar}"

    def _picture(self, neighbour: Neighbour) -> str:
        path = self._place(neighbour.image_id)
        if path is None:
            return ""
        try:
            small = thumbnail(path, SMALL)
        except InputError:  # gone since the data set was prepared
            return ""
        return f'<img src="{small.source}" alt="">'  # the card's text says what it shows


def contribution(label: Label, rank: int) -> str:
    """What a neighbour gave to a label's score, in words beside a bar, as HTML."""
    shares = label.shares
    if shares is None:
        return ""
    share = shares.neighbours[rank]
    sizes = [abs(given) for given in shares.neighbours]
    total = sum(sizes) + abs(shares.picture) + abs(shares.tags) + abs(shares.constant)
    part = abs(share) / (total or 1)
    told = "under 1%" if part < 0.01 else f"{part:.0%}"
    words = "no effect on" if share == 0 else f"{told} {'against' if share < 0 else 'for'}"
    sign, width = "minus" if share < 0 else "plus", abs(share) / (max(sizes) or 1)
    return (
        f'<div class="gave" title="contribution {share:+.2f} (log-odds)">'
        f'<div class="{sign}" style="width: {width:.0%}"></div>{words} {html.escape(label.name)}'
        "</div>"
    )


def sums(label: Label) -> str:
    """The contributions to a label's score, as HTML."""
    heading = f"<h2>{html.escape(label.name)}: {label.probability:.0%}</h2>"
    if label.shares is None:
        return heading
    shares = label.shares
    parts: Sequence[tuple[str, float]] = [
        ("image", shares.picture),
        ("tags", shares.tags),
        ("neighbours", sum(shares.neighbours)),
        ("bias", shares.constant),
        ("score (log-odds)", label.score),
    ]
    rows = "".join(f"<tr><td>{name}</td><td>{value:+.2f}</td></tr>" for name, value in parts)
    return f'{heading}<table class="sum">{rows}</table>'
