"""The page of the app: photo and tags in, labels and neighbours out."""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.annotation.batch import Job
from experiments.annotation.gallery import Place
from experiments.annotation.words import shown
from experiments.reports.page import thumbnail
from tagnet.errors import InputError
from tagnet.serving.annotator import Annotation, Annotator, Label, Neighbour
from tagnet.system.console import counted

SMALL = (160, 120)  # pixels of a neighbour's photograph
KEPT = 3600  # seconds after which an uploaded photograph is removed
FEW = 6  # neighbours shown at first
STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: .6rem; }
.cards article { display: flex; flex-direction: column; gap: .25rem; padding: .5rem;
  border: 1px solid var(--border-color-primary); border-radius: 8px; font-size: .8rem;
  line-height: 1.35; overflow-wrap: anywhere; }
.cards img { width: 100%; height: 110px; object-fit: cover; border-radius: 4px; }
.cards p { margin: 0; }
.cards small { font-size: .75rem; color: var(--body-text-color-subdued); }
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
.sum td { padding: .1rem .8rem .1rem 0; font-variant-numeric: tabular-nums; }
.sum tr:last-child td { border-top: 1px solid var(--border-color-primary); font-weight: 600; }
"""


def warm_up(annotator: Annotator) -> None:
    """Annotates a blank image, since the first one is slow."""
    if annotator.reads_photographs:
        annotator.annotate(Image.new("RGB", (64, 64)))


def build(gradio: Any, annotator: Annotator, place: Place, top_k: int) -> Any:
    """Builds the app.

    Args:
        gradio: the package.
        annotator: the model.
        place: where the photographs of the corpus are.
        top_k: how many labels are shown.

    Returns:
        `gradio.Blocks`, not yet launched.
    """
    explained = Explained(place, annotator.tag_distance)

    def told(work: Callable[..., Any]) -> Callable[..., Any]:
        """Shows input errors on the page, in one line."""

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
            return None, None, "", ""
        annotation = annotator.annotate(phi, split_tags(text))
        top = {label.name: label.probability for label in annotation.labels[:top_k]}
        return annotation, top, remark(annotation), explained(annotation, None)

    def choose(annotation: Annotation | None, chosen: gradio.SelectData) -> str:
        return explained(annotation, chosen.value)

    with gradio.Blocks(
        title="tagnet", analytics_enabled=False, delete_cache=(KEPT, KEPT), fill_width=True
    ) as app:
        phi, annotation = gradio.State(), gradio.State()
        with gradio.Row():
            with gradio.Column():
                # As a path and of any mode the file is passed on as it came.
                photo = gradio.Image(
                    label="Photo",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=320,
                    elem_id="photo",
                )
                tags = gradio.Textbox(
                    label="Tags", placeholder="beach, sunset, dog", elem_id="tags"
                )
                remarks = gradio.HTML(elem_id="remarks")
            labels = gradio.Label(label="Labels", show_heading=False, elem_id="labels")
        cards = gradio.HTML(elem_id="neighbours")
        one_at_a_time = {"concurrency_id": "model", "concurrency_limit": 1, "api_name": False}
        answer = {
            "fn": told(annotate),
            "inputs": [phi, tags],
            "outputs": [annotation, labels, remarks, cards],
            "show_progress": "hidden",
            **one_at_a_time,
        }
        photo.change(told(read), photo, [phi, tags], **one_at_a_time).then(**answer)
        tags.input(**answer, trigger_mode="always_last")
        labels.select(choose, annotation, cards, show_progress="hidden", api_name=False)
    return app


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
        return f'{sums(label)}{heading}<div class="cards">{"".join(cards[:FEW])}</div>{more}'

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
    heading = f"<h2>{html.escape(label.name)}: {label.probability:.1%}</h2>"
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
