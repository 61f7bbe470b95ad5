"""Writes a curve of `curves.py`: a figure, a table in Markdown, and every value as CSV."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from experiments import plots
from experiments.paper.curves import Curve, Measurement
from experiments.paper.published import MAPS, Published
from experiments.reports import figures
from experiments.reports.figures import Plotted
from experiments.reports.tables import shown
from experiments.runs import results
from tagnet.system.files import write_text

# What came out: by measure and split, as `study.Study` writes it.
Results: TypeAlias = dict[Measurement, dict[int, dict[str, Any]]]


def write(folder: Path, name: str, curve: Curve, found: Results) -> None:
    """Writes `NAME.md`, `.csv`, `.svg`, `.pdf` and `.png`, without what was not run."""
    every = {panel: _plotted(curve, panel, found) for panel in curve.panels}
    plotted = {panel: lines for panel, lines in every.items() if lines}
    if not plotted:
        return
    write_text(folder / f"{name}.md", markdown(curve, plotted, found))
    write_text(folder / f"{name}.csv", values(curve, found).to_csv(index=False))
    with plots.style():
        drawing = figures.curves(plotted, curve.axis, curve.ticks, curve.joined)
        plots.save(drawing, folder, name)


def values(curve: Curve, found: Results) -> pd.DataFrame:
    """One row per point and split, mAPs in per cent."""
    lines = []
    for panel, series in curve.panels.items():
        for one in series:
            points = [*zip(curve.ticks, one.measures, strict=True)]
            for tick, measure in [*points, (curve.reference, one.reference)]:
                for split, result in found.get(measure, {}).items() if measure else ():
                    line = {"panel": panel, "model": one.title, curve.axis: tick, "split": split}
                    maps = {metric: 100 * result["test"][metric] for metric in MAPS}
                    lines.append(line | maps | {"by_features": result["by_features"]})
    columns = ["panel", "model", curve.axis, "split", *MAPS, "by_features"]
    return pd.DataFrame(lines, columns=columns)


def markdown(curve: Curve, plotted: Mapping[str, list[Plotted]], found: Results) -> str:
    """A table for each metric, mean ± standard deviation over the splits."""
    splits = sorted({split for results_of in found.values() for split in results_of})
    text = [
        f"## {curve.title}",
        f"Per cent on the test images, mean ± standard deviation over {len(splits)} splits; "
        f"columns: {curve.axis}.",
    ]
    for metric in MAPS:
        head = [results.TITLES[metric], *([curve.reference] if curve.reference else [])]
        rows = [[*head, *curve.ticks], ["---"] * (len(head) + len(curve.ticks))]
        for panel, lines in plotted.items():
            for line in lines:
                compared = [line.reference[metric]] if curve.reference else []
                cells = [shown(value) for value in (*compared, *line.points[metric])]
                rows.append([f"{panel}: {line.title}" if panel else line.title, *cells])
        text.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(text) + "\n"


def _plotted(curve: Curve, panel: str, found: Results) -> list[Plotted]:
    """The series of a panel with at least one result."""
    lines = [
        Plotted(
            one.title,
            {metric: [_mean(found.get(m), metric) for m in one.measures] for metric in MAPS},
            {
                metric: _mean(found.get(one.reference), metric) if one.reference else None
                for metric in MAPS
            },
        )
        for one in curve.panels[panel]
    ]
    return [line for line in lines if any(line.points[MAPS[0]])]


def _mean(by_split: Mapping[int, dict[str, Any]] | None, metric: str) -> Published | None:
    if not by_split:
        return None
    values = np.array([100 * result["test"][metric] for result in by_split.values()])
    return Published(float(values.mean()), results.deviation(values))
