"""Writes a report: its tables, figures and pages."""

import collections
import dataclasses
import html
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import plots
from experiments.paper import published
from experiments.paper.published import MAPS
from experiments.reports import figures, page, tables
from experiments.reports.page import Section
from experiments.runs import plan, results
from experiments.runs.results import Comparison, Group
from tagnet.errors import InputError
from tagnet.evaluation.calibration import CalibrationReport
from tagnet.system import console
from tagnet.system.files import write_text

PICTURES = 12
TOP = 3  # labels shown below a photograph
# What a label gains from: the model that has it, the one that lacks it.
GAINS = (
    ("gain from neighbours", "ltn", "v_only"),
    ("gain from the image's tags", "ltn_vecs", "ltn"),
    ("gain from tags, neighbours' too", "ltwin", "ltn"),
)


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
        ran = {group.row for group in groups}
        self._tables = [
            tables.paper_table(table, groups)
            for table in published.TABLES.values()
            if ran & set(published.rows_of(table))
        ]
        self._tables.append(tables.other_table(groups))

    def write(self, out: Path) -> None:
        """Writes the report into the folder `out`."""
        sections = [Section("summary", "Summary", page.paragraphs(self._remarks))]
        text = ["# Report", *self._remarks]
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
                sections.append(Section(name, title, element))
        frame, remark = self._significance()
        write_text(out / "significance.csv", frame.to_csv(index=False))
        text += ["## Significance", remark, _pairs_markdown(frame)]
        sections.append(
            Section("significance", "Significance", page.paragraphs([remark]) + _pairs_html(frame))
        )
        if pictures := self._pictures():
            sections.append(Section("pictures", "Photos of the test split", pictures))
        write_text(out / "labels.csv", self._label_table().to_csv(index=False))
        write_text(out / "costs.csv", self._costs().to_csv(index=False))
        write_text(out / "report.md", "\n\n".join(text) + "\n")
        write_text(out / "index.html", page.page("tagnet: runs beside the paper", sections))

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
        if (curves := figures.training_curves(self._groups)) is not None:
            yield "training", "Training", curves
        judged = [
            (group.name, CalibrationReport.of(group.runs[0].results["calibration"]))
            for group in self._groups
            if "calibration" in group.runs[0].results
        ]
        if judged:
            title = "Are the probabilities of exported models those of the test split?"
            yield "calibration", title, plots.reliability(judged)

    def _gains(self) -> list[tuple[str, np.ndarray]]:
        """For each of `GAINS` that two rows show: title and gains [runs, L], in points."""
        found = []
        for title, with_it, without in GAINS:
            for one, other in itertools.product(self._groups, repeat=2):
                if (one.row.arch, other.row.arch) != (with_it, without):
                    continue
                if without != "v_only" and one.row.neighbours != other.row.neighbours:
                    continue
                if pairs := results.common_runs(one, other):
                    values = [a.label_precisions - b.label_precisions for a, b in pairs]
                    name = f"{title}\n{one.name} − {other.name}"
                    found.append((name, 100 * np.array(values)))
                    break
        return found

    def _significance(self) -> tuple[pd.DataFrame, str]:
        """Comparisons of all pairs of rows by both mAPs, and a remark on reading them."""
        lines = []
        for one, other in itertools.combinations(self._groups, 2):
            for metric in MAPS:
                if comparison := results.compare(one, other, metric):
                    values = dataclasses.asdict(comparison)
                    lines.append({"metric": metric, "one": one.name, "other": other.name, **values})
        fields = [field.name for field in dataclasses.fields(Comparison)]
        frame = pd.DataFrame(lines, columns=["metric", "one", "other", *fields])
        remark = (
            "Paired t-tests over the splits that two rows share; p corrected takes the variance "
            "of Nadeau and Bengio (2003), because random splits of one data set overlap. "
            f"p values are not corrected for the {len(frame)} comparisons."
            if lines
            else "No two rows share two splits, so nothing can be compared."
        )
        return frame, remark

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
            lines = [f"labels: {truth}", f"{best.name}: {', '.join(given)}"]
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
            count = " to ".join(map(str, sorted({min(counts), max(counts)})))
            lines.append(f"Skipped in the test averages: {count} {what}.")
    lines.append(
        "Per cent on the test split, mean ± standard deviation (n − 1) over the runs; our best "
        "in bold. The paper's results are for NUS-WIDE: on another data set the difference "
        "compares data sets, not implementations. ★: the method chooses the number of labels, "
        "so the upper bound does not apply."
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


def _pairs_html(frame: pd.DataFrame) -> str:
    return page.grid(list(frame.columns), [_pair(line) for line in frame.itertuples(index=False)])


def _pairs_markdown(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns)]
    rows += [_pair(line) for line in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _pair(line) -> list[str]:
    corrected = tables.UNKNOWN if pd.isna(line.p_corrected) else f"{line.p_corrected:.4f}"
    told = [line.metric, line.one, line.other, str(line.pairs), f"{line.difference:+.2f}"]
    return [*told, f"{line.p:.4f}", corrected]


def say_rows(groups: Sequence[Group]) -> None:
    """Prints the metrics of each row on the test split, in per cent, means over its runs."""
    width = max(len(group.name) for group in groups)
    titles = [*results.TITLES.values()]
    console.say(f"{'test split, %':<{width}}  {'  '.join(titles)}", result=True)
    for group in groups:
        values = zip(results.TITLES.items(), titles, strict=True)
        shown = [f"{100 * group.mean(name):>{len(title)}.2f}" for (name, _), title in values]
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
