"""The command for curves: what it trains and scores, what it leaves out, what it writes."""

import numpy as np
import pandas as pd
import pytest
from helpers.tables import LABELS
from PIL import Image

from experiments import robustness, sweep
from experiments.paper import curves, study
from experiments.paper.conditions import OLD_HALF, UNCHANGED, Perturbation
from experiments.paper.curves import (
    CURVES,
    LOGISTIC,
    LTN,
    LTWIN,
    V_ONLY,
    Curve,
    Measurement,
    Series,
)
from experiments.paper.published import MAPS, Row
from experiments.reports import curve_report
from experiments.runs import options, plan, sweeping
from tagnet.data.dataset import PreparedDataset
from tagnet.system import console
from tagnet.system.files import read_json, write_json

BY_ID = Row("ltwin", "id", "id")
UNKNOWN = Perturbation(overlap=0.0)
SMALL = ("--hidden=4", "--max_epochs=1", "--splits=0")


def command(*flags):
    argv = ["robustness", *flags]
    return console.execute(robustness.Options, robustness.main, robustness.USAGE, argv)


def place(data, out):
    return f"--data={data}", f"--out={out}", *SMALL


def found_in(path):
    return read_json(path)["test"]


def names_of(*rows):
    return ",".join(row.name for row in rows)


@pytest.fixture
def made(monkeypatch):
    """Instead of training and scoring, the names of what would be trained and scored."""
    names = []

    def make(run, dataset, out, *, exports):
        if not (out / "metrics.json").exists():
            names.append(out.name)
            test = dict.fromkeys(MAPS, 0.5)
            write_json(out / "metrics.json", {"test": test, "seconds": 1.0})

    def scores(study, job, data):
        shape = len(study.dataset.split(job.split)["test"]), len(LABELS)

        def score(situation, test):
            names.append(f"{job.name} {test.name}")
            return np.random.default_rng(len(test.name)).random(shape), 0

        return score

    monkeypatch.setattr(study, "make", make)
    monkeypatch.setattr(study.Study, "_scores", scores)
    return names


def test_nothing_is_made_twice(made, prepared, tmp_path, capsys):
    flags = (*place(prepared, tmp_path), f"--only={LTN.name}")
    assert command(*flags, "--curve=wrong_tags") == 0
    run = f"{LTN.name}-split0"
    told = ["usual", *(f"wrong_{value}" for value in curves.WRONG[1:])]
    assert made == [run, *(f"{run} {name}" for name in told)]
    made.clear()
    capsys.readouterr()
    assert command(*flags, "--curve=wrong_tags,expectation") == 0
    assert made == [f"{run} samples_{number}" for number in curves.SAMPLES]
    assert "1 run, 11 conditions; 1 still to run or score" in capsys.readouterr().out
    made.clear()
    assert command(*flags, "--curve=wrong_tags,expectation") == 0
    assert made == []


@pytest.mark.large
def test_killed_between_two_conditions_it_goes_on(made, prepared, tmp_path, monkeypatch):
    write, written = study.write_json, []

    def killed(path, value):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, value)

    monkeypatch.setattr(study, "write_json", killed)
    flags = (*place(prepared, tmp_path), f"--only={LTN.name}", "--curve=wrong_tags")
    assert command(*flags) == console.INTERRUPTED
    monkeypatch.setattr(study, "write_json", write)
    before = {path: path.stat().st_mtime_ns for path in written}
    made.clear()
    assert command(*flags) == 0
    assert made == [f"{LTN.name}-split0 wrong_{value}" for value in curves.WRONG[3:]]
    assert {path: path.stat().st_mtime_ns for path in written} == before


@pytest.fixture(scope="module")
def out(prepared, tmp_path_factory):
    """A folder with two small models, one of them trained with half of the vocabulary."""
    out = tmp_path_factory.mktemp("out")
    half = Series(
        "half", (Measurement(BY_ID, OLD_HALF, OLD_HALF), Measurement(BY_ID, OLD_HALF, UNKNOWN))
    )
    few = Series(
        "few",
        (
            Measurement(LTN, UNCHANGED, UNCHANGED),
            Measurement(LTN, UNCHANGED, Perturbation(dropped=0.9)),
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CURVES, "small", Curve("small", "", ("one", "two"), {"": (half, few)}))
        assert command(*place(prepared, out), "--curve=small") == 0
    return out


def test_the_usual_condition_gives_what_the_run_gave(out):
    run = out / f"{LTN.name}-split0"
    assert found_in(run / "conditions" / "usual.json") == found_in(run / "metrics.json")


def test_the_old_half_gives_what_a_run_trained_with_it_gave(out):
    run = out / "altered" / f"overlap_1.0-{BY_ID.name}-split0"
    assert found_in(run / "conditions" / "overlap_1.0.json") == found_in(run / "metrics.json")
    other = found_in(run / "conditions" / f"{UNKNOWN.name}.json")
    assert other["map_label"] != found_in(run / "metrics.json")["map_label"]


def test_images_without_tags_are_counted(out, prepared):
    dataset = PreparedDataset(prepared)
    untagged = int((dataset.tags.lengths[dataset.split(0)["test"]] == 0).sum())
    run = out / f"{LTN.name}-split0" / "conditions"
    assert read_json(run / "usual.json")["by_features"] == untagged > 0
    assert read_json(run / "dropped_0.9.json")["by_features"] > untagged


def test_sweeps_share_the_runs(out, prepared, monkeypatch, capsys):
    def forbidden(*_, **__):
        raise AssertionError

    monkeypatch.setattr(sweeping, "make", forbidden)
    argv = ["sweep", *place(prepared, out), "--tables=2", f"--only={LTN.name}"]
    assert console.execute(sweep.Options, sweep.main, sweep.USAGE, argv) == 0
    assert "1 run; 1 done, 0 to make" in capsys.readouterr().out


@pytest.mark.large
def test_models_of_all_kinds(prepared, tmp_path):
    """Tags change the models that read them and no other; a half gives what its run gave."""
    rows = [V_ONLY, LTN, LTWIN, LOGISTIC, BY_ID]
    flags = (*place(prepared, tmp_path), f"--only={names_of(*rows)}")
    assert command(*flags, "--curve=dropped_tags,vocabulary") == 0
    for row in rows:
        run = tmp_path / f"{row.name}-split0"
        assert found_in(run / "conditions" / "usual.json") == found_in(run / "metrics.json")
        maps = {found_in(path)["map_label"] for path in (run / "conditions").iterdir()}
        assert len(maps) == 1 if row == V_ONLY else len(maps) > 3
    for row in (LTN, LTWIN, BY_ID):
        run = tmp_path / "altered" / f"overlap_1.0-{row.name}-split0"
        assert found_in(run / "conditions" / "overlap_1.0.json") == found_in(run / "metrics.json")


def test_what_the_data_set_lacks_is_named(prepared, tmp_path, capsys):
    flags = (f"--data={prepared}", f"--out={tmp_path / 'out'}", *SMALL, "--dry_run")
    assert command(*flags, "--curve=size,vocabulary") == 0
    said = capsys.readouterr().out
    assert (
        "ltn-n_id-m48-M96: skipped, the data set has 6 neighbours per image (prepare it with"
        in said
    )
    assert "ltwin-n_id-f_wnet-m12-M24: skipped, the data set has no wnet (it has id, w2v)" in said
    assert not (tmp_path / "out").exists()


def test_a_failed_run_is_named_and_the_figure_has_the_others(
    prepared, tmp_path, monkeypatch, capsys
):
    def make(run, dataset, out, *, exports):
        raise MemoryError("no room")

    monkeypatch.setattr(study, "make", make)
    flags = (f"--data={prepared}", f"--out={tmp_path}", *SMALL, f"--only={LTN.name}")
    with pytest.raises(SystemExit) as ended:
        command(*flags, "--curve=expectation")
    assert ended.value.code == f"error: 1 of 1 run failed; see {tmp_path / 'failed'}"
    assert f"  failed: {LTN.name}-split0" in capsys.readouterr().out
    assert not (tmp_path / "curves").exists()  # there is nothing to draw


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "--curve must be one of vocabulary, dropped_tags, "),
        (["--curve=x"], "--curve must be one of vocabulary, dropped_tags, "),
        (["--curve=size", "--only=x"], "--only must be one of ltn-n_id-m1-M2, "),
        (["--curve=size", "--splits=x"], "--splits must be numbers from 0; received 'x'"),
        (["--curve=size", "--splits=2"], "split must be 0 to 1; received 2"),
        (["--curve=size", "--hidden=0"], "--hidden must be at least 1; received 0"),
    ],
)
def test_one_line_for_a_mistake(refused, given, line):
    refused(command, given, line)


def test_trainings_are_shared_between_curves(prepared):
    dataset = PreparedDataset(prepared)
    flags = options.Flags(data=prepared)
    common = plan.common_of(flags, dataset)
    wanted = [CURVES[name] for name in ("pool", "expectation", "order")]
    jobs = study.trainings(wanted, [LTN, Row("rtn", "id")], (0, 1), common, dataset)
    assert [job.name for job in jobs if job.split == 0] == [
        "ltn-n_id-m12-M24-split0",
        "pool_train-ltn-n_id-m12-M24-split0",
        "rtn-n_id-m12-M24-split0",
        "shuffled_True-rtn-n_id-m12-M24-split0",
    ]
    assert [job.settings.pool for job in jobs if job.split == 1] == [
        "open",
        "train",
        "open",
        "open",
    ]
    assert {test.samples for test in jobs[0].tests} == {None, *curves.SAMPLES}


@pytest.mark.parametrize("name", CURVES)
def test_curves_have_a_measure_for_every_tick(name):
    curve = CURVES[name]
    for panel in curve.panels.values():
        assert len({series.title for series in panel}) == len(panel) <= 6  # markers that there are
        for series in panel:
            assert len(series.measures) == len(curve.ticks)
            assert (series.reference is not None) == bool(curve.reference)


def made_up(curve):
    """Results of three splits whose mean tells the place of the measure."""
    return {
        measure: {
            split: {"test": {metric: 0.1 + number / 100 + split / 1000 for metric in MAPS},
                    "by_features": number}
            for split in range(3)
        }
        for number, measure in enumerate(curve.measures)
    }  # fmt: skip


def test_a_curve_is_a_figure_a_table_and_all_values(tmp_path):
    curve = CURVES["vocabulary"]
    curve_report.write(tmp_path, "vocabulary", curve, made_up(curve))
    frame = pd.read_csv(tmp_path / "vocabulary.csv")
    per_series = len(curve.ticks) + bool(curve.reference)
    assert len(frame) == 3 * per_series * sum(len(panel) for panel in curve.panels.values())
    assert frame["map_label"][:3].tolist() == pytest.approx([10.0, 10.1, 10.2])
    text = (tmp_path / "vocabulary.md").read_text()
    assert "over 3 splits" in text
    assert text.count(" ± 0.10 |") == 2 * len(frame) / 3
    assert (tmp_path / "vocabulary.svg").read_text().startswith("<?xml")
    with Image.open(tmp_path / "vocabulary.png") as image:
        assert min(image.size) > 400


def test_the_same_results_are_the_same_files(tmp_path):
    curve = CURVES["order"]
    for folder in ("one", "other"):
        curve_report.write(tmp_path / folder, "order", curve, made_up(curve))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_points_that_were_not_run_are_left_out(tmp_path):
    curve = CURVES["vocabulary"]
    results = {m: by for m, by in made_up(curve).items() if m.row == Row("ltwin", "w2v", "id")}
    curve_report.write(tmp_path, "vocabulary", curve, results)
    assert set(pd.read_csv(tmp_path / "vocabulary.csv")["panel"]) == {"neighbours by w2v"}
    assert "neighbours by wnet" not in (tmp_path / "vocabulary.md").read_text()


def test_what_is_compared_is_told_apart():
    measures = [measure for curve in CURVES.values() for measure in curve.measures]
    places = {(measure.row.name, measure.training.name, measure.test.name) for measure in measures}
    assert len(places) == len(set(measures))
