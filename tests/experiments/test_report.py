"""The report: our means beside the paper's, the same files from the same runs, text escaped."""

import csv
import html.parser
import json
import math
import re
import shutil
import subprocess
import xml.dom.minidom

import numpy as np
import pytest
from helpers.runs import ROWS, make_run, make_runs
from helpers.tables import one_line
from PIL import Image
from scipy import stats

from experiments import plots, report
from experiments.paper import published
from experiments.paper.published import Row
from experiments.reports import tables
from experiments.runs import results
from tagnet.evaluation.calibration import CalibrationReport, reliability
from tagnet.system import console, locks
from tagnet.system.checksums import write_checksums
from tagnet.system.files import write_json

NASTY = ("a&b", "<script>alert(1)</script>", "50% $x_1$", "plain", "--> |c|")


def command(*arguments):
    return console.execute(report.Options, report.main, report.USAGE, ["report", *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of runs and its report."""
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, names=NASTY)
    make_run(folder / "smaller", Row("ltn", m=3, max_rank=6), 0, names=NASTY, judged=True)
    (folder / "lzip-stopped").mkdir()
    write_json(folder / "lzip-stopped" / "config.json", {})
    assert command(str(folder)) == 0
    return folder, folder / "report"


def test_the_files(made):
    _, out = made
    figures = ("figure4", "gains", "training", "calibration")
    names = ("table1", "table2", "table3", "all")
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *("report.md", "index.html", "significance.csv", "labels.csv", "costs.csv"),
        *(f"figures/{name}.{ending}" for name in figures for ending in ("svg", "pdf", "png")),
        *(f"tables/{name}.{ending}" for name in names for ending in ("md", "csv", "tex")),
    }


def test_a_reliability_diagram_shows_filled_bins_and_the_errors():
    before = reliability(np.array([0.1, 0.15, 0.9]), np.array([0, 1, 1]), bins=5)
    after = reliability(np.array([0.5, 0.5, 0.9]), np.array([0, 1, 1]), bins=5)
    (axes,) = plots.reliability([("ltn", CalibrationReport(3, before, after))]).axes
    _, first, second = axes.get_lines()
    np.testing.assert_allclose(first.get_xydata(), [[0.125, 0.5], [0.9, 1]])
    np.testing.assert_allclose(second.get_xydata(), [[0.5, 0.5], [0.9, 1]])
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["before: error 28.33%", "after: error 3.33%"]


def test_means_and_deviations_are_those_of_the_runs(made):
    folder, out = made
    with open(out / "tables" / "table3.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 18
    line = next(line for line in lines if line["model"] == "LTwin" and line["runs"] == "3")
    runs = [
        json.loads((folder / f"{ROWS[3].name}-split{split}" / "metrics.json").read_text())
        for split in range(3)
    ]
    values = [100 * run["test"]["map_label"] for run in runs]
    assert float(line["map_label"]) == pytest.approx(np.mean(values), abs=1e-9)
    assert float(line["map_label_sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    # Table 3 of the paper: LTwin, n id, f id.
    assert (line["map_label_paper"], line["map_label_paper_sd"]) == ("56.79", "0.24")
    difference = float(line["map_label"]) - 56.79
    assert float(line["map_label_difference"]) == pytest.approx(difference, abs=1e-9)


def test_every_number_of_the_papers_tables_is_shown(made):
    groups = results.read_groups(results.find([made[0]])[0])
    for table in published.TABLES.values():
        shown = tables.paper_table(table, groups)
        text, page = tables.markdown(shown), tables.html_table(shown)
        for line in table.lines:
            for metric, (mean, sd) in line.published.items():
                star = " ★" if metric in line.starred else ""
                printed = f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}") + star
                assert f"| {printed} |" in text
                assert f"<td>{printed}</td>" in page


def test_the_best_of_ours_alone_is_bold(made):
    _, out = made
    text = (out / "tables" / "table1.md").read_text()
    values = {
        line.split("|")[1].strip(): line.split("|")[5].strip()
        for line in text.splitlines()[2:]
        if line.split("|")[4].strip()
    }
    bold = [title for title, value in values.items() if value.startswith("**")]
    numbers = {title: float(value.strip("*").split(" ")[0]) for title, value in values.items()}
    bound = numbers.pop("Upper bound")
    assert bound == 100
    assert bold == [max(numbers, key=numbers.__getitem__)]


def test_what_is_left_out_is_said(made):
    _, out = made
    text = (out / "report.md").read_text()
    assert (
        "Data set nus_wide: 40 train, 10 validation, 30 test images, 5 labels; splits 0, 1, 2"
        in text
    )
    assert re.search(r"Skipped in the test averages: (\d to )?\d images without a label\.", text)
    assert "Skipped because it is not finished: lzip-stopped." in text


def test_text_of_users_is_escaped(made):
    _, out = made
    page = (out / "index.html").read_text()
    assert page.count("<script>") == page.count("<script") == 1  # which filters the heat maps
    assert "alert(1)" not in page.split("<script>")[1]
    parser = html.parser.HTMLParser()
    parser.feed(page)
    assert "http://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)  # nothing is loaded
    for path in (out / "figures").glob("*.svg"):
        xml.dom.minidom.parse(str(path))
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        xml.dom.minidom.parseString(svg)


def test_ids_on_the_page_are_unique(made):
    page = (made[1] / "index.html").read_text()
    sections = re.findall(r'<section id="([^"]*)"', page)
    drawings = re.findall(r'<g id="([^"]*)"', page)
    assert len(set(sections + drawings)) == len(sections + drawings)


def test_a_baseline_has_no_settings_to_differ_in(tmp_path):
    baseline = Row("svm_tags", "", m=0, max_rank=0)
    make_run(tmp_path / "tags", baseline, 0, pool="train", preset="baseline")
    make_run(tmp_path / "graph", ROWS[1], 0, hidden=4, precision="float32")
    groups = results.read_groups(results.find([tmp_path])[0])
    assert {group.name for group in groups} == {baseline.name, ROWS[1].name}
    make_run(tmp_path / "other", ROWS[1], 0, hidden=5, precision="float32")
    names = {group.name for group in results.read_groups(results.find([tmp_path])[0])}
    graphs = {f"{ROWS[1].name} hidden={hidden}" for hidden in (4, 5)}
    assert names == {baseline.name} | graphs


def test_latex_escapes(tmp_path):
    make_runs(tmp_path, rows=ROWS[1:2], splits=(0,))
    make_run(tmp_path / "other", ROWS[1], 0, pool="closed_&_100%")
    assert command(str(tmp_path), f"--out={tmp_path / 'out'}") == 0
    text = (tmp_path / "out" / "tables" / "table2.tex").read_text()
    assert "pool=closed\\_\\&\\_100\\%" in text
    assert "±" not in text


def test_the_same_runs_give_the_same_files(tmp_path):
    make_runs(tmp_path / "runs", rows=ROWS[1:2])
    for out in ("one", "two"):
        assert command(str(tmp_path / "runs"), f"--out={tmp_path / out}") == 0
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".svg", ".pdf", ".png", ".html"}
    for path in files:
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        one, two = (file.read_bytes().partition(b"<footer>")[0] for file in (path, again))
        assert one == two, path  # the footer has the command and the day


def test_what_a_killed_report_left_is_removed_and_nothing_else(tmp_path):
    make_runs(tmp_path / "runs", rows=ROWS[1:2], splits=(0,))
    figures = tmp_path / "out" / "figures"
    figures.mkdir(parents=True)
    left = [figures / ".tmp-0123abcd-training.svg", tmp_path / "out" / ".tmp-0123abcd-report.md"]
    kept = [figures / ".tmp-0123abcd-mine.svg", figures / "mine.svg.tmp"]
    for path in [*left, *kept]:
        path.touch()
    assert command(str(tmp_path / "runs"), f"--out={tmp_path / 'out'}") == 0
    assert [path.exists() for path in [*left, *kept]] == [False, False, True, True]


def test_one_report_at_a_time(made, capsys):
    folder, out = made
    with locks.exclusive(out, "report"):
        assert command(str(folder)) == 2
    assert f"{out}: is in use by process " in one_line(capsys)


def test_significance_is_that_of_scipy(made):
    folder, _ = made
    finished, _ = results.find([folder])
    groups = {group.row: group for group in results.read_groups(finished)}
    one, other = groups[ROWS[0]], groups[ROWS[3]]
    found = results.compare(one, other, "map_label")
    expected = stats.ttest_rel(one.values("map_label"), other.values("map_label"))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    # Nadeau and Bengio: 1/n becomes 1/n + test/train in the variance, so t shrinks by its root.
    shrunk = expected.statistic * math.sqrt((1 / 3) / (1 / 3 + 30 / 40))
    assert found.p_corrected == pytest.approx(2 * stats.t.sf(abs(shrunk), 2), rel=1e-9)
    assert found.pairs == 3


def test_seeds_of_one_split_are_not_corrected_for_overlap(tmp_path):
    for seed in (0, 1):
        for row in ROWS[:2]:
            make_run(tmp_path / f"{row.name}-{seed}", row, 0, seed=seed)
    groups = results.read_groups(results.find([tmp_path])[0])
    assert results.compare(*groups, "map_label").p_corrected is None


def test_two_rows_compared(made, capsys):
    names = f"{ROWS[0].name},{ROWS[3].name}"
    assert command(str(made[0]), f"--compare={names}") == 0
    said = capsys.readouterr().out
    assert re.search(r"mAP per label: v_only - ltwin-.* = [+-]\d+\.\d\d points over 3 splits", said)


def test_runs_of_two_data_sets_are_no_pairs(tmp_path):
    """Their images differ, whatever the numbers of split and seed."""
    for number, data in enumerate(("/a", "/b")):
        make_runs(tmp_path / str(number), rows=ROWS[number : number + 1], data=data)
    one, other = results.read_groups(results.find([tmp_path / "0", tmp_path / "1"])[0])
    assert results.compare(one, other, "map_label") is None
    assert results.common_runs(one, one) == [(run, run) for run in one.runs]


def test_runs_with_other_labels_are_reported_apart(tmp_path, capsys):
    make_run(tmp_path / "run", ROWS[0], 0)
    make_run(tmp_path / "run2", ROWS[1], 0, names=NASTY)
    assert command(str(tmp_path)) == 2
    line = r"run2?: all runs must have the same labels; its \d differ from the \d of .*; report"
    assert re.search(line, one_line(capsys))
    assert not (tmp_path / "report").exists()


def test_two_rows_are_compared_whatever_the_labels_of_a_third(tmp_path, capsys):
    make_runs(tmp_path / "runs", rows=ROWS[:2], splits=(0, 1))
    make_run(tmp_path / "runs" / "third", ROWS[3], 0, names=NASTY)
    folder = str(tmp_path / "runs")
    assert command(folder, f"--compare={ROWS[0].name},{ROWS[1].name}") == 0
    assert "points over 2 splits" in capsys.readouterr().out
    assert command(folder, f"--compare={ROWS[0].name},{ROWS[3].name}") == 2
    assert "all runs must have the same labels" in one_line(capsys)


def test_the_metrics_of_each_row_are_printed(tmp_path, capsys):
    make_runs(tmp_path / "runs", rows=ROWS[:1], splits=(0,))
    assert command(str(tmp_path / "runs")) == 0
    (metrics,) = (tmp_path / "runs").glob("*/metrics.json")
    test = json.loads(metrics.read_text())["test"]
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("v_only"))
    assert line.split()[1:] == [f"{100 * test[name]:.2f}" for name in results.TITLES]


def test_photographs_are_shown_where_there_are_any(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (300, 200), "red").save(data / "one.png")
    (data / "cut.png").write_bytes((data / "one.png").read_bytes()[:90])
    rows = [{"path": str(data / f"{name}.png")} for name in ("cut", "one", "missing")]
    rows.append({})
    lines = [json.dumps({"image_id": str(number)} | row) for number, row in enumerate(rows)]
    (data / "manifest.jsonl").write_text("\n".join(lines))
    make_runs(tmp_path / "runs", rows=ROWS[:1], splits=(0,), data=data)
    assert command(str(tmp_path / "runs")) == 0
    page = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 1
    assert "photos: none" not in capsys.readouterr().out
    moved = shutil.move(data / "one.png", tmp_path / "runs" / "one.png")
    assert command(str(tmp_path / "runs")) == 0
    line = f"photos: none of the test split found in the folders that {data} names; see --photos"
    assert line in capsys.readouterr().out.splitlines()
    assert command(str(tmp_path / "runs"), f"--photos={moved.parent}") == 0
    assert "photos: none" not in capsys.readouterr().out
    write_checksums(data, ["manifest.jsonl"])
    assert command(str(tmp_path / "runs")) == 0
    (data / "manifest.jsonl").write_text("\n".join(lines)[:-9])
    assert command(str(tmp_path / "runs")) == 2
    line = "manifest.jsonl: checksum mismatch .*; prepare the data again"
    assert re.search(line, one_line(capsys))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give at least one folder of runs; received none"),
        (["{}/none"], "none: no such folder"),
        (
            ["{}/empty"],
            "empty: no finished run (config.json and metrics.json) found",
        ),
        (["{}", "--compare=a"], "--compare must name two rows (a,b); received 'a'"),
        (["{}", "--compare=a,b"], "--compare must name two of v_only; received 'a'"),
        (["{}", "--compare=v_only,v_only"], "--compare needs at least two common splits"),
        (["{}", "--photos=/none"], "--photos must be a folder; received '/none'"),
        (["{}", "{}"], "same settings, split 0 and seed 0 as"),
    ],
)
def test_one_line_for_a_mistake(tmp_path, capsys, arguments, line):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "run", ROWS[0], 0)
    assert command(*(argument.format(tmp_path) for argument in arguments)) == 2
    assert line in one_line(capsys)


@pytest.mark.parametrize("file", ["config.json", "metrics.json"])
def test_a_run_that_lacks_something_is_one_line(tmp_path, capsys, file):
    make_run(tmp_path / "run", ROWS[0], 0)
    (tmp_path / "run" / file).write_text("{}")
    assert command(str(tmp_path)) == 2
    assert f"{file}: lacks the field" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page(made, tmp_path):
    picture = tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
    page = (made[1] / "index.html").as_uri()
    subprocess.run(["chromium", *flags, page], check=True, capture_output=True, timeout=120)
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(2**24)) > 20
