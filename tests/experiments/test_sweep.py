"""The sweep: what is missing and nothing else, whatever fails, stops or works beside it."""

import json
import shutil
import threading

import pytest
from helpers.tables import one_line

from experiments import sweep
from experiments.paper import published
from experiments.runs import plan, sweeping
from tagnet.data.dataset import PreparedDataset
from tagnet.system import console, locks
from tagnet.system.files import write_json

MAPS = {"map_label": 0.5, "map_image": 0.75}


@pytest.fixture
def made(monkeypatch):
    """Instead of training, a run writes its mark; the list has the names of the runs made."""
    names = []

    def make(run, dataset, out, *, exports):
        assert not exports
        names.append(out.name)
        write_json(out / "metrics.json", {"test": MAPS, "seconds": 60.0})

    monkeypatch.setattr(sweeping, "make", make)
    monkeypatch.setattr(sweeping, "forget_graphs", lambda: None)
    return names


def command(*flags):
    return console.execute(sweep.Options, sweep.main, sweep.USAGE, ["sweep", *flags])


@pytest.fixture
def flags(prepared, tmp_path):
    return (f"--data={prepared}", f"--out={tmp_path / 'out'}", "--tables=2")


ROWS = [f"{arch}-n_{encoding}-m12-M24" for arch in ("ltn", "rtn") for encoding in ("id", "w2v")]
RUNS = [f"{row}-split{split}" for split in (0, 1) for row in ROWS]


def test_it_makes_the_rows_of_all_splits_and_says_what_it_leaves_out(made, flags, capsys):
    assert command(*flags) == 0
    assert made == RUNS
    said = capsys.readouterr().out
    assert "4 rows x 2 splits = 8 runs; 0 done, 8 to make;" in said
    assert "rtn-n_wnet-m12-M24: skipped, the data set has no wnet (it has id, w2v)" in said
    assert "ltn-n_id-m12-M24: (m, M) = (3, 6) (scaled to the data set)" in said
    assert f"[1 of 8] {RUNS[0]}: mAP per label 50.00, per image 75.00; 7 left, about 7 min" in said
    assert "8 of 8 runs done" in said


def test_it_makes_what_is_missing_and_nothing_else(made, flags, capsys):
    assert command(*flags, "--splits=0") == 0
    assert command(*flags, f"--only={ROWS[1]},{ROWS[3]}") == 0
    assert made == [*RUNS[:4], RUNS[5], RUNS[7]]
    made.clear()
    capsys.readouterr()
    assert command(*flags, "--dry_run") == 0
    assert "8 runs; 6 done, 2 to make, about 2 min" in capsys.readouterr().out
    assert made == []
    assert command(*flags) == 0
    assert made == [RUNS[4], RUNS[6]]


def test_tables_and_figures_share_their_runs(made, flags):
    assert command(*flags, "--splits=0") == 0
    made.clear()
    assert command(*flags[:2], "--figures=4", "--splits=0") == 0
    assert set(made) == {
        "v_only-split0",
        *(f"{arch}-n_{n}-m{m}-M{M}-split0" for arch in ("ltn", "rtn") for n in ("id", "w2v")
          for m, M in published.SIZES[:2]),
    }  # fmt: skip


def test_a_failed_run_is_recorded_and_tried_again_by_the_next_sweep(
    made, flags, monkeypatch, capsys, tmp_path
):
    make = sweeping.make

    def failing(run, dataset, out, *, exports):
        if out.name == RUNS[1]:
            raise MemoryError("no room\nfor it")
        make(run, dataset, out, exports=exports)

    monkeypatch.setattr(sweeping, "make", failing)
    with pytest.raises(SystemExit) as ended:
        command(*flags)
    line = f"error: 1 of 8 runs failed; see {tmp_path / 'out' / 'failed'}"
    assert ended.value.code == line  # which Python prints, with status 1
    assert made == [RUNS[0], *RUNS[2:]]
    record = tmp_path / "out" / "failed" / f"{RUNS[1]}.json"
    said = capsys.readouterr().out
    assert f"{RUNS[1]}: FAILED, MemoryError: no room for it; see {record}" in said
    assert f"7 of 8 runs done\n  failed: {RUNS[1]}" in said
    assert "in failing" in json.loads(record.read_text())["traceback"]
    monkeypatch.setattr(sweeping, "make", make)
    assert command(*flags) == 0
    assert made[-1] == RUNS[1]
    assert not record.exists()


def test_without_its_data_it_stops(made, prepared, monkeypatch, capsys, tmp_path):
    """Every other run would fail like the first."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(prepared, data)

    def lost(run, dataset, out, *, exports):
        made.append(out.name)
        data.rename(tmp_path / "elsewhere")
        dataset.split(run.split)

    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "make", lost)
        assert command(f"--data={data}", f"--out={out}", "--tables=2") == 2
    assert one_line(capsys) == f"error: {data}: was removed or is unreachable\n"
    assert made == RUNS[:1]
    assert not (out / "failed").exists()
    (tmp_path / "elsewhere").rename(data)
    assert command(f"--data={data}", f"--out={out}", "--tables=2") == 0
    assert made == [RUNS[0], *RUNS]


def test_several_sweeps_at_once_make_every_run_once(made, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "POLL", 0.01)
    out, dataset = tmp_path / "out", PreparedDataset(prepared)
    options = sweep.Options(tables=("2",), data=prepared, out=out)
    common = plan.common_of(options, dataset)
    jobs = plan.jobs(options.rows, (0, 1), common, dataset)
    plan.settle(out, common)
    threads = [threading.Thread(target=sweeping.Sweep(out, jobs, dataset).run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(RUNS)


def test_it_waits_for_a_run_that_another_is_making(made, flags, monkeypatch, capsys, tmp_path):
    lock = locks.try_lock(tmp_path / "out" / "locks", RUNS[2])

    def pause(_):
        write_json(tmp_path / "out" / RUNS[2] / "metrics.json", {"test": MAPS, "seconds": 1.0})
        lock.release()

    monkeypatch.setattr(sweeping.time, "sleep", pause)
    assert command(*flags) == 0
    assert RUNS[2] not in made
    assert f"waiting for {RUNS[2]} (process" in capsys.readouterr().out


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_another_makes_has_not_failed(made, flags, monkeypatch, tmp_path, lost):
    """By hand, or in another sweep that took over while this one stood still."""
    out, make = tmp_path / "out", sweeping.make

    def refused(run, dataset, place, *, exports):
        if place.name != RUNS[2]:
            return make(run, dataset, place, exports=exports)
        if lost:
            (out / "locks" / f"{RUNS[2]}.lock").unlink()
            raise locks.LockLost("lost")
        raise locks.InUse("in use")

    monkeypatch.setattr(sweeping, "make", refused)
    result = {"test": MAPS, "seconds": 1.0}
    monkeypatch.setattr(
        sweeping.time, "sleep", lambda _: write_json(out / RUNS[2] / "metrics.json", result)
    )
    assert command(*flags) == 0
    assert set(made) == {*RUNS} - {RUNS[2]}
    assert not (out / "failed").exists()


def test_what_a_killed_one_began_of_its_settings_is_removed(made, flags, tmp_path):
    assert command(*flags) == 0
    unfinished = tmp_path / "out" / ".tmp-0123abcd-sweep.json"
    unfinished.touch()
    assert command(*flags) == 0
    assert made == RUNS
    assert not unfinished.exists()


def test_another_sweep_in_the_same_place(made, flags, capsys, tmp_path):
    assert command(*flags, "--splits=0") == 0
    capsys.readouterr()
    assert command(*flags, "--seed=1") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'out'}: holds a sweep with seed 0; received 1; choose another --out\n"
    )


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "give --tables, --figures or --baselines; received none"),
        (["--tables=4"], "--tables must be one of 1, 2, 3; received '4'"),
        (["--figures=3"], "--figures must be one of 4, 5, 6; received '3'"),
        (["--tables=2", "--only=x"], f"--only must be one of {ROWS[0]}, "),
        (["--tables=2", "--splits=0,x"], "--splits must be numbers from 0; received 'x'"),
        (["--tables=2", "--splits=2"], "split must be 0 to 1; received 2"),
        (["--tables=2", "--pool=x"], "pool must be one of open, closed, train; received 'x'"),
        (["--tables=2", "--preset=x"], "--preset must be one of auto, "),
        (["--tables=2", "--max_epochs=0"], "--max_epochs must be at least 1; received 0"),
        (["--tables=2", "--seed=-1"], "--seed must be at least 0; received -1"),
    ],
)
def test_one_line_for_a_mistake(refused, given, line):
    refused(command, given, line)


@pytest.mark.parametrize(
    ("stored", "sizes"),
    [
        (24, [(3, 6), (6, 12), (12, 24)]),
        (50, [(3, 6), (6, 12), (12, 24)]),
        (12, [(1, 3), (3, 6), (6, 12)]),
        (1, [(1, 1), (1, 1), (1, 1)]),
    ],
)
def test_neighbourhoods_are_scaled_to_what_is_stored(stored, sizes):
    rows = [published.Row("ltn", "id", None, m, max_rank) for m, max_rank in published.SIZES]
    assert [plan.scaled(row, stored) for row in rows] == sizes


@pytest.mark.parametrize(
    ("content", "line"),
    [("{", "is not JSON"), ("{}", "lacks the field 'data'; received []")],
)
def test_a_damaged_sweep_file_is_one_line(made, flags, capsys, tmp_path, content, line):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.json").write_text(content)
    assert command(*flags) == 2
    assert line in one_line(capsys)
