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
from experiments.reports.page import thumbnail
from tagnet.errors import InputError
from tagnet.serving.annotator import Annotation, Annotator, Label, Neighbour

SMALL = (160, 120)  # pixels of a neighbour's photograph
KEPT = 3600  # seconds after which an uploaded photograph is removed
STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: .75rem; }
.cards article { border: 1px solid var(--border-color-primary); border-radius: 8px;
  padding: .5rem; font-size: .8rem; overflow-wrap: anywhere; }
.cards img { width: 100%; height: 120px; object-fit: cover; border-radius: 4px; }
.cards h3 { font-size: .8rem; margin: .3rem 0; }
.cards p { margin: .15rem 0; }
.cards .plus, .cards .minus { height: 5px; background: #0077bb; border-radius: 2px; }
.cards .minus { background: #d62728; }
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
    explained = Explained(place)

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
        shown = {label.name: label.probability for label in annotation.labels[:top_k]}
        return annotation, shown, remark(annotation), explained(annotation, None)

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
        shown = {
            "fn": told(annotate),
            "inputs": [phi, tags],
            "outputs": [annotation, labels, remarks, cards],
            "show_progress": "hidden",
            **one_at_a_time,
        }
        photo.change(told(read), photo, [phi, tags], **one_at_a_time).then(**shown)
        tags.input(**shown, trigger_mode="always_last")
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
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, annotation: Annotation | None, chosen: str | None) -> str:
        """The contributions to a label: `chosen`, or the most probable one."""
        if annotation is None:
            return ""
        names = [label.name for label in annotation.labels]
        label = annotation.labels[names.index(chosen) if chosen in names else 0]
        shares = label.shares.neighbours if label.shares else [None] * len(annotation.neighbours)
        most = max((abs(share) for share in shares if share is not None), default=0) or 1
        cards = [
            self._card(neighbour, share, most)
            for neighbour, share in zip(annotation.neighbours, shares, strict=True)
        ]
        return f'{sums(label)}<div class="cards">{"".join(cards)}</div>'

    def _card(self, neighbour: Neighbour, share: float | None, most: float) -> str:
        told = [f"distance {neighbour.distance:.2f}"]
        told += [f"labels: {', '.join(neighbour.labels)}"] if neighbour.labels else []
        told += [f"tags: {', '.join(neighbour.tags)}"] if neighbour.tags else []
        given = ""
        if share is not None:
            sign, width = "minus" if share < 0 else "plus", abs(share) / most
            bar = f'<div class="{sign}" style="width: {width:.0%}"></div>'
            given = f"<p>contribution {share:+.2f}</p>{bar}"
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in told)
        name = html.escape(neighbour.image_id)
        return f"<article>{self._picture(neighbour)}<h3>{name}</h3>{lines}{given}</article>"

    def _picture(self, neighbour: Neighbour) -> str:
        path = self._place(neighbour.image_id)
        if path is None:
            return ""
        try:
            small = thumbnail(path, SMALL)
        except InputError:  # gone since the data set was prepared
            return ""
        alt = html.escape(neighbour.image_id, quote=True)
        return f'<img src="data:image/jpeg;base64,{small.base64}" alt="{alt}">'


def sums(label: Label) -> str:
    """The contributions to a label's score, as HTML."""
    heading = f"<h2>{html.escape(label.name)}: {label.probability:.1%}</h2>"
    if label.shares is None:
        return f"{heading}<p>Contributions are not available for LSTM models.</p>"
    shares = label.shares
    parts: Sequence[tuple[str, float]] = [
        ("image", shares.picture),
        ("tags", shares.tags),
        ("neighbours", sum(shares.neighbours)),
        ("bias", shares.constant),
        ("score", label.score),
    ]
    rows = "".join(f"<tr><td>{name}</td><td>{value:+.2f}</td></tr>" for name, value in parts)
    return f'{heading}<table class="sum">{rows}</table>'
