"""What a report begins with: its three findings in words, computed from the results."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.paper.published import MAPS, Published
from experiments.reports.tables import shown
from experiments.runs import results
from experiments.runs.results import TITLES, Group
from tagnet.system.console import counted

SIGNIFICANT = 0.05  # p below it

# What a label gains from: the model that has it, the one that lacks it.
GAINS = (
    ("gain from neighbours", "ltn", "v_only"),
    ("gain from the image's tags", "ltn_vecs", "ltn"),
    ("gain from tags of image and neighbours", "ltwin", "ltn"),
)


def findings(groups: Sequence[Group], titles: Mapping[str, str]) -> list[str]:
    """Three sentences: the best row by either mAP, and what the gains come from or which labels.

    Args:
        groups: the rows.
        titles: what a reader calls them, by name.
    """
    return [
        *(_best(groups, titles, metric) for metric in MAPS),
        _gains(groups) or _labels(groups, titles),
    ]


def p_value(comparison: results.Comparison) -> float:
    """The p that a reader is told: corrected for overlapping splits where it can be."""
    corrected = comparison.p_corrected
    return comparison.p if corrected is None else corrected


def gain_pairs(groups: Sequence[Group]) -> list[tuple[str, Group, Group]]:
    """For each of `GAINS` that two rows show: its title, who has it, and who lacks it."""
    found = []
    for title, with_it, without in GAINS:
        pairs = (
            (one, other)
            for one in groups
            for other in groups
            if (one.row.arch, other.row.arch) == (with_it, without)
            and (without == "v_only" or one.row.neighbours == other.row.neighbours)
            and results.common_runs(one, other)
        )
        found += [(title, *pair) for pair in [next(pairs, None)] if pair]
    return found


def _best(groups: Sequence[Group], titles: Mapping[str, str], metric: str) -> str:
    best, *others = sorted(groups, key=lambda group: -group.mean(metric))
    value = shown(Published(best.mean(metric), best.sd(metric)))
    told = (
        f"Best {TITLES[metric]}: {titles[best.name]} with {value} % "
        f"({counted(len(best.runs), 'run')})."
    )
    if not others:
        return told
    following = others[0]
    name = titles[following.name]
    comparison = results.compare(best, following, metric)
    if comparison is None:
        behind = best.mean(metric) - following.mean(metric)
        return (
            f"{told} The next is {name}, {behind:.2f} points behind; that cannot be tested, "
            "since they share fewer than two splits."
        )
    p = p_value(comparison)
    points = f"{abs(comparison.difference):.2f} points"
    if p < SIGNIFICANT:
        return f"{told} It is significantly above the next, {name} (by {points}, p = {p:.3f})."
    return f"{told} It is not significantly above the next, {name} (by {points}, p = {p:.2f})."


def _gains(groups: Sequence[Group]) -> str | None:
    told = []
    for title, one, other in gain_pairs(groups):
        runs = results.common_runs(one, other)
        values = [
            100 * (a.results["test"]["map_label"] - b.results["test"]["map_label"]) for a, b in runs
        ]
        told.append(f"{np.mean(values):+.2f} points {title.removeprefix('gain ')}")
    return f"{TITLES['map_label']}: {', '.join(told)}." if told else None


def _labels(groups: Sequence[Group], titles: Mapping[str, str]) -> str:
    best = max(groups, key=lambda group: group.mean("map_label"))
    names = best.runs[0].predictions["label_names"]
    values = 100 * np.mean([run.label_precisions for run in best.runs], axis=0)
    known = [place for place in np.argsort(-values, kind="stable") if np.isfinite(values[place])]
    if not known:
        return "No label has a positive test image in every run."
    first, last = known[0], known[-1]
    return (
        f"Easiest label: {names[first]} (average precision {values[first]:.1f} %), hardest: "
        f"{names[last]} ({values[last]:.1f} %), by {titles[best.name]}."
    )
