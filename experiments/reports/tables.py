"""The tables of a report in Markdown, CSV, LaTeX and HTML."""

import csv
import dataclasses
import html
import io
import re
from collections.abc import Sequence

from experiments.paper import published
from experiments.paper.published import UPPER_BOUND, Line, Published
from experiments.reports.page import scrolling
from experiments.runs.results import TITLES, Group, deviation

UNKNOWN = "–"
LATEX_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
    **{"±": "$\\pm$", "–": "--", "π": "$\\pi$", "φ": "$\\phi$"},
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One metric of one line, in per cent.

    Attributes:
        ours: mean and standard deviation over the runs; None where nothing was run.
        paper: what the paper prints; None where it prints nothing.
        best: whether ours is the best of its column.
        starred: whether the upper bound does not hold for the paper's.
    """

    ours: Published | None
    paper: Published | None
    best: bool = False
    starred: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in points."""
        return self.ours.mean - self.paper.mean if self.ours and self.paper else None


@dataclasses.dataclass(frozen=True)
class ReportLine:
    """A line of a report's table.

    Attributes:
        title: what a reader calls the model.
        row: its name among the rows that were run; empty where it was not.
        neighbours, feed: n and f.
        runs: how many are behind our mean.
        cells: one for each metric.
    """

    title: str
    row: str
    neighbours: str
    feed: str
    runs: int
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """A table of a report.

    Attributes:
        name: the name of its files.
        title: its heading.
        metrics: its columns.
        lines: its lines.
        same_data: whether ours and the paper's results are of one data set, so that their
            difference means something.
        quoted: whether the paper's results have a column.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    lines: tuple[ReportLine, ...]
    same_data: bool
    quoted: bool = True

    @property
    def columns(self) -> list[str]:
        """The columns of each metric, as headings."""
        if not self.quoted:
            return ["ours"]
        return ["ours", "paper", "difference"] if self.same_data else ["ours", "paper (NUS-WIDE)"]

    def cells(self, cell: Cell) -> list[str]:
        """What stands in these columns."""
        return [shown(cell.ours), _printed(cell), _signed(cell.difference)][: len(self.columns)]


def of_the_papers_data(groups: Sequence[Group]) -> bool:
    """Whether all runs are of NUS-WIDE, told by the name of their data set."""
    names = {run.results["dataset"] for group in groups for run in group.runs}
    return all("nuswide" in re.sub(r"[^a-z]", "", str(name).lower()) for name in names)


def titles(groups: Sequence[Group]) -> dict[str, str]:
    """What a reader calls each row, by its name: `LTwin (n: id, f: w2v)`."""
    found = {}
    for group in groups:
        row = group.row
        parts = [f"n: {row.neighbours}" if _reads_neighbours(row) and row.neighbours else ""]
        parts += [f"f: {row.feed}" if row.feed else ""]
        told = ", ".join(filter(None, parts))
        found[group.name] = _title(group, groups) + (f" ({told})" if told else "")
    return found


def _title(group: Group, groups: Sequence[Group]) -> str:
    """The model of a row, with what tells it from the other rows besides n and f."""
    row = group.row
    sizes = {(one.row.m, one.row.max_rank) for one in groups if _reads_neighbours(one.row)}
    size = f" {row.m} of {row.max_rank}" if len(sizes) > 1 and _reads_neighbours(row) else ""
    settings = group.name.removeprefix(row.name)
    return published.TITLES.get(row.arch, row.arch) + size + settings


def _reads_neighbours(row: published.Row) -> bool:
    return row.arch != "v_only" and row.m > 0


def paper_table(table: published.Table, groups: Sequence[Group]) -> ReportTable:
    """A table of the paper with our runs; a row that was run in two ways has two lines.

    On another data set than the paper's, lines that were not run are left out.
    """
    same_data = of_the_papers_data(groups)
    lines = []
    for line in table.lines:
        ours = [group for group in groups if line.row is not None and group.row == line.row]
        if line.title == UPPER_BOUND:
            lines.append(_bound_line(line, table.metrics, groups))
        for group in ours:
            lines.append(_line(line, group, table.metrics))
        if not ours and line.title != UPPER_BOUND and same_data:
            lines.append(_line(line, None, table.metrics))
    name, title = f"table{table.number}", f"Table {table.number}: {table.caption}"
    return _with_best(ReportTable(name, title, table.metrics, tuple(lines), same_data))


def other_table(groups: Sequence[Group]) -> ReportTable:
    """All rows that were run, with every metric, including those not in the paper."""
    lines = [
        dataclasses.replace(
            _line(Line("", group.row, published.published(group.row)), group, published.ALL),
            title=_title(group, groups),
        )
        for group in groups
    ]
    title, same_data = "Every row that was run", of_the_papers_data(groups)
    # On another data set the paper's are in its own tables alone.
    table = ReportTable("all", title, published.ALL, tuple(lines), same_data, quoted=same_data)
    return _with_best(table)


def _line(line: Line, group: Group | None, metrics: Sequence[str]) -> ReportLine:
    row = line.row
    cells = [
        Cell(
            Published(group.mean(metric), group.sd(metric)) if group else None,
            line.published.get(metric),
            starred=metric in line.starred,
        )
        for metric in metrics
    ]
    extra = group.name.removeprefix(group.row.name) if group else ""
    return ReportLine(
        line.title + extra,
        group.name if group else "",
        row.neighbours if row is not None and row.arch != "v_only" else "",
        (row.feed or "") if row is not None else "",
        len(group.runs) if group else 0,
        tuple(cells),
    )


def _bound_line(line: Line, metrics: Sequence[str], groups: Sequence[Group]) -> ReportLine:
    """The upper bounds, from the row with the most runs; they depend only on the split."""
    most = max(groups, key=lambda group: len(group.runs))
    cells = []
    for metric in metrics:
        bounds = 100 * most.upper_bounds(metric)
        ours = Published(float(bounds.mean()), deviation(bounds))
        cells.append(Cell(ours, line.published.get(metric)))
    return ReportLine(line.title, "", "", "", len(most.runs), tuple(cells))


def _with_best(table: ReportTable) -> ReportTable:
    """Marks our best in each column, ignoring the upper bound."""
    lines = list(table.lines)
    for column in range(len(table.metrics)):
        means = {
            index: line.cells[column].ours.mean  # type: ignore[union-attr]
            for index, line in enumerate(lines)
            if line.cells[column].ours and line.title != UPPER_BOUND
        }
        for index, mean in means.items():
            if mean == max(means.values()):
                cells = list(lines[index].cells)
                cells[column] = dataclasses.replace(cells[column], best=True)
                lines[index] = dataclasses.replace(lines[index], cells=tuple(cells))
    return dataclasses.replace(table, lines=tuple(lines))


def shown(result: Published | None) -> str:
    """A mean and its deviation: `63.13 ± 0.31`, or a dash."""
    if result is None:
        return UNKNOWN
    return f"{result.mean:.2f}" + ("" if result.sd is None else f" ± {result.sd:.2f}")


def markdown(table: ReportTable) -> str:
    """The table in Markdown."""
    head = ["model", "n", "f", "runs"]
    for metric in table.metrics:
        head += [TITLES[metric], *table.columns[1:]]
    text = [_bar(head), _bar(["---"] * len(head))]
    for line in table.lines:
        cells = [markdown_escaped(line.title), line.neighbours, line.feed, str(line.runs or "")]
        for cell in line.cells:
            ours, *others = table.cells(cell)
            cells += [f"**{ours}**" if cell.best else ours, *others]
        text.append(_bar(cells))
    return "\n".join(text) + "\n"


def csv_text(table: ReportTable) -> str:
    """The table as CSV, unrounded."""
    head = ["model", "row", "n", "f", "runs"]
    for metric in table.metrics:
        head += [metric, f"{metric}_sd", f"{metric}_paper", f"{metric}_paper_sd"]
        head += [f"{metric}_difference"] if table.same_data else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for line in table.lines:
        values: list = [line.title, line.row, line.neighbours, line.feed, line.runs]
        for cell in line.cells:
            values += [*(cell.ours or (None, None)), *(cell.paper or (None, None))]
            values += [cell.difference] if table.same_data else []
        writer.writerow(values)
    return file.getvalue()


def latex(table: ReportTable) -> str:
    """The table as a LaTeX `tabular` of the package booktabs, ours above the paper's."""
    columns = "lll" + "r" * len(table.metrics)
    head = ["model", "n", "f", *(TITLES[metric] for metric in table.metrics)]
    text = [f"% {table.title}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    text += [" & ".join(map(_latex_escaped, head)) + " \\\\", "\\midrule"]
    for line in table.lines:
        ours, theirs = [], []
        for cell in line.cells:
            mean = _latex_escaped(shown(cell.ours))
            ours.append(f"\\textbf{{{mean}}}" if cell.best else mean)
            known = table.same_data and cell.difference is not None
            change = f" ({_signed(cell.difference)})" if known else ""
            theirs.append(_latex_escaped(_printed(cell) + change))
        names = map(_latex_escaped, (line.title, line.neighbours, line.feed))
        text.append(" & ".join([*names, *ours]) + " \\\\")
        text.append(" & ".join(["\\quad paper", "", "", *theirs]) + " \\\\")
    return "\n".join([*text, "\\bottomrule", "\\end{tabular}", ""])


def html_table(table: ReportTable) -> str:
    """The table as HTML."""
    inner = table.columns
    groups = "".join(
        f'<th colspan="{len(inner)}" scope="colgroup">{TITLES[metric]}</th>'
        for metric in table.metrics
    )
    heads = "".join(f'<th scope="col">{head}</th>' for head in inner) * len(table.metrics)
    names = "".join(
        f'<th rowspan="2" scope="col"{mark}>{name}</th>'
        for name, mark in (("model", ' class="name"'), ("n", ""), ("f", ""), ("runs", ""))
    )
    rows = []
    for line in table.lines:
        cells = [f'<th scope="row" class="name">{html.escape(line.title)}</th>']
        told = (line.neighbours, line.feed, str(line.runs or ""))
        cells += [f"<td>{html.escape(one)}</td>" for one in told]
        for cell in line.cells:
            ours, *others = table.cells(cell)
            cells.append(f'<td class="best">{ours}</td>' if cell.best else f"<td>{ours}</td>")
            cells += [f"<td>{other}</td>" for other in others]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return scrolling(
        table.title,
        f"<table><thead><tr>{names}{groups}</tr><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


def _printed(cell: Cell) -> str:
    return shown(cell.paper) + (" ★" if cell.starred and cell.paper else "")


def _signed(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:+.2f}"


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    # An underscore inside a word is no emphasis.
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _latex_escaped(text: str) -> str:
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return escaped.replace("★", "$\\star$")
