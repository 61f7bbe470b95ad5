"""The figures of a report: those of the paper, and more."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from experiments.paper.published import (
    MAPS,
    SIZES,
    TITLES,
    Figure,
    Published,
    Row,
    Series,
    published,
)
from experiments.plots import COLOURS, INK
from experiments.runs.results import TITLES as METRIC_TITLES
from experiments.runs.results import Group

MARKERS = {"id": "o", "w2v": "s", "wnet": "^"}  # by n
STYLES = {"id": "-", "w2v": "--", "wnet": ":"}  # by f, of visual models by n


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
    """The gain of each label, in points of AP.

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


def training_curves(groups: Sequence[Group], titles: Mapping[str, str]) -> Drawing | None:
    """Validation mAP per label after each epoch, one panel per architecture, one line per run.

    Args:
        groups: the rows.
        titles: what a reader calls them, by name.
    """
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
                        label=None if order else titles[group.name],
                    )
        axes.set_title(TITLES.get(arch, arch), loc="left")
        axes.set(xlabel="epoch", ylabel="validation mAP per label, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="lower right")
    for axes in list(drawing.axes)[len(archs) :]:
        axes.remove()
    return drawing
