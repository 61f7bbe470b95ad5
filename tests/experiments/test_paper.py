"""The paper's tables as data, against a second transcription made column by column, from below."""

import csv
from pathlib import Path

import pytest

from experiments.paper import published
from experiments.runs.options import BASELINES
from tagnet.models.architectures import ARCHITECTURES, JOINT

METRICS = {
    "mAP_lab": "map_label",
    "mAP_img": "map_image",
    "rec_lab": "recall_label",
    "prec_lab": "precision_label",
    "rec_img": "recall_image",
    "prec_img": "precision_image",
}


def transcribed():
    """(table, metric, title, n, f) → (mean, sd, starred), as `paper_tables.csv` has them."""
    with open(Path(__file__).parent / "paper_tables.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            starred = row["result"].endswith("*")
            mean, _, sd = row["result"].rstrip("*").partition("±")
            key = (row["table"], METRICS[row["metric"]], row["title"], row["n"], row["f"])
            yield key, (float(mean), float(sd) if sd else None, starred)


def test_every_printed_number_equals_a_second_transcription():
    typed_in = {}
    for table, line in published.lines():
        n = line.row.neighbours if line.row and line.row.arch != "v_only" else ""
        f = (line.row.feed if line.row else None) or ""
        for metric, (mean, sd) in line.published.items():
            key = (str(table.number), metric, line.title, n, f)
            assert key not in typed_in
            typed_in[key] = (mean, sd, metric in line.starred)
    again = list(transcribed())
    assert len(again) == len(dict(again))
    assert typed_in == dict(again)


def test_the_tables_have_as_many_lines_as_in_the_paper():
    assert [len(table.lines) for table in published.TABLES.values()] == [16, 6, 18]


def test_a_model_has_the_same_results_in_every_table():
    seen = {}
    for _, line in published.lines():
        for metric, result in line.published.items():
            if line.row:
                assert seen.setdefault((line.row, metric), result) == result


def test_presets_can_be_run():
    for name, row in published.ROWS.items():
        assert name == row.name
        if row.arch in ARCHITECTURES:
            assert (row.feed is not None) == (row.arch in JOINT)
            assert (row.m, row.max_rank) in published.SIZES
        else:
            assert row.arch in BASELINES


def test_the_figures_points_at_the_largest_neighbourhood_are_printed_and_no_others():
    for number in published.FIGURES:
        for row in published.rows_of(published.FIGURES[number]):
            printed = set(published.published(row))
            assert printed >= set(published.MAPS) if row.max_rank == 24 else not printed


@pytest.mark.parametrize(("number", "curves"), [("4", 7), ("5", 6), ("6", 12)])
def test_the_figures_curves(number, curves):
    panels = published.FIGURES[number].panels.values()
    assert sum(len(panel) for panel in panels) == curves
    assert all(
        [(row.m, row.max_rank) for row in series.rows] == list(published.SIZES)
        for panel in panels
        for series in panel
        if series.title != "v-only"
    )


def test_table_3_and_the_figures_have_the_models_the_paper_counts():
    assert len(published.rows_of(published.TABLES["1"])) == 6
    assert len(published.rows_of(published.TABLES["2"])) == 6
    assert len(published.rows_of(published.TABLES["3"])) == 18
