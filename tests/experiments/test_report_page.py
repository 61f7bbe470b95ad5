"""What a report says first, and how its rows are called and compared."""

import json
import re

import numpy as np
import pytest
from helpers.runs import ROWS, make_run, make_runs

from experiments import report
from experiments.paper.published import Row
from experiments.reports import findings, significance, tables
from experiments.reports.report import remarks
from experiments.runs import results
from tagnet.system import console
from tagnet.system.files import write_json


def command(*arguments):
    return console.execute(report.Options, report.main, report.USAGE, ["report", *arguments])


def read(folder):
    return results.read_groups(results.find([folder])[0])


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Four rows of three splits, and one of another size of neighbourhood."""
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder)
    make_run(folder / "smaller", Row("ltn", m=3, max_rank=6), 0)
    return read(folder)


def test_of_another_data_set_nothing_is_subtracted_and_only_what_ran_is_shown(tmp_path):
    make_runs(tmp_path, rows=ROWS[:2], dataset="my photos")
    assert command(str(tmp_path), f"--out={tmp_path / 'out'}") == 0
    written = [path for path in (tmp_path / "out").rglob("table1.*") if path.is_file()]
    assert len(written) == 3
    page = tmp_path / "out" / "index.html"
    for path in [*written, page]:
        text = path.read_text()
        assert "CNN-RNN" not in text and "LTwin" not in text, path
        assert "v-only" in text, path
    assert "difference" not in "".join(path.read_text() for path in written)
    assert "difference</th>" not in page.read_text()
    assert "<h1>Report: 2 models on my photos</h1>" in page.read_text()
    assert "only the order of the models can be compared" in page.read_text()


def test_lines_about_nothing_are_left_out(groups, tmp_path):
    counts = {run.results["test"]["labels_left_out"] for group in groups for run in group.runs}
    assert counts == {0}
    lines = "\n".join(remarks([tmp_path], groups, []))
    assert "Skipped in the test averages: " in lines
    assert "labels without a positive" not in lines


def test_three_findings(groups):
    first, second, third = findings.findings(groups, tables.titles(groups))
    for line, metric in ((first, "map_label"), (second, "map_image")):
        best, following = sorted(groups, key=lambda group: -group.mean(metric))[:2]
        titles = tables.titles(groups)
        assert f"{titles[best.name]} with {best.mean(metric):.2f}" in line
        assert titles[following.name] in line
    values = {group.row: group.values("map_label") for group in groups}
    gain = np.mean(values[ROWS[1]] - values[ROWS[0]])
    assert f"mAP per label: {gain:+.2f} points from neighbours, " in third


@pytest.mark.parametrize(
    ("gaps", "line"),
    [
        (
            (0.2, 0.201, 0.202),
            "It is significantly above the next, v-only (by 20.10 points, p = 0.",
        ),
        (
            (0.2, -0.1, 0.0),
            "It is not significantly above the next, v-only (by 3.33 points, p = 0.",
        ),
        ((0.2,), "The next is v-only, 20.00 points behind; that cannot be tested"),
    ],
)
def test_whether_the_best_is_significantly_above_the_next(tmp_path, gaps, line):
    for split, gap in enumerate(gaps):
        for row, value in ((ROWS[0], 0.5), (ROWS[1], 0.5 + gap)):
            directory = tmp_path / f"{row.name}-{split}"
            make_run(directory, row, split)
            written = json.loads((directory / "metrics.json").read_text())
            written["test"]["map_label"] = value
            write_json(directory / "metrics.json", written)
    found = read(tmp_path)
    assert line in findings.findings(found, tables.titles(found))[0]


def test_one_model_alone_has_findings(tmp_path):
    make_runs(tmp_path, rows=ROWS[:1], splits=(0,))
    found = read(tmp_path)
    told = findings.findings(found, tables.titles(found))
    assert told[0].endswith("(1 run).")
    assert told[2].startswith("Easiest label: ") and told[2].endswith(" by v-only.")


def test_rows_are_called_so_that_they_are_told_apart(groups):
    titles = tables.titles(groups)
    assert titles["ltwin-n_id-f_id-m12-M24"] == "LTwin 12 of 24 (n: id, f: id)"
    assert titles["ltn-n_id-m3-M6"] == "LTN 3 of 6 (n: id)"
    assert titles["v_only"] == "v-only"
    assert len(set(titles.values())) == len(groups)


def test_a_heat_map_has_every_pair_and_colours_what_is_significant(groups):
    titles = tables.titles(groups)
    maps = re.findall('<table class="heat">.*?</table>', significance.heat_maps(groups, titles))
    assert len(maps) == 2
    ordered = sorted(groups, key=lambda group: -group.mean("map_label"))
    rows = re.findall('<tr><th scope="row" class="name">(.*?)</th>(.*?)</tr>', maps[0])
    assert [name for name, _ in rows] == [
        f"{number}. {titles[group.name]}" for number, group in enumerate(ordered, 1)
    ]
    for (_, cells), one in zip(rows, ordered, strict=True):
        told = re.findall(r"<td(.*?)>([^<]*)</td>", cells)
        for (marks, text), other in zip(told, ordered, strict=True):
            pair = results.compare(one, other, "map_label") if one is not other else None
            assert text == (f"{pair.difference:+.1f}" if pair else "")
            kind = "more" if pair and pair.difference > 0 else "less"
            significant = pair is not None and findings.p_value(pair) < 0.05
            assert (f'class="{kind}"' in marks) == significant


@pytest.mark.large
def test_in_a_browser_the_heat_maps_are_filtered(browser, tmp_path):
    make_runs(tmp_path)
    make_run(tmp_path / "smaller", Row("ltn", m=3, max_rank=6), 0)
    assert command(str(tmp_path)) == 0
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto((tmp_path / "report" / "index.html").as_uri())
    table = tab.locator(".heat").first
    assert table.locator("tbody tr:visible").count() == 5
    tab.get_by_label("Show only rows whose name contains").fill("ltwin")
    assert table.locator("tbody tr:visible").count() == 1
    assert table.locator("thead th:visible").count() == 2  # of the names and the one row
    tab.get_by_label("Show only rows whose name contains").fill("")
    assert table.locator("tbody td:visible").count() == 25
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    # While a wide table is scrolled its rows' names stay.
    box = tab.locator("#table1 .wide")
    box.evaluate("box => { box.scrollLeft = 300 }")
    name = box.locator("tbody th").first
    assert name.bounding_box()["x"] == pytest.approx(box.bounding_box()["x"], abs=1)
    tab.close()
