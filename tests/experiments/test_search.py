"""The search: the same trials however often it is stopped, and never a look at the test split."""

import csv
import functools
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers.tables import one_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from experiments import run, search
from experiments.runs import options, resolving, searching
from experiments.runs.options import SearchOptions
from tagnet.system import console
from tagnet.system.files import read_json
from tagnet.training.experiment import Experiment
from tagnet.training.loop import Diverged

trials = pytest.importorskip("experiments.runs.trials", reason="needs the extra search")

ROOT = Path(__file__).parents[2]
REAL = ("--max_epochs=2", "--hidden=4", "--what=l2,dropout", "--arch=ltn")


def command(*flags):
    return console.execute(SearchOptions, search.main, search.USAGE, ["search", *flags])


def table(out):
    with open(out / "trials.csv") as file:
        return list(csv.DictReader(file))


def tried(out):
    """The trials in the order in which they were chosen, without what their place in it is."""
    return sorted(table(out), key=lambda line: int(line["trial"]))


@pytest.fixture
def made(monkeypatch):
    """Instead of training, a run is worth what its settings say; the settings of each run made."""
    done = []

    def train_and_validate(settings, dataset, out):
        flat = settings.flat()
        done.append((out.name, flat))
        worth = 1 / (1 + abs(np.log10(flat["l2"] + 1e-12) + 4)) - flat["split"] / 10
        return {"best_epoch": 2, "validation": {"map_label": worth}}

    monkeypatch.setattr(searching, "train_and_validate", train_and_validate)
    monkeypatch.setattr(searching, "forget_graphs", lambda: None)
    return done


@pytest.fixture
def flags(prepared, tmp_path):
    return (f"--data={prepared}", f"--out={tmp_path / 'out'}")


def test_the_grid_tries_every_value_once_and_the_best_stands_first(made, flags, tmp_path, capsys):
    assert command(*flags, "--grid", "--splits=0,1") == 0
    assert [name for name, _ in made] == [
        f"l2_{value:g}-split{split}" for value in options.GRID for split in (0, 1)
    ]
    lines = table(tmp_path / "out")
    assert [float(line["l2"]) for line in lines][0] == 1e-4
    scores = [float(line["map_label"]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert float(lines[0]["map_label"]) == pytest.approx(95)  # 100 on one split, 90 on the other
    assert float(lines[0]["map_label_split1"]) == pytest.approx(90)
    said = capsys.readouterr().out
    assert "l2; 9 trials x 2 splits; into" in said
    assert "[9 of 9] l2_0.003: validation mAP per label" in said
    assert said.count("python -m experiments.run") == 2


def test_the_preset_is_tried_first_and_what_is_sampled_finds_better(made, flags, tmp_path):
    assert command(*flags, "--trials=25") == 0
    lines = tried(tmp_path / "out")
    first = {name: float(lines[0][name]) for name in options.SEARCHED}
    assert first == {"learning_rate": 3e-3, "l2": 3e-5, "dropout": 0.5, "hidden": 500, "m": 3}
    assert len({name for name, _ in made}) == 25
    ranges = trials.ranges(max_rank=6)
    for line in lines:
        for name in options.SEARCHED:
            assert ranges[name].low <= float(line[name]) <= ranges[name].high
    nearness = [abs(np.log10(float(line["l2"])) + 4) for line in lines]
    assert np.mean(nearness[15:]) < np.mean(nearness[1:11])  # it learns from what came out


def test_what_is_tried_is_what_the_run_is_made_with(made, flags):
    assert command(*flags, "--what=m,l2", "--trials=5", "--hidden=4") == 0
    for name, flat in made:
        assert name == f"m_{flat['m']}-l2_{flat['l2']:g}-split0"
        assert (flat["hidden"], flat["dropout"]) == (4, 0.5)


def test_v_only_is_searched_for_what_it_has(made, flags, tmp_path):
    assert command(*flags, "--arch=v_only", "--trials=2") == 0
    assert [name for name in table(tmp_path / "out")[0] if name in options.SEARCHED] == [
        "learning_rate",
        "l2",
    ]


@pytest.mark.parametrize("searched", [["--grid", "--trials=9"], ["--trials=16"]])
def test_killed_anywhere_it_tries_the_same(made, flags, tmp_path, monkeypatch, searched):
    assert command(*flags, *searched) == 0
    through = (tmp_path / "out" / "trials.csv").read_bytes()
    make = searching.train_and_validate

    def killed(settings, dataset, out):
        if len(made) in (2, 5, 14) and not seen.get(len(made)):
            seen[len(made)] = True
            raise KeyboardInterrupt
        return make(settings, dataset, out)

    made.clear()
    seen = {}
    monkeypatch.setattr(searching, "train_and_validate", killed)
    again = (flags[0], f"--out={tmp_path / 'again'}", *searched)
    unfinished = tmp_path / "again" / ".tmp-0123abcd-search.json"
    unfinished.parent.mkdir()
    unfinished.touch()
    ended = [command(*again) for _ in range(4)]
    assert ended[-1] == 0 and set(ended) == {0, console.INTERRUPTED}
    assert len(seen) >= 2
    assert (tmp_path / "again" / "trials.csv").read_bytes() == through
    assert not unfinished.exists()


def test_more_trials_go_on_from_those_that_are_there(made, flags, tmp_path):
    assert command(*flags, "--trials=3") == 0
    three = tried(tmp_path / "out")
    assert command(*flags, "--trials=5") == 0
    assert len(made) == 5
    assert tried(tmp_path / "out")[:3] == three
    assert command(*flags, "--trials=5") == 0
    assert len(made) == 5


def test_training_that_diverges_is_put_aside(made, flags, tmp_path, monkeypatch, capsys):
    make = searching.train_and_validate

    def diverging(settings, dataset, out):
        if settings.settings.l2 > 1e-4:
            raise Diverged("training: the loss must stay finite")
        return make(settings, dataset, out)

    monkeypatch.setattr(searching, "train_and_validate", diverging)
    assert command(*flags, "--grid") == 0
    lines = table(tmp_path / "out")
    assert len(lines) == 9
    assert [(line["l2"], line["map_label"]) for line in lines[-3:]] == [
        ("0.0003", ""),
        ("0.001", ""),
        ("0.003", ""),
    ]
    assert "[9 of 9] l2_0.003: diverged, best 100.00" in capsys.readouterr().out
    monkeypatch.setattr(searching, "train_and_validate", make)
    assert command(*flags, "--grid") == 0
    assert len(made) == 6  # what diverged is not tried again


def test_nothing_but_divergence_is_one_line(made, flags, monkeypatch, capsys):
    def diverging(settings, dataset, out):
        raise Diverged("training: the loss must stay finite")

    monkeypatch.setattr(searching, "train_and_validate", diverging)
    assert command(*flags, "--grid", "--trials=2") == 2
    assert one_line(capsys) == ("error: search: every trial diverged\n")


def test_several_searches_at_once_try_everything_once(made, flags, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "POLL", 0.01)
    status = []
    threads = [
        threading.Thread(target=lambda: status.append(command(*flags, "--grid"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert status == [0, 0, 0]
    assert sorted(name for name, _ in made) == sorted(f"l2_{v:g}-split0" for v in options.GRID)


def test_it_waits_for_a_trial_that_another_is_making(made, flags, tmp_path, monkeypatch, capsys):
    assert command(*flags, "--grid", "--trials=2") == 0
    others = trials.Trials(
        tmp_path / "out",
        {"l2": trials.one_of(options.GRID)},
        [{"l2": v} for v in options.GRID],
        0,
        3,
    )
    other = others.next()

    def pause(_):
        others.complete(other, 0.5, {"0": {"map_label": 0.5, "best_epoch": 1}})
        other.lock.release()

    monkeypatch.setattr(trials.time, "sleep", pause)
    made.clear()
    assert command(*flags, "--grid", "--trials=3") == 0
    assert made == []
    assert "waiting for 1 trial of other processes" in capsys.readouterr().out
    assert len(table(tmp_path / "out")) == 3


def test_a_trial_that_ends_while_it_is_looked_at_is_not_given_up(
    made, flags, tmp_path, monkeypatch
):
    assert command(*flags, "--grid", "--trials=1") == 0
    grid = {"l2": trials.one_of(options.GRID)}, [{"l2": value} for value in options.GRID], 0, 2
    one, other = (trials.Trials(tmp_path / "out", *grid) for _ in range(2))
    trial = other.next()

    def holder(directory, name):
        other.complete(trial, 0.5, {})
        trial.lock.release()

    monkeypatch.setattr(trials.locks, "holder", holder)
    assert one.next() is None
    assert [tried.value for tried in one.tried()][1] == 0.5


@pytest.fixture(scope="module")
def searched(prepared, tmp_path_factory):
    """A search that trained, and what it printed; the test part cannot be scored in it."""
    out = tmp_path_factory.mktemp("search") / "out"
    evaluate, parts, printed = Experiment.evaluate, [], []

    def watched(experiment, part):
        parts.append(part)
        return evaluate(experiment, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "evaluate", watched)
        patch.setattr(console, "say", lambda line="", result=False: printed.append(line))
        assert command(f"--data={prepared}", f"--out={out}", *REAL, "--trials=2") == 0
    assert set(parts) == {"validation"}
    return out, "\n".join(printed)


def test_the_test_split_leaves_no_trace(searched):
    out, _ = searched
    assert len(list(out.glob("*-split0"))) == 2
    for place in out.glob("*-split0"):
        assert {path.name for path in place.iterdir()} == {
            *("config.json", "history.csv", "validation.json", "checksums.sha256"),
            *("checkpoints", "tensorboard"),
        }


def test_the_value_is_that_of_the_best_epoch(searched):
    out, _ = searched
    for line in table(out):
        place = out / f"l2_{float(line['l2']):g}-dropout_{float(line['dropout']):g}-split0"
        with open(place / "history.csv") as file:
            epochs = [float(epoch["validation_map_label"]) for epoch in csv.DictReader(file)]
        assert float(line["map_label"]) == pytest.approx(100 * max(epochs))
        assert int(line["best_epoch_split0"]) == 1 + int(np.argmax(epochs))


def test_tensorboard_has_the_settings_and_the_validation_figures_of_every_trial(searched):
    out, _ = searched
    for line in table(out):
        place = out / f"l2_{float(line['l2']):g}-dropout_{float(line['dropout']):g}-split0"
        events = EventAccumulator(str(place / "tensorboard"))
        events.Reload()
        (value,) = events.Tensors("validation/map_label")
        assert 100 * tf.make_ndarray(value.tensor_proto) == pytest.approx(float(line["map_label"]))
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        assert started.hparams["l2"].number_value == float(line["l2"])
        assert started.hparams["dropout"].number_value == float(line["dropout"])
        assert started.hparams["hidden"].number_value == 4
        assert not any(tag.startswith("test/") for tag in events.Tags()["tensors"])


def test_the_printed_command_makes_the_best_run_without_training_it_again(searched, monkeypatch):
    out, printed = searched
    make = functools.partial(resolving.make, exports=False)  # the export is no matter of the search
    monkeypatch.setattr(resolving, "make", make)
    (line,) = (line for line in printed.splitlines() if "experiments.run " in line)
    argv = shlex.split(line)
    assert argv[:3] == ["python", "-m", "experiments.run"]
    best = table(out)[0]
    place = out / f"l2_{float(best['l2']):g}-dropout_{float(best['dropout']):g}-split0"
    weights = (place / "checkpoints" / "best.weights.h5").read_bytes()
    assert console.execute(options.Options, run.main, run.USAGE, argv[2:]) == 0
    results = read_json(place / "metrics.json")
    assert 100 * results["validation"]["map_label"] == pytest.approx(float(best["map_label"]))
    assert set(results["test"]) == set(results["validation"])
    assert (place / "checkpoints" / "best.weights.h5").read_bytes() == weights


@pytest.mark.large
@pytest.mark.parametrize("kills", [1, 3])
def test_killed_at_random_moments(prepared, tmp_path, kills):
    flags = [f"--data={prepared}", *REAL, "--trials=4"]
    begun = time.monotonic()
    assert command(*flags, f"--out={tmp_path / 'through'}") == 0
    seconds = time.monotonic() - begun
    out = tmp_path / "out"
    rng = np.random.default_rng(kills)
    for _ in range(kills):
        argv = [sys.executable, "-m", "experiments.search", *flags, f"--out={out}"]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL)
        while not (out / "locks").exists() and process.poll() is None:
            time.sleep(0.05)  # it is starting
        time.sleep(rng.uniform(0, seconds / 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert command(*flags, f"--out={out}") == 0
    assert (out / "trials.csv").read_bytes() == (tmp_path / "through/trials.csv").read_bytes()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--arch=svm_tags"], "--arch must be one of v_only, ltn, "),
        (["--preset=x"], "--preset must be one of auto, paper, released; received 'x'"),
        (["--what=x"], "--what must be one of learning_rate, l2, dropout, hidden, m; received 'x'"),
        (["--arch=v_only", "--what=m"], "--what must be one of learning_rate, l2; received 'm'"),
        (["--grid", "--what=m"], "--grid searches only l2; received --what=m"),
        (
            ["--what=hidden", "--hidden=4"],
            "--what=hidden and --hidden=4 must not be given together",
        ),
        (["--trials=0"], "--trials must be at least 1; received 0"),
        (["--splits=0,x"], "--splits must be numbers from 0; received 'x'"),
        (["--splits="], "--splits must name at least one split"),
        (["--splits=2"], "split must be 0 to 1; received 2"),
        (["--seed=-1"], "--seed must be at least 0; received -1"),
        (["--max_epochs=0"], "--max_epochs must be at least 1; received 0"),
        (["--neighbours=wnet"], "neighbours must be one of id, w2v; received 'wnet'"),
        (["--feed=wnet"], "--feed must be one of id, w2v; received 'wnet'"),
        (["--arch=ltn", "--feed=id"], "--feed is for joint models"),
        (["--pool=x"], "pool must be one of open, closed, train; received 'x'"),
    ],
)
def test_one_line_for_a_mistake(refused, given, line):
    refused(command, given, line)


def test_optuna_is_asked_for_by_its_extra(flags, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert command(*flags) == 2
    assert one_line(capsys) == ("error: the search needs Optuna: pip install 'tagnet[search]'\n")
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_same_place(made, flags, capsys, tmp_path):
    assert command(*flags, "--grid", "--trials=1") == 0
    for other, line in (
        (["--grid", "--seed=1"], "holds a search with seed 0; received 1; choose another --out"),
        (["--what=l2"], "holds a search with grid True; received False; choose another --out"),
        (["--grid", "--splits=1"], "holds a search with splits [0]; received [1]; choose"),
    ):
        capsys.readouterr()
        assert command(*flags, *other) == 2
        assert f"error: {tmp_path / 'out' / 'search.json'}: {line}" in one_line(capsys)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: text[:-5], "is cut off; remove its last, incomplete line"),
        (lambda text: text.replace("{", "", 1), "not the journal of a search (JSONDecodeError"),
        (lambda text: json.dumps({"x": 1}) + "\n", "not the journal of a search (KeyError"),
    ],
)
def test_a_damaged_journal_is_one_line(made, flags, capsys, tmp_path, damage, line):
    assert command(*flags, "--grid", "--trials=1") == 0
    capsys.readouterr()
    journal = tmp_path / "out" / "search.journal"
    journal.write_text(damage(journal.read_text()))
    assert command(*flags, "--grid", "--trials=2") == 2
    assert f"error: {journal}: {line}" in one_line(capsys)


def test_a_dry_run_makes_nothing(made, flags, capsys, tmp_path):
    assert command(*flags, "--dry_run") == 0
    assert "20 trials x 1 split;" in capsys.readouterr().out
    assert made == []
    assert not (tmp_path / "out").exists()
