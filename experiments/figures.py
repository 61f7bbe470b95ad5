"""The figures of a report, drawn by matplotlib: as the paper draws them, and some of our own."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from experiments.paper import MAPS, SIZES, TITLES, Figure, Published, Row, Series, published
from experiments.results import TITLES as METRIC_TITLES
from experiments.results import Group
from tagnet.calibration import Judgement
from tagnet.files import write_text, written_whole

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
MARKERS = {"id": "o", "w2v": "s", "wnet": "^"}  # by n
STYLES = {"id": "-", "w2v": "--", "wnet": ":"}  # by f, of visual models by n


@contextmanager
def style() -> Iterator[None]:
    """Draws and saves in the report's style."""
    with matplotlib.rc_context(STYLE):
        yield


def paper_figure(figure: Figure, groups: Sequence[Group]) -> Drawing:
    """A figure of the paper: above our curves with deviations, below the points it prints.

    They have axes of their own, since figures of two data sets do not share a scale.
    """
    by_row = {group.row: group for group in groups}
    panels = list(figure.panels.items())
    drawing = Drawing(figsize=(10, 6.4 * len(panels)), layout="constrained")
    axes = drawing.subplots(2 * len(panels), 2, squeeze=False)
    for place, (name, curves) in enumerate(panels):
        for column, metric in enumerate(MAPS):
            ours, theirs = axes[2 * place][column], axes[2 * place + 1][column]
            for series in curves:
                results = [
                    (group.mean(metric), group.sd(metric)) if (group := by_row.get(row)) else None
                    for row in series.rows
                ]
                _curve(ours, series, results)
                printed = [published(row).get(metric) for row in series.rows]
                _curve(theirs, series, printed)
            ours.set_title(f"{name}: ours", loc="left")
            theirs.set_title(f"{name}: printed in the paper (NUS-WIDE)", loc="left")
            for one in (ours, theirs):
                one.set(xlabel="(m, M)", ylabel=f"{METRIC_TITLES[metric]}, %")
                one.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
                one.set_xlim(-0.3, len(SIZES) - 0.7)
        handles, titles = axes[2 * place + 1][0].get_legend_handles_labels()
        axes[2 * place][1].legend(handles, titles, loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


def _curve(
    axes: Axes, series: Series, results: Sequence[tuple[float, float | None] | None]
) -> None:
    row = series.rows[0]
    colour = COLOURS[row.arch]
    if row.arch == "v_only":  # it reads no neighbours: a line across
        for mean, _ in filter(None, results):
            axes.axhline(mean, color=colour, linewidth=1, label=series.title)
        return
    places = [place for place, result in enumerate(results) if result]
    points = [result for result in results if result]
    axes.errorbar(
        places,
        [mean for mean, _ in points],
        yerr=[sd or 0.0 for _, sd in points],
        color=colour,
        linestyle=_line_style(row),
        marker=MARKERS[row.neighbours],
        markersize=4,
        linewidth=1.2,
        capsize=2,
        label=series.title,
    )


def _line_style(row: Row) -> str:
    return STYLES[row.feed or row.neighbours]


class Plotted(NamedTuple):
    """A line of `curves`: for each metric of `MAPS` its points, and what they are compared with."""

    title: str
    points: dict[str, list[Published | None]]
    reference: dict[str, Published | None]


def curves(
    panels: Mapping[str, Sequence[Plotted]], axis: str, ticks: Sequence[str], joined: bool
) -> Drawing:
    """Lines over ticks, above the mAP per label, below per image; dotted their references.

    Args:
        panels: the lines by the title of their panel.
        axis: what the ticks are.
        ticks: their names.
        joined: whether the points of a line are joined.
    """
    drawing = Drawing(figsize=(2.2 + 3.4 * len(panels), 6), layout="constrained")
    axes = drawing.subplots(len(MAPS), len(panels), squeeze=False, sharex=True, sharey="row")
    colours = list(COLOURS.values())
    for column, (name, lines) in enumerate(panels.items()):
        for place, metric in enumerate(MAPS):
            one = axes[place][column]
            for number, line in enumerate(lines):
                shown = [(x, y) for x, y in enumerate(line.points[metric]) if y is not None]
                one.errorbar(
                    [x for x, _ in shown],
                    [y.mean for _, y in shown],
                    yerr=[y.sd or 0.0 for _, y in shown],
                    color=colours[number],
                    linestyle="-" if joined else "",
                    marker="osv^Dp"[number],
                    markersize=4,
                    linewidth=1.2,
                    capsize=2,
                    label=line.title,
                )
                if (level := line.reference[metric]) is not None:
                    one.axhline(level.mean, color=colours[number], linewidth=1, linestyle=":")
            one.set_xticks(range(len(ticks)), ticks)
            one.set_xlim(-0.3, len(ticks) - 0.7)
        axes[0][column].set_title(name, loc="left")
        axes[-1][column].set_xlabel(axis)
    for place, metric in enumerate(MAPS):
        axes[place][0].set_ylabel(f"{METRIC_TITLES[metric]}, %")
    told = [one.get_legend_handles_labels() for one in axes[0]]
    handles = {title: handle for pair in told for handle, title in zip(*pair, strict=True)}
    axes[0][-1].legend(handles.values(), handles, loc="upper left", bbox_to_anchor=(1, 1))
    return drawing


def gains(bars: Sequence[tuple[str, np.ndarray]], labels: np.ndarray) -> Drawing:
    """How much every label gains from something, in points of AP.

    Args:
        bars: for each panel its title and the gains [runs, L]; nan where a label is left out.
        labels: the names of the labels [L].
    """
    drawing = Drawing(figsize=(5 * len(bars), 1.2 + 0.19 * len(labels)), layout="constrained")
    panels = drawing.subplots(1, len(bars), squeeze=False)[0]
    for axes, (title, values) in zip(panels, bars, strict=True):
        mean = values.mean(axis=0)
        order = np.argsort(np.nan_to_num(mean, nan=-np.inf), kind="stable")
        spread = values.std(axis=0, ddof=1)[order] if len(values) > 1 else None
        colours = np.where(mean[order] < 0, "#d62728", "#0077bb")
        places = np.arange(len(labels))
        axes.barh(places, mean[order], xerr=spread, color=colours, ecolor="#888888")
        axes.set_yticks(places, labels[order])
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_title(title, loc="left")
        axes.set_xlabel("points of AP")
    return drawing


def training_curves(groups: Sequence[Group]) -> Drawing | None:
    """Validation mAP per label after every epoch, a panel for each graph, a line for each run."""
    archs: dict[str, list[Group]] = {}
    for group in groups:
        if any(run.history is not None for run in group.runs):
            archs.setdefault(group.row.arch, []).append(group)
    if not archs:
        return None
    columns = min(3, len(archs))
    lines = -(-len(archs) // columns)
    drawing = Drawing(figsize=(3.6 * columns, 2.9 * lines), layout="constrained")
    panels = drawing.subplots(lines, columns, squeeze=False, sharey=True).flat
    for axes, (arch, members) in zip(panels, archs.items(), strict=False):
        for number, group in enumerate(members):
            for order, run in enumerate(group.runs):
                if (history := run.history) is not None:
                    axes.plot(
                        history["epoch"],
                        100 * history["validation_map_label"],
                        color=f"C{number % 10}",
                        linewidth=0.8,
                        label=None if order else group.name.removeprefix(f"{arch}-"),
                    )
        axes.set_title(TITLES.get(arch, arch), loc="left")
        axes.set(xlabel="epoch", ylabel="validation mAP per label, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="lower right")
    for axes in list(drawing.axes)[len(archs) :]:
        axes.remove()
    return drawing


def reliability(judgements: Sequence[tuple[str, Judgement]]) -> Drawing:
    """Reliability diagrams on the test split, before and after calibration, a panel for each model.

    Args:
        judgements: titles, and what each model's probabilities are worth.
    """
    columns = min(3, len(judgements))
    lines = -(-len(judgements) // columns)
    drawing = Drawing(figsize=(3.6 * columns, 3.6 * lines), layout="constrained")
    panels = drawing.subplots(lines, columns, squeeze=False).flat
    for axes, (title, judgement) in zip(panels, judgements, strict=False):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle=":")
        for when, diagram, colour, marker in (
            ("before", judgement.before, "#e69f00", "s"),
            ("after", judgement.after, "#0077bb", "o"),
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
        with written_whole(folder / f"{name}.{ending}") as temporary:
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
