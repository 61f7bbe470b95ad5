"""The paper's Tables 1, 2 and 3 and Figures 4, 5 and 6 as data: models and results.

Source: T. Tesan, P. Coscia, L. Ballan, "A CNN-RNN Framework for Image Annotation from
Visual Cues and Social Network Metadata", section 4.1. All figures are per cent on
NUS-WIDE, mean and standard deviation of 5 splits, k = 3.

Figures 4 to 6 are drawn without numbers. Their points at (m, M) = (12, 24) are rows of
Tables 2 and 3; for the smaller neighbourhoods the paper prints no values (it refers to
supplementary material), so there are none here: see `NOT_PRINTED`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SIZES = ((3, 6), (6, 12), (12, 24))  # (m, M), section 3.4
ENCODINGS = ("id", "w2v", "wnet")
MAPS = ("map_label", "map_image")
ALL = (*MAPS, "recall_label", "precision_label", "recall_image", "precision_image")
NOT_PRINTED = "drawn in the figure, printed nowhere in the paper"
UPPER_BOUND = "Upper bound"

TITLES = {
    "v_only": "v-only",
    "ltn": "LTN",
    "rtn": "RTN",
    "ltn_vecs": "LTN+Vecs",
    "ltn_allvecs": "LTN+AllVecs",
    "ltwin": "LTwin",
    "ltwin_rnn": "LTwin+RNN",
    "ltwin_2rnn": "LTwin+2RNN",
    "lzip": "LZip",
}


class Published(NamedTuple):
    """A published result in per cent; `sd` is None if only a mean is printed."""

    mean: float
    sd: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One model of the paper, as flags of a run.

    Attributes:
        arch: a key of `ARCHITECTURES` or `BASELINES`.
        neighbours: n, the encoding whose distance picks the neighbours; empty without.
        feed: f, the encoding that a joint model reads; None for a visual one.
        m, max_rank: (m, M); 0 for a baseline.
    """

    arch: str
    neighbours: str = "id"
    feed: str | None = None
    m: int = 12
    max_rank: int = 24

    @property
    def name(self) -> str:
        """The name of the preset, as `ltwin-n_id-f_w2v-m12-M24`; a v_only has no neighbours."""
        if self.arch == "v_only":
            return self.arch
        parts = [
            self.arch,
            f"n_{self.neighbours}" if self.neighbours else "",
            f"f_{self.feed}" if self.feed else "",
            f"m{self.m}-M{self.max_rank}" if self.m else "",
        ]
        return "-".join(filter(None, parts))

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings that a data set must have for it."""
        return tuple(dict.fromkeys(filter(None, (self.neighbours, self.feed))))


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        title: the method, with the publication where it is not the paper's own.
        row: how to run it; None for a method that is only quoted.
        published: metric → printed result.
        starred: metrics of methods that choose how many labels to give, which the
            upper bound does not hold for (the paper's ★).
    """

    title: str
    row: Row | None
    published: Mapping[str, Published]
    starred: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper: its caption in short, its columns and its lines."""

    number: int
    caption: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve of a figure: one model at the three sizes of neighbourhood."""

    title: str
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the paper: rows of panels, each with its curves, drawn for both mAPs."""

    number: int
    caption: str
    panels: Mapping[str, tuple[Series, ...]]


def _line(
    title: str, row: Row | None, *values: float | tuple[float, float] | None, starred: bool = False
) -> Line:
    """A line of Table 1; `starred` marks its precisions and recalls."""
    published = {
        metric: Published(*value) if isinstance(value, tuple) else Published(value, None)
        for metric, value in zip(ALL, values, strict=True)
        if value is not None
    }
    return Line(title, row, published, frozenset(published) - set(MAPS) if starred else frozenset())


def _maps(arch: str, neighbours: str, feed: str | None, *values: tuple[float, float]) -> Line:
    """A line of Table 2 or 3: mAP per label and per image."""
    published = {metric: Published(*value) for metric, value in zip(MAPS, values, strict=True)}
    return Line(TITLES[arch], Row(arch, neighbours, feed), published)


# fmt: off
TABLE_1 = Table(1, "best models beside other methods", ALL, (
    _line("Tag-only model + linear SVM (McAuley and Leskovec 2012)",
          Row("svm_tags", "", m=0, max_rank=0), 46.67, None, None, None, None, None),
    _line("Graphical model, all metadata (McAuley and Leskovec 2012)", None,
          49.00, None, None, None, None, None),
    _line("CNN + WARP (Gong et al. 2014)", None,
          None, None, 35.60, 31.65, 60.49, 48.59),
    _line("CNN-RNN (Wang et al. 2016)", None,
          None, None, 30.40, 40.50, 61.70, 49.90),
    _line("SR-RNN (Liu et al. 2017)", None,
          None, None, 50.17, 55.65, 71.35, 70.57, starred=True),
    _line("SR-RNN + Vecs (Liu et al. 2017)", None,
          None, None, 58.52, 63.51, 77.33, 76.21, starred=True),
    _line("SRN (Zhu et al. 2017)", None,
          60.00, 80.60, 41.50, 70.40, 58.70, 81.10, starred=True),
    _line("MangoNet (Zhang et al. 2019)", None,
          62.80, 80.80, 41.00, 73.90, 59.90, 80.60, starred=True),
    _line("LTN (Johnson et al. 2015)", None,
          (52.78, .34), (80.34, .07), (43.61, .47), (46.98, 1.01), (74.72, .16), (53.69, .13)),
    _line("LTN + Vecs (Johnson et al. 2015)", None,
          (61.88, .36), (80.27, .08), (57.30, .44), (54.74, .63), (75.10, .20), (53.46, .09)),
    _line(UPPER_BOUND, None,
          (100.0, .00), (100.0, .00), (65.82, .35), (60.68, 1.32), (92.09, .10), (66.83, .12)),
    _line("v-only", Row("v_only"),
          (45.05, .11), (76.88, .11), (42.31, .59), (43.74, 1.07), (71.41, .13), (51.36, .13)),
    _line("LTN", Row("ltn", "id"),
          (53.17, .12), (79.82, .16), (45.67, 1.75), (47.64, 2.18), (74.29, .13), (53.34, .17)),
    _line("LTN+Vecs", Row("ltn_vecs", "id", "id"),
          (54.86, .20), (81.34, .15), (46.56, 1.39), (50.10, 1.70), (75.67, .17), (54.37, .14)),
    _line("RTN", Row("rtn", "w2v"),
          (55.36, .34), (79.77, .27), (48.73, 2.77), (51.21, 2.61), (74.35, .29), (53.28, .24)),
    _line("LTwin", Row("ltwin", "w2v", "w2v"),
          (63.13, .31), (83.77, .06), (54.40, 1.33), (51.86, 1.58), (78.06, .05), (55.78, .13)),
))

TABLE_2 = Table(2, "visual models at (m, M) = (12, 24)", MAPS, (
    _maps("ltn", "id", None, (53.17, .12), (79.82, .16)),
    _maps("ltn", "w2v", None, (54.54, .13), (80.32, .16)),
    _maps("ltn", "wnet", None, (53.07, .17), (79.95, .24)),
    _maps("rtn", "id", None, (53.97, .27), (79.23, .27)),
    _maps("rtn", "w2v", None, (55.36, .34), (79.77, .27)),
    _maps("rtn", "wnet", None, (53.76, .33), (79.45, .30)),
))

TABLE_3 = Table(3, "joint models at (m, M) = (12, 24)", MAPS, (
    _maps("ltn_vecs", "id", "id", (54.86, .20), (81.34, .15)),
    _maps("ltn_allvecs", "id", "id", (56.61, .12), (81.28, .21)),
    _maps("lzip", "id", "id", (60.64, .14), (82.42, .32)),
    _maps("lzip", "w2v", "id", (61.24, .51), (82.36, .41)),
    _maps("lzip", "w2v", "w2v", (60.19, .57), (82.32, .15)),
    _maps("lzip", "id", "w2v", (62.33, .16), (82.91, .18)),
    _maps("ltwin", "id", "id", (56.79, .24), (82.64, .08)),
    _maps("ltwin", "id", "w2v", (63.09, .16), (83.70, .14)),
    _maps("ltwin", "w2v", "id", (57.73, .17), (83.00, .06)),
    _maps("ltwin", "w2v", "w2v", (63.13, .31), (83.77, .06)),
    _maps("ltwin", "id", "wnet", (55.12, .25), (81.48, .10)),
    _maps("ltwin", "wnet", "id", (56.83, .24), (82.64, .10)),
    _maps("ltwin", "wnet", "wnet", (54.01, .14), (81.06, .10)),
    _maps("ltwin_rnn", "id", "id", (58.87, .43), (82.95, .08)),
    _maps("ltwin_2rnn", "id", "id", (62.00, 1.44), (80.52, 2.79)),
    _maps("ltwin_2rnn", "id", "w2v", (63.04, .22), (83.02, .34)),
    _maps("ltwin_2rnn", "w2v", "w2v", (62.33, .33), (82.72, .37)),
    _maps("ltwin_2rnn", "id", "wnet", (62.35, .56), (82.56, .26)),
))
# fmt: on

TABLES = {str(table.number): table for table in (TABLE_1, TABLE_2, TABLE_3)}


def _curve(arch: str, neighbours: str, feed: str | None = None) -> Series:
    title = f"{TITLES[arch]} (n: {neighbours}" + (f", f: {feed})" if feed else ")")
    return Series(title, tuple(Row(arch, neighbours, feed, m, M) for m, M in SIZES))


def _curves_of_table_3(*feeds: set[str]) -> tuple[Series, ...]:
    """The models of Table 3 whose encodings, n and f together, are one of the sets `feeds`."""
    rows = [line.row for line in TABLE_3.lines if line.row]
    return tuple(
        _curve(row.arch, row.neighbours, row.feed) for row in rows if set(row.encodings) in feeds
    )


# Figures 5 and 6 name their curves in a legend; which ones they are is taken from Table 3.
FIGURES = {
    "4": Figure(
        4,
        "visual models and the size of the neighbourhood",
        {
            "visual": tuple(
                _curve(arch, encoding)
                for arch in ("ltn", "rtn")
                for encoding in ("id", "w2v", "wnet")
            )
            + (Series("v-only", (Row("v_only"),)),),
        },
    ),
    "5": Figure(
        5,
        "joint models fed binary vectors, neighbours by tags",
        {"π = id": _curves_of_table_3({"id"})},
    ),
    "6": Figure(
        6,
        "joint models and semantic embeddings",
        {
            "π = w2v": _curves_of_table_3({"w2v"}, {"id", "w2v"}),
            "π = wnet": _curves_of_table_3({"wnet"}, {"id", "wnet"}),
        },
    ),
}


def rows_of(shown: Table | Figure) -> list[Row]:
    """The models of a table or of a figure, each once, in its order."""
    if isinstance(shown, Table):
        return list(dict.fromkeys(line.row for line in shown.lines if line.row))
    curves = (series for panel in shown.panels.values() for series in panel)
    return list(dict.fromkeys(row for series in curves for row in series.rows))


def lines() -> Iterator[tuple[Table, Line]]:
    """Every line of every table."""
    return ((table, line) for table in TABLES.values() for line in table.lines)


SHOWN: tuple[Table | Figure, ...] = (*TABLES.values(), *FIGURES.values())
ROWS: dict[str, Row] = {row.name: row for shown in SHOWN for row in rows_of(shown)}


def published(row: Row) -> dict[str, Published]:
    """The paper's results of a model, by metric; empty if there are none."""
    return {
        metric: result
        for _, line in lines()
        if line.row == row
        for metric, result in line.published.items()
    }
