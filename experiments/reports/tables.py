"""The tables of a report in Markdown, CSV, LaTeX and HTML."""

import csv
import dataclasses
import html
import io
import re
from collections.abc import Sequence

from experiments.paper import published
from experiments.paper.published import UPPER_BOUND, Line, Published
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
    """A line of a report's table; `runs` is the number of runs behind our mean."""

    title: str
    neighbours: str
    feed: str
    runs: int
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """A table of a report; `name` is the name of its files."""

    name: str
    title: str
    metrics: tuple[str, ...]
    lines: tuple[ReportLine, ...]


def paper_table(table: published.Table, groups: Sequence[Group]) -> ReportTable:
    """A table of the paper with our runs; a row that was run in two ways has two lines."""
    lines = []
    for line in table.lines:
        ours = [group for group in groups if line.row is not None and group.row == line.row]
        if line.title == UPPER_BOUND:
            lines.append(_bound_line(line, table.metrics, groups))
        for group in ours:
            lines.append(_line(line, group, table.metrics))
        if not ours and line.title != UPPER_BOUND:
            lines.append(_line(line, None, table.metrics))
    title = f"Table {table.number}: {table.caption}"
    return _with_best(ReportTable(f"table{table.number}", title, table.metrics, tuple(lines)))


def other_table(groups: Sequence[Group]) -> ReportTable:
    """All rows that were run, with every metric, including those not in the paper."""
    lines = [
        _line(Line(group.name, group.row, published.published(group.row)), group, published.ALL)
        for group in groups
    ]
    return _with_best(ReportTable("all", "Every row that was run", published.ALL, tuple(lines)))


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
    extra = group.name.removeprefix(group.row.name) if group and group.name != line.title else ""
    reads_neighbours = row is not None and row.arch != "v_only"
    return ReportLine(
        line.title + extra,
        row.neighbours if row is not None and reads_neighbours else "",
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
    return ReportLine(line.title, "", "", len(most.runs), tuple(cells))


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
        head += [TITLES[metric], "paper", "difference"]
    text = [_bar(head), _bar(["---"] * len(head))]
    for line in table.lines:
        cells = [_markdown_escaped(line.title), line.neighbours, line.feed, str(line.runs or "")]
        for cell in line.cells:
            ours = f"**{shown(cell.ours)}**" if cell.best else shown(cell.ours)
            cells += [ours, _printed(cell), _signed(cell.difference)]
        text.append(_bar(cells))
    return "\n".join(text) + "\n"


def csv_text(table: ReportTable) -> str:
    """The table as CSV, unrounded."""
    head = ["model", "n", "f", "runs"]
    for metric in table.metrics:
        head += [metric, f"{metric}_sd", f"{metric}_paper", f"{metric}_paper_sd"]
        head.append(f"{metric}_difference")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for line in table.lines:
        values: list = [line.title, line.neighbours, line.feed, line.runs]
        for cell in line.cells:
            values += [*(cell.ours or (None, None)), *(cell.paper or (None, None))]
            values.append(cell.difference)
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
            change = f" ({_signed(cell.difference)})" if cell.difference is not None else ""
            theirs.append(_latex_escaped(_printed(cell) + change))
        names = map(_latex_escaped, (line.title, line.neighbours, line.feed))
        text.append(" & ".join([*names, *ours]) + " \\\\")
        text.append(" & ".join(["\\quad paper", "", "", *theirs]) + " \\\\")
    return "\n".join([*text, "\\bottomrule", "\\end{tabular}", ""])


def html_table(table: ReportTable) -> str:
    """The table as HTML."""
    groups = "".join(f'<th colspan="3">{TITLES[metric]}</th>' for metric in table.metrics)
    heads = "<th>ours</th><th>paper</th><th>difference</th>" * len(table.metrics)
    rows = []
    for line in table.lines:
        names = (line.title, line.neighbours, line.feed, str(line.runs or ""))
        cells = [f"<td>{html.escape(name)}</td>" for name in names]
        for cell in line.cells:
            mark = ' class="best"' if cell.best else ""
            cells.append(f"<td{mark}>{shown(cell.ours)}</td><td>{_printed(cell)}</td>")
            cells.append(f"<td>{_signed(cell.difference)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<div class="wide"><table><thead><tr><th rowspan="2">model</th><th rowspan="2">n</th>'
        f'<th rowspan="2">f</th><th rowspan="2">runs</th>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _printed(cell: Cell) -> str:
    return shown(cell.paper) + (" ★" if cell.starred and cell.paper else "")


def _signed(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:+.2f}"


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_escaped(text: str) -> str:
    # An underscore inside a word is no emphasis.
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _latex_escaped(text: str) -> str:
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return escaped.replace("★", "$\\star$")
