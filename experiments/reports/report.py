"""Writes a report: its tables, figures and pages."""

import collections
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import plots
from experiments.paper import published
from experiments.paper.published import MAPS
from experiments.reports import figures, findings, page, significance, tables
from experiments.reports.page import Section
from experiments.runs import plan, results
from experiments.runs.results import Group
from tagnet.errors import InputError
from tagnet.evaluation.calibration import CalibrationReport
from tagnet.system import console
from tagnet.system.files import write_text

PICTURES = 12
TOP = 3  # labels shown below a photograph


def check_labels(groups: Sequence[Group]) -> None:
    """Raises `InputError` unless all runs have the same labels."""
    first, *others = (group.runs[0] for group in groups)
    for other in others:
        one, two = (run.predictions["label_names"] for run in (first, other))
        if not np.array_equal(one, two):
            raise InputError(
                f"{other.directory}: all runs must have the same labels; its {len(two)} differ "
                f"from the {len(one)} of {first.directory}; report them separately"
            )


class Report:
    """The report on some rows.

    Args:
        groups: the rows.
        remarks: what a reader must know, line by line.
        images: the folder of the photographs; None to look where the data set says.
    """

    def __init__(self, groups: list[Group], remarks: list[str], images: Path | None) -> None:
        self._groups = groups
        self._remarks = remarks
        self._images = images
        self._titles = tables.titles(groups)
        ran = {group.row for group in groups}
        self._tables = [
            tables.paper_table(table, groups)
            for table in published.TABLES.values()
            if ran & set(published.rows_of(table))
        ]
        self._tables.append(tables.other_table(groups))

    def write(self, out: Path) -> None:
        """Writes the report into the folder `out`."""
        titles = self._titles
        found = findings.findings(self._groups, titles)
        summary = page.listed(found) + page.paragraphs(self._remarks)
        sections = [Section("findings", "Findings", summary)]
        text = ["# Report", *(f"- {tables.markdown_escaped(line)}" for line in found)]
        text += self._remarks
        for table in self._tables:
            for ending, written in (
                ("md", tables.markdown),
                ("csv", tables.csv_text),
                ("tex", tables.latex),
            ):
                write_text(out / "tables" / f"{table.name}.{ending}", written(table))
            text += [f"## {table.title}", tables.markdown(table)]
            sections.append(Section(table.name, table.title, tables.html_table(table)))
        with plots.style():
            for name, title, drawing in self._drawings():
                svg = plots.save(drawing, out / "figures", name)
                text += [f"## {title}", f"![{title}](figures/{name}.svg)"]
                element = plots.inline(svg, name, html.escape(title, quote=True))
                sections.append(Section(name, title, page.scrolling(title, element, "drawing")))
        frame = significance.all_pairs(self._groups)
        write_text(out / "significance.csv", frame.to_csv(index=False))
        remark = significance.remark(len(frame))
        text += ["## Significance", remark, significance.markdown(self._groups, titles)]
        text += ["All pairs of rows are in significance.csv."] if len(frame) else []
        maps = significance.heat_maps(self._groups, titles) if len(frame) else ""
        body = page.paragraphs([remark]) + maps
        sections.append(Section("significance", "Significance", body))
        if pictures := self._pictures():
            sections.append(Section("pictures", "Photos of the test split", pictures))
        write_text(out / "labels.csv", self._label_table().to_csv(index=False))
        write_text(out / "costs.csv", self._costs().to_csv(index=False))
        write_text(out / "report.md", "\n\n".join(filter(None, text)) + "\n")
        script = significance.script() if maps else ""
        names = sorted({run.results["dataset"] for group in self._groups for run in group.runs})
        title = f"Report: {console.counted(len(titles), 'model')} on {', '.join(names)}"
        write_text(out / "index.html", page.page(title, sections, significance.STYLE, script))

    def _drawings(self):
        """Name, title and drawing of each figure that has data."""
        ran = {group.row for group in self._groups}
        for number, figure in published.FIGURES.items():
            # A point that is a row of a table makes no curve.
            if ran & {row for row in published.rows_of(figure) if row.max_rank < plan.LARGEST}:
                title = f"Figure {number}: {figure.caption}"
                yield f"figure{number}", title, figures.paper_figure(figure, self._groups)
        if bars := self._gains():
            names = self._groups[0].runs[0].predictions["label_names"]
            title = "What each label gains, in points of AP"
            yield "gains", title, figures.gains(bars, names)
        if (curves := figures.training_curves(self._groups, self._titles)) is not None:
            yield "training", "Training", curves
        judged = [
            (self._titles[group.name], CalibrationReport.of(group.runs[0].results["calibration"]))
            for group in self._groups
            if "calibration" in group.runs[0].results
        ]
        if judged:
            title = "Are the probabilities of exported models those of the test split?"
            yield "calibration", title, plots.reliability(judged)

    def _gains(self) -> list[tuple[str, np.ndarray]]:
        """For each gain that two rows show: title and gains [runs, L], in points."""
        found = []
        for title, one, other in findings.gain_pairs(self._groups):
            pairs = results.common_runs(one, other)
            values = [a.label_precisions - b.label_precisions for a, b in pairs]
            names = f"{self._titles[one.name]} − {self._titles[other.name]}"
            found.append((f"{title}\n{names}", 100 * np.array(values)))
        return found

    def _pictures(self) -> str:
        """Some photographs with their labels and those of the best row, as HTML."""
        best = max(self._groups, key=lambda group: group.mean("map_label"))
        run = best.runs[0]
        known = run.predictions
        paths = page.photograph_paths(run.config["data"])
        shown = []
        for row, scores, labels in zip(
            known["rows"], known["scores"], known["labels"], strict=True
        ):
            place = paths[int(row)][1] if int(row) in paths else None
            if place is not None and self._images is not None:
                place = self._images / place.name
            if place is None or not place.is_file():
                continue
            names = known["label_names"]
            given = names[np.argsort(-scores, kind="stable")[:TOP]]
            truth = ", ".join(names[labels.astype(bool)]) or "none"
            lines = [f"labels: {truth}", f"{self._titles[best.name]}: {', '.join(given)}"]
            try:
                shown.append(page.picture(place, lines))
            except InputError:  # it was never opened, where features were given
                continue
            if len(shown) == PICTURES:
                break
        if paths and not shown:
            where = self._images or f"the folders that {run.config['data']} names"
            console.say(f"photos: none of the test split found in {where}; see --photos")
        return f'<div class="pictures">{"".join(shown)}</div>' if shown else ""

    def _label_table(self) -> pd.DataFrame:
        """AP of every label, the mean over the runs of each row, in per cent."""
        columns = {"label": self._groups[0].runs[0].predictions["label_names"]}
        for group in self._groups:
            values = np.mean([run.label_precisions for run in group.runs], axis=0)
            columns[group.name] = 100 * values
        return pd.DataFrame(columns)

    def _costs(self) -> pd.DataFrame:
        lines = [
            {
                "row": group.name,
                "split": run.config["split"],
                "seed": run.config["seed"],
                **{
                    name: run.results.get(name)
                    for name in ("parameters", "epochs", "seconds_per_epoch", "seconds")
                },
            }
            for group in self._groups
            for run in group.runs
        ]
        return pd.DataFrame(lines)


def remarks(
    folders: Sequence[Path], groups: Sequence[Group], unfinished: Sequence[Path]
) -> list[str]:
    """Remarks on the runs that a reader must know."""
    lines = []
    for data in sorted({run.config["data"] for group in groups for run in group.runs}):
        runs = [run for group in groups for run in group.runs if run.config["data"] == data]
        parts = ", ".join(f"{n:,} {part}" for part, n in runs[0].results["images"].items())
        splits = sorted({run.config["split"] for run in runs})
        lines.append(
            f"Data set {runs[0].results['dataset']}: {parts} images, "
            f"{runs[0].predictions['labels'].shape[1]} labels; splits {_listed(splits)}."
        )
        for name, what in (
            ("labels_left_out", "labels without a positive"),
            ("images_left_out", "images without a label"),
            ("labels_never_predicted", "labels never predicted (precision per label)"),
        ):
            counts = [run.results["test"][name] for run in runs]
            if not any(counts):
                continue
            count = " to ".join(map(str, sorted({min(counts), max(counts)})))
            lines.append(f"Skipped in the test averages: {count} {what}.")
    lines.append(
        "Per cent on the test split, mean ± standard deviation (n − 1) over the runs; our best "
        "in bold. n is the encoding whose distance picks the neighbours, f the one that the model "
        "reads. ★: the method chooses the number of labels, so the upper bound does not apply."
    )
    if not tables.of_the_papers_data(groups):
        lines.append(
            "The paper's results are for NUS-WIDE: on another data set only the order of the "
            "models can be compared. Its rows without a run here are left out."
        )
    for folder in folders:
        lines += _sweep_remarks(folder)
    lines += [f"Skipped because it is not finished: {directory.name}." for directory in unfinished]
    return lines


def _sweep_remarks(folder: Path) -> list[str]:
    """The rows that a sweep skipped, and its failed runs."""
    if not (folder / "sweep.json").exists():
        return []
    common = plan.read_common(folder)
    reasons = [plan.lacking(row, common.encodings) for row in published.ROWS.values()]
    lines = [
        f"Of the paper's {len(reasons)} rows and points {count} cannot be run: {reason}."
        for reason, count in collections.Counter(filter(None, reasons)).items()
    ]
    failed = sorted((folder / "failed").glob("*.json"))
    return lines + [f"Failed: {path.stem}; see failed/{path.name}." for path in failed]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def say_rows(groups: Sequence[Group]) -> None:
    """Prints the metrics of each row on the test split, in per cent, means over its runs."""
    width = max(len(group.name) for group in groups)
    titles = [*results.TITLES.values()]
    console.say(f"{'test split, %':<{width}}  {'  '.join(titles)}", result=True)
    for group in groups:
        values = zip(results.TITLES.items(), titles, strict=True)
        shown = [f"{group.mean(name):>{len(title)}.2f}" for (name, _), title in values]
        console.say(f"{group.name:<{width}}  {'  '.join(shown)}", result=True)
    console.say()


def say_comparison(groups: Sequence[Group], one: str, other: str) -> None:
    """Prints a comparison of two rows, given by name."""
    by_name = {group.name: group for group in groups}
    for name in (one, other):
        if name not in by_name:
            raise InputError(f"--compare must name two of {', '.join(by_name)}; received {name!r}")
    pair = by_name[one], by_name[other]
    check_labels(pair)
    for metric in MAPS:
        comparison = results.compare(*pair, metric)
        if comparison is None:
            raise InputError(f"--compare needs at least two common splits; received {one},{other}")
        corrected = comparison.p_corrected
        console.say(
            f"{results.TITLES[metric]}: {one} - {other} = {comparison.difference:+.2f} points over "
            f"{comparison.pairs} splits, p {comparison.p:.4f}"
            + ("" if corrected is None else f", corrected for overlapping splits {corrected:.4f}"),
            result=True,
        )
