"""The robustness curves, which test the paper's claims and assumptions, as data.

A curve's points are measures: a model (a row, as in `paper.py`), the condition it is trained
under and the condition it is scored under. Several points share a training, and those that
are trained as usual share it with a sweep in the same folder.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.paper.conditions import OLD_HALF, UNCHANGED, Perturbation
from experiments.paper.published import ENCODINGS, SIZES, TITLES, Row

OVERLAPS = (0.0, 0.25, 0.5, 0.75, 1.0)
DROPPED = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
WRONG = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SAMPLES = (1, 3, 10, 30, 100)
POOLS = ("open", "closed", "train")
MORE_SIZES = ((1, 2), *SIZES, (24, 48), (48, 96))

V_ONLY = Row("v_only")
LTN = Row("ltn", "id")
LTWIN = Row("ltwin", "id", "w2v")
LOGISTIC = Row("logistic_both", "", "id", m=0, max_rank=0)
FED = (V_ONLY, LTN, Row("ltwin", "id", "id"), LTWIN, Row("ltwin", "w2v", "w2v"), LOGISTIC)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model, its training condition, and its test condition."""

    row: Row
    training: Perturbation
    test: Perturbation


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a curve.

    Attributes:
        title: what it is called.
        measures: one for each tick of the curve.
        reference: what the line is to be compared with, if there is something.
    """

    title: str
    measures: tuple[Measurement, ...]
    reference: Measurement | None = None


@dataclasses.dataclass(frozen=True)
class Curve:
    """A figure and a table.

    Attributes:
        title: what it shows.
        axis: what the ticks are.
        ticks: their names.
        panels: the series by the panel that they are drawn in.
        reference: what the series' references are; empty where they have none.
        joined: whether the points of a series make a line.
    """

    title: str
    axis: str
    ticks: tuple[str, ...]
    panels: Mapping[str, tuple[Series, ...]]
    reference: str = ""
    joined: bool = True

    @property
    def measures(self) -> list[Measurement]:
        """All measurements, each once."""
        series = [one for panel in self.panels.values() for one in panel]
        points = [measure for one in series for measure in one.measures]
        references = [one.reference for one in series if one.reference is not None]
        return list(dict.fromkeys([*points, *references]))


def title_of(row: Row) -> str:
    """A model in words: `LTwin (n: id, f: w2v)`."""
    told = {"n": row.neighbours if row.arch != "v_only" else "", "f": row.feed}
    encodings = ", ".join(f"{name}: {encoding}" for name, encoding in told.items() if encoding)
    name = TITLES.get(row.arch, row.arch)
    return f"{name} ({encodings})" if encodings else name


def _tested(
    row: Row, field: str, values: Iterable[Any], training: Perturbation = UNCHANGED
) -> Series:
    """A model that is trained once and scored for each value of one field of a condition."""
    tests = [dataclasses.replace(UNCHANGED, **{field: value}) for value in values]
    return Series(title_of(row), tuple(Measurement(row, training, test) for test in tests))


def _vocabulary() -> Curve:
    def series(row: Row) -> Series:
        measures = _tested(row, "overlap", OVERLAPS, OLD_HALF).measures
        untagged = Measurement(row, OLD_HALF, dataclasses.replace(OLD_HALF, dropped=1.0))
        # The panel says n.
        return Series(title_of(dataclasses.replace(row, neighbours="")), measures, untagged)

    panels = {
        f"neighbours by {n}": (
            series(Row("ltn", n)),
            *(series(Row("ltwin", n, feed)) for feed in ENCODINGS),
        )
        for n in ENCODINGS
    }
    return Curve(
        "Vocabulary change: trained with one half of the tags, used with another",
        "share of the vocabulary that is as in training, %",
        _percents(OVERLAPS),
        panels,
        "test images without tags",
    )


def _dropped_tags() -> Curve:
    return Curve(
        "Tags dropped from the test images",
        "tags dropped, %",
        _percents(DROPPED),
        {"": tuple(_tested(row, "dropped", DROPPED) for row in FED)},
    )


def _wrong_tags() -> Curve:
    return Curve(
        "Wrong tags mixed into those of the test images",
        "wrong tags for each true one",
        tuple(f"{value:g}" for value in WRONG),
        {"": tuple(_tested(row, "wrong", WRONG) for row in FED)},
    )


def _size() -> Curve:
    def series(row: Row) -> Series:
        rows = [dataclasses.replace(row, m=m, max_rank=M) for m, M in MORE_SIZES]
        return Series(title_of(row), tuple(Measurement(one, UNCHANGED, UNCHANGED) for one in rows))

    return Curve(
        "Size of the neighbourhood",
        "(m, M)",
        tuple(map(str, MORE_SIZES)),
        {"": (series(LTN), series(LTWIN))},
    )


def _pool() -> Curve:
    def series(row: Row, pool: str) -> Series:
        tested = _tested(row, "pool", POOLS, Perturbation(pool=pool))
        return dataclasses.replace(tested, title=f"{tested.title}, trained {pool}")

    # To training images the pools `closed` and `train` are the same.
    return Curve(
        "Where neighbours come from",
        "pool at test",
        POOLS,
        {"": tuple(series(row, pool) for row in (LTN, LTWIN) for pool in ("open", "train"))},
        joined=False,
    )


def _expectation() -> Curve:
    def series(row: Row) -> Series:
        sampled = _tested(row, "samples", SAMPLES)
        return dataclasses.replace(sampled, reference=Measurement(row, UNCHANGED, UNCHANGED))

    return Curve(
        "The mean over neighbourhoods, sampled",
        "neighbourhoods drawn",
        tuple(map(str, SAMPLES)),
        {"": (series(LTN), series(LTWIN))},
        "exact mean over all",
    )


def _order() -> Curve:
    orders = {"nearest first": UNCHANGED, "shuffled": Perturbation(shuffled=True)}
    rows = (Row("rtn", "id"), Row("ltwin_rnn", "id", "w2v"))

    def series(row: Row, order: str) -> Series:
        tested = _tested(row, "shuffled", (False, True), orders[order])
        return dataclasses.replace(tested, title=f"{tested.title}, trained {order}")

    return Curve(
        "Order of the neighbours in graphs with LSTMs",
        "order at test",
        tuple(orders),
        {"": tuple(series(row, order) for row in rows for order in orders)},
        joined=False,
    )


def _percents(shares: Iterable[float]) -> tuple[str, ...]:
    return tuple(f"{100 * share:.0f}" for share in shares)


CURVES: dict[str, Curve] = {
    "vocabulary": _vocabulary(),
    "dropped_tags": _dropped_tags(),
    "wrong_tags": _wrong_tags(),
    "size": _size(),
    "pool": _pool(),
    "expectation": _expectation(),
    "order": _order(),
}


def rows_of(names: Iterable[str]) -> list[Row]:
    """The models of the curves with these names, each once."""
    return list(dict.fromkeys(measure.row for name in names for measure in CURVES[name].measures))
