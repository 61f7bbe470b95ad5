"""The style of all figures, and saving them."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing

from tagnet.evaluation.calibration import CalibrationReport
from tagnet.system.files import atomic_write, write_text

INK = "#1a1b1c"  # of text, axes and black curves; on a page it becomes the text's colour
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tagnet",  # the same figure is the same file
    "text.parse_math": False,  # a label may have a $ in its name
    "font.size": 9,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}
# Told apart by colour-blind readers too (Okabe and Ito 2008); LTN and RTN as in Figure 4.
COLOURS = {
    "v_only": "#888888",
    "ltn": INK,
    "rtn": "#d62728",
    "ltn_vecs": "#e69f00",
    "ltn_allvecs": "#56b4e9",
    "ltwin": "#0077bb",
    "ltwin_rnn": "#009e73",
    "ltwin_2rnn": "#cc79a7",
    "lzip": "#b8860b",
}


@contextmanager
def style() -> Iterator[None]:
    """Draws and saves in the report's style."""
    with matplotlib.rc_context(STYLE):
        yield


def reliability(judgements: Sequence[tuple[str, CalibrationReport]]) -> Drawing:
    """Reliability diagrams on the test split, before and after calibration, one panel per model.

    Args:
        judgements: titles and calibration reports.
    """
    columns = min(3, len(judgements))
    lines = -(-len(judgements) // columns)
    drawing = Drawing(figsize=(3.6 * columns, 3.6 * lines), layout="constrained")
    panels = drawing.subplots(lines, columns, squeeze=False).flat
    for axes, (title, calibration_report) in zip(panels, judgements, strict=False):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle=":")
        for when, diagram, colour, marker in (
            ("before", calibration_report.before, "#e69f00", "s"),
            ("after", calibration_report.after, "#0077bb", "o"),
        ):
            filled = np.array(diagram.pairs) > 0
            axes.plot(
                np.array(diagram.said)[filled],
                np.array(diagram.true)[filled],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.2,
                label=f"{when}: error {diagram.error:.2%}",
            )
        axes.set(xlabel="probability", ylabel="share of true labels", aspect="equal")
        axes.set_title(title, loc="left")
        axes.legend(loc="upper left")
    for axes in list(drawing.axes)[len(judgements) :]:
        axes.remove()
    return drawing


def png(drawing: Drawing) -> bytes:
    """A figure as a PNG."""
    return _encoded(drawing, "png")


def _encoded(drawing: Drawing, kind: str, metadata: dict[str, None] | None = None) -> bytes:
    file = io.BytesIO()  # on a full disk matplotlib fails with errors of its own
    drawing.savefig(file, format=kind, dpi=120, metadata=metadata)
    return file.getvalue()


def save(drawing: Drawing, folder: Path, name: str) -> str:
    """Writes `name.svg`, `.pdf` and `.png`, the same bytes for the same figure; returns the SVG."""
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")  # it is laid out; saving would do it again
    file = io.StringIO()
    drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    paper = '<rect width="100%" height="100%" fill="white"/>'
    write_text(
        folder / f"{name}.svg", svg.replace('<g id="figure_1">', f'{paper}<g id="figure_1">')
    )
    pdf = _encoded(drawing, "pdf", {"CreationDate": None})
    for ending, contents in (("pdf", pdf), ("png", png(drawing))):
        with atomic_write(folder / f"{name}.{ending}") as temporary:
            temporary.write_bytes(contents)
    return svg


def inline(svg: str, name: str, description: str) -> str:
    """A figure as an `<svg>` element of a page, its ink in the colour of the page's text.

    Args:
        svg: the figure, without a background.
        name: makes its ids differ from those of other figures on the page.
        description: what it shows, for readers who do not see it; escaped already.
    """
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
