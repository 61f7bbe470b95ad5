"""Comparisons of all pairs of rows: a table for programs, heat maps for people."""

import dataclasses
import html
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.paper.published import MAPS
from experiments.reports import tables
from experiments.reports.findings import SIGNIFICANT, p_value
from experiments.reports.page import scrolling
from experiments.runs import results
from experiments.runs.results import Comparison, Group

STYLE = """
.heat td { text-align: center; } .heat th { text-align: left; }
.heat .more { background: rgb(0 119 187 / var(--heat)); font-weight: 600; }
.heat .less { background: rgb(214 39 40 / var(--heat)); font-weight: 600; }
#filter { font: inherit; color: inherit; background: var(--soft); min-height: 44px;
  padding: 0 .6rem; border: 1px solid var(--rule); border-radius: 4px; max-width: 100%; }
"""
READING = (
    "A cell is the difference of its row from its column in points. Blue: the row is "
    f"significantly better, red: significantly worse (p below {SIGNIFICANT}); without a colour "
    "the difference may be chance. Rows and columns are in the order of their mean."
)


def all_pairs(groups: Sequence[Group]) -> pd.DataFrame:
    """Comparisons of all pairs of rows by both mAPs, one a line."""
    lines = []
    for one, other in itertools.combinations(groups, 2):
        for metric in MAPS:
            if comparison := results.compare(one, other, metric):
                values = dataclasses.asdict(comparison)
                lines.append({"metric": metric, "one": one.name, "other": other.name, **values})
    fields = [field.name for field in dataclasses.fields(Comparison)]
    return pd.DataFrame(lines, columns=["metric", "one", "other", *fields])


def remark(count: int) -> str:
    """What a reader of `count` comparisons must know."""
    if not count:
        return "No two rows share two splits, so nothing can be compared."
    return (
        "Paired t-tests over the splits that two rows share; p is corrected by the variance of "
        "Nadeau and Bengio (2003) where it can be, because random splits of one data set overlap. "
        f"p values are not corrected for the {count:,} comparisons."
    )


def markdown(groups: Sequence[Group], titles: Mapping[str, str]) -> str:
    """The best row by either mAP beside all others; the other pairs are in significance.csv."""
    rows = [["metric", "best", "other", "splits", "difference", "p"], ["---"] * 6]
    for metric in MAPS:
        best, *others = ordered(groups, metric)
        for other in others:
            if comparison := results.compare(best, other, metric):
                names = [titles[best.name], titles[other.name]]
                told = [str(comparison.pairs), f"{comparison.difference:+.2f}"]
                p = f"{p_value(comparison):.4f}"
                rows.append(
                    [results.TITLES[metric], *map(tables.markdown_escaped, names), *told, p]
                )
    if len(rows) == 2:
        return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def heat_maps(groups: Sequence[Group], titles: Mapping[str, str]) -> str:
    """A heat map for each mAP with a field that filters rows and columns, as HTML."""
    field = (
        '<p><label for="filter">Show only rows whose name contains </label>'
        '<input type="search" id="filter"></p>'
    )
    maps = "".join(
        f"<h3>{results.TITLES[metric]}</h3>"
        + scrolling(results.TITLES[metric], _heat_map(ordered(groups, metric), titles, metric))
        for metric in MAPS
    )
    return f"<p>{READING}</p>{field}{maps}"


def ordered(groups: Sequence[Group], metric: str) -> list[Group]:
    """The rows, the best first."""
    return sorted(groups, key=lambda group: -group.mean(metric))


def script() -> str:
    """What filters the heat maps."""
    return Path(__file__).with_name("significance.js").read_text(encoding="utf-8")


def _heat_map(groups: Sequence[Group], titles: Mapping[str, str], metric: str) -> str:
    pairs = {
        (one.name, other.name): results.compare(one, other, metric)
        for one, other in itertools.permutations(groups, 2)
    }
    most = max((abs(pair.difference) for pair in pairs.values() if pair), default=0) or 1
    heads = "".join(f'<th scope="col">{number}</th>' for number in range(1, len(groups) + 1))
    rows = []
    for number, one in enumerate(groups, 1):
        name = f"{number}. {titles[one.name]}"
        cells = "".join(
            _cell(one, other, pairs.get((one.name, other.name)), titles, most) for other in groups
        )
        rows.append(f'<tr><th scope="row" class="name">{html.escape(name)}</th>{cells}</tr>')
    return (
        f'<table class="heat"><thead><tr><th class="name">row</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(
    one: Group, other: Group, pair: Comparison | None, titles: Mapping[str, str], most: float
) -> str:
    if pair is None:
        return "<td></td>"
    p = p_value(pair)
    told = f"{titles[one.name]} − {titles[other.name]}: {pair.difference:+.2f} points, p {p:.4f}"
    mark = ""
    if p < SIGNIFICANT:
        heat = 0.15 + 0.3 * abs(pair.difference) / most  # text stays readable on it
        kind = "more" if pair.difference > 0 else "less"
        mark = f' class="{kind}" style="--heat: {heat:.2f}"'
    return f'<td{mark} title="{html.escape(told, quote=True)}">{pair.difference:+.1f}</td>'
