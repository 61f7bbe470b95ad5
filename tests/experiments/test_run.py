"""The main command: what it writes, what it prints, and one line for every mistake."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.tables import LABELS, make_table, one_line
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from experiments import run as command
from experiments.runs import precision, presets, resolving, results, runner
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookup_tables
from tagnet.errors import InputError
from tagnet.evaluation import metrics
from tagnet.evaluation.scoring import Scorer
from tagnet.models.architectures import ARCHITECTURES, JOINT, RECURRENT, VISUAL
from tagnet.models.plain import plain_keras
from tagnet.serving import export
from tagnet.serving.annotator import Annotator
from tagnet.settings import ScoringSettings
from tagnet.system import console

LOADING = "loading TensorFlow …\n"  # and none of TensorFlow's own lines, whatever the processor
ROOT = Path(__file__).parents[2]


# As in setup.cfg.
KNOWN = (
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    "ignore::DeprecationWarning:gast.astn",
)
WARNINGS = ["-W", "error", *(part for known in KNOWN for part in ("-W", known))]


def run(*flags, cwd=ROOT, **environment):
    """Runs the command; returns (exit status, standard output, standard error)."""
    command = [sys.executable, *WARNINGS, "-m", "experiments.run", *flags]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
    return ended.returncode, ended.stdout, ended.stderr


SMALL = ("--hidden=8", "--m=2", "--M=4", "--max_epochs=2")


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A finished run, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "ltwin_2rnn"
    status, printed, errors = run("--arch=ltwin_2rnn", f"--data={prepared}", f"--out={out}", *SMALL)
    assert status == 0, errors
    assert errors == LOADING
    return out, printed


def test_the_run_directory(finished):
    out, _ = finished
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "history.csv",
        "metrics.json",
        "predictions.npz",
        "checksums.sha256",
        "checkpoints",
        "tensorboard",
        "saved_model",
        "model.keras",
        "weights.h5",
    }
    config = json.loads((out / "config.json").read_text())
    assert config["arch"] == "ltwin_2rnn"
    assert config["feed"] == "w2v"
    assert (config["m"], config["max_rank"], config["seed"]) == (2, 4, 0)
    assert set(config["versions"]) == {"tensorflow", "keras", "numpy", "tagnet"}


def test_metrics_are_those_of_the_predictions(finished):
    out, _ = finished
    results = json.loads((out / "metrics.json").read_text())
    with np.load(out / "predictions.npz") as predictions:
        again = metrics.evaluate(predictions["labels"], predictions["scores"])
        assert len(predictions["rows"]) == len(predictions["scores"]) == 12
        assert tuple(predictions["label_names"]) == LABELS
    assert results["test"] == again
    assert set(results) == {
        *("arch", "epochs", "best_epoch", "seconds", "seconds_per_epoch", "parameters"),
        *("dataset", "images", "validation", "test", "calibration"),
    }


def test_what_its_probabilities_are_worth_is_kept_with_the_model_and_drawn(finished):
    """On the 12 test images; 5 labels each."""
    out, _ = finished
    results = json.loads((out / "metrics.json").read_text())
    deployment = export.load(out)
    assert results["calibration"] == dataclasses.asdict(deployment.calibration_report)
    assert results["calibration"]["images"] == 12
    for when in ("before", "after"):
        assert sum(results["calibration"][when]["pairs"]) == 12 * 5
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    for when in ("before", "after"):
        (error,) = events.Tensors(f"calibration/error_{when}")
        assert tf.make_ndarray(error.tensor_proto) == pytest.approx(
            results["calibration"][when]["error"]
        )
    (drawing,) = events.Tensors("calibration/reliability")
    assert tf.io.decode_png(drawing.tensor_proto.string_val[2]).shape[2] == 4


def test_what_it_prints(finished):
    out, printed = finished
    results = json.loads((out / "metrics.json").read_text())
    assert "60 images, 5 labels; split 0: 36 / 12 / 12 (train / validation / test)" in printed
    assert re.search(r"epoch  2/2  loss \d+\.\d+  validation mAP per label", printed)
    test, bound = results["test"], results["test"]["upper_bound"]
    for name, title in (("map_label", "mAP per label"), ("recall_image", "recall per image @3")):
        (row,) = (line for line in printed.splitlines() if line.startswith(title + " "))
        values = [results["validation"][name], test[name], bound[name]]
        assert row.split()[-3:] == [f"{100 * value:.2f}" for value in values]
    assert f"SavedModel     {out}/saved_model/1" in printed
    assert "only 12 test images: these figures say little" in printed
    assert "epoch  1/2" in printed and printed.count(", compilation included") == 1


def test_only_what_was_skipped_is_told(finished, capsys):
    out, _ = finished
    made = json.loads((out / "metrics.json").read_text())
    counts = {"labels_left_out": 0, "images_left_out": 1, "labels_never_predicted": 2}
    results.show(made | {"test": made["test"] | counts, "images": {"test": 50}}, out)
    printed = capsys.readouterr().out
    assert "averages: 1 image without a label, 2 labels never predicted (precision)\n" in printed
    assert "say little" not in printed
    results.show(made | {"test": made["test"] | dict.fromkeys(counts, 0)}, out)
    assert "skipped" not in capsys.readouterr().out


def test_tensorboard_has_every_dashboard(finished):
    out, _ = finished
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    plugins = {
        tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]
    }
    for name in ("loss", "validation_map_label", "validation_map_image"):
        steps = [event.step for event in events.Tensors(f"epoch/{name}")]
        assert steps == [1, 2]
    inputs = {node.name: list(node.input) for node in events.Graph().node}
    assert inputs["W_x"] == ["phi_x"]
    assert inputs["W_fRNN"] == ["stack"]
    assert len(inputs["stack"]) == 4
    assert plugins["labels/beach/pr_curves"] == "pr_curves"
    assert "hparams" in plugins.values()
    ended = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert HParamsPluginData.FromString(ended).session_end_info.status == STATUS_SUCCESS
    results = json.loads((out / "metrics.json").read_text())
    (final,) = events.Tensors("test/map_label")
    assert tf.make_ndarray(final.tensor_proto) == pytest.approx(results["test"]["map_label"])


def test_the_projector_has_a_vector_for_every_word(finished, prepared):
    board = finished[0] / "tensorboard"
    words = (board / "w2v-words.tsv").read_text().splitlines()
    assert words == (prepared / "vocabulary.txt").read_text().splitlines()
    assert np.loadtxt(board / "w2v.tsv", delimiter="\t").shape == (len(words), 6)
    assert 'metadata_path: "w2v-words.tsv"' in (board / "projector_config.pbtxt").read_text()


def test_the_saved_model_repeats_the_predictions(finished, prepared):
    """2 of the 4 nearest: f averaged over all 6 pairs is the stored score."""
    dataset = PreparedDataset(prepared)
    tables = dataset.tables("w2v")
    part = dataset.part(0, "id", "open", "test", 4)
    serve = tf.saved_model.load(finished[0] / "saved_model" / "1").signatures["serving_default"]
    pi = tables.pi.numpy()
    phi = tables.phi.numpy().astype(np.float32)
    pairs = []
    for pair in map(list, itertools.combinations(range(4), 2)):
        z = part.neighbours[:, pair]
        given = {"phi_x": phi[part.rows], "phi_z": phi[z]}
        given |= {"pi_x": pi[part.rows], "pi_z": pi[z]}
        pairs.append(serve(**{k: tf.constant(v) for k, v in given.items()})["scores"])
    with np.load(finished[0] / "predictions.npz") as predictions:
        np.testing.assert_allclose(np.mean(pairs, axis=0), predictions["scores"], atol=1e-4)


def test_the_keras_file_and_the_weights_are_those_of_the_best_epoch(finished):
    out, printed = finished
    assert f"Keras model    {out}/model.keras" in printed
    model = keras.saving.load_model(out / "model.keras")
    core = export.load(out).core
    with h5py.File(out / "weights.h5") as file:
        for layer in core.layers:
            for weight in layer.weights:
                np.testing.assert_array_equal(file[f"{layer.name}/{weight.name}"], weight)
            kept = model.get_layer(layer.name).get_weights() if layer.weights else []
            assert all(map(np.array_equal, kept, layer.get_weights()))
    sums = (out / "checksums.sha256").read_text()
    assert "  model.keras\n" in sums and "  weights.h5\n" in sums


@pytest.mark.large
def test_without_data_it_prepares_the_embedded_set_from_any_folder(tmp_path):
    cache = {"TAGNET_CACHE": str(tmp_path / "cache")}
    flags = ("--arch=v_only", "--max_epochs=1")
    status, printed, errors = run(*flags, cwd=tmp_path, **cache)
    assert (status, errors) == (0, 2 * LOADING)  # it prepares in a process of its own
    assert "v_only on demo: 4,200 images, 18 labels; split 0: 2,600 / 600 / 1,000" in printed
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name == "demo-v_only-id-open-auto-m12-M24-split0-seed0"
    assert (out / "saved_model" / "1" / "saved_model.pb").exists()


def execute(*flags):
    """Runs the command in this process; returns the exit status."""
    return console.execute(command.Options, command.main, command.USAGE, ["run", *flags])


def test_a_finished_run_is_shown_again(finished, prepared, capsys):
    out, printed = finished
    before = (out / "checkpoints" / "last.npz").stat().st_mtime_ns
    assert execute("--arch=ltwin_2rnn", f"--data={prepared}", f"--out={out}", *SMALL) == 0
    assert capsys.readouterr().out.strip() in printed
    assert (out / "checkpoints" / "last.npz").stat().st_mtime_ns == before


def test_compiled_steps_in_the_arithmetic_that_is_chosen(prepared, tmp_path, capsys, monkeypatch):
    """What is scored is in float32, as what is exported. A run goes on in what it began with."""
    dataset, out = PreparedDataset(prepared), tmp_path / "ltn"
    options = command.Options(
        arch="ltn", data=prepared, precision="auto", hidden=8, m=2, M=4, max_epochs=1
    )
    settings = resolving.resolve(options, dataset)
    monkeypatch.setattr(precision, "_chosen", lambda *given: "mixed_bfloat16")
    chosen = precision.with_precision(settings, dataset, out, "on")
    with plain_keras():  # which puts the policy back
        resolving.make(chosen, dataset, out, exports=False, jit="on")
    printed = capsys.readouterr().out
    assert re.search(r"^on .+; mixed_bfloat16, steps compiled by XLA$", printed, re.MULTILINE)
    assert json.loads((out / "config.json").read_text())["precision"] == "mixed_bfloat16"
    part = dataset.part(0, "id", "open", "test", 4)
    core = runner.restored(chosen, dataset, out)
    scorer = Scorer(core, lookup_tables(dataset.tables(None)), ScoringSettings(2))
    with np.load(out / "predictions.npz") as predictions:
        np.testing.assert_allclose(scorer(part), predictions["scores"], atol=1e-5)
    monkeypatch.setattr(precision, "_chosen", lambda *given: "float32")
    assert precision.with_precision(settings, dataset, out, "auto") == chosen
    assert precision.with_precision(settings, dataset, tmp_path, "auto").precision == "float32"
    with pytest.raises(InputError, match=r"must hold the weights of rtn as .* remove .*ltn to tra"):
        runner.restored(dataclasses.replace(chosen, arch="rtn"), dataset, out)


@pytest.mark.parametrize(
    ("flags", "jit", "calls"),
    [
        ([], "auto", []),
        (["--jit=on"], "on", []),
        (["--deterministic"], "off", ["enabled"]),
        (["--deterministic", "--jit=on"], "on", ["enabled"]),
    ],
)
def test_what_is_deterministic_is_not_compiled_unless_asked_for(
    prepared, tmp_path, monkeypatch, flags, jit, calls
):
    seen, enabled = [], []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: enabled.append("enabled")
    )
    monkeypatch.setattr(resolving, "make", lambda *run, **how: seen.append(how["jit"]))
    monkeypatch.setattr(results, "show", lambda *shown: None)
    assert execute(f"--data={prepared}", f"--out={tmp_path}", "--m=2", "--M=4", *flags) == 0
    assert (seen, enabled) == ([jit], calls)


def test_steps_that_are_timed_are_steps_of_the_run(prepared):
    settings = resolving.resolve(
        command.Options(arch="v_only", data=prepared, m=2, M=4), PreparedDataset(prepared)
    )
    made = runner.experiment_of(settings, PreparedDataset(prepared))
    before = made.model.get_weights()[0]
    made.stepping(3)()
    assert np.abs(made.model.get_weights()[0] - before).max() > 1e-4


@pytest.mark.parametrize(
    ("has_it", "gains", "expected"),
    [(False, [], "float32"), (True, [1.0, 1.2, 1.05], "float32"), (True, [1.2] * 3, "mixed_bfl")],
)
def test_bfloat16_is_chosen_where_it_is_worth_it(monkeypatch, capsys, has_it, gains, expected):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: has_it)
    monkeypatch.setattr(precision, "_stepping", lambda *given: lambda: None)
    seconds = iter([number for gain in gains for number in (gain, 1.0)])
    monkeypatch.setattr(precision, "_seconds", lambda run: next(seconds))
    assert precision._chosen(None, None, "auto").startswith(expected)
    assert capsys.readouterr().out.startswith(f"precision {expected}")


def test_more_epochs_go_on_from_the_last_one(prepared, tmp_path):
    """To the bit what a run ends with that is asked for them at once."""

    dataset = PreparedDataset(prepared)

    def made(name, epochs):
        flags = dict(arch="ltn", data=prepared, hidden=4, m=2, M=4)
        settings = resolving.resolve(command.Options(**flags, max_epochs=epochs), dataset)
        resolving.make(settings, dataset, tmp_path / name, exports=False)
        return tmp_path / name

    made("two", 1)
    begun = (tmp_path / "two" / "history.csv").read_text()
    two, one = made("two", 2), made("one", 2)
    assert (two / "history.csv").read_text().startswith(begun)  # the first was not made again
    assert json.loads((two / "config.json").read_text())["max_epochs"] == 2
    states = [np.load(out / "checkpoints" / "last.npz") for out in (two, one)]
    for name in states[0].files:
        if name.startswith(("model_", "optimizer_")):
            np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    for state in states:
        state.close()
    scores = [np.load(out / "predictions.npz")["scores"] for out in (two, one)]
    np.testing.assert_array_equal(*scores)
    found = [json.loads((out / "metrics.json").read_text()) for out in (two, one)]
    assert found[0]["test"] == found[1]["test"]
    assert found[0]["epochs"] == 2


def test_a_run_begins_with_the_weights_of_another(finished, prepared, tmp_path, capsys):
    """All of them where the labels are the same; otherwise what does not depend on the labels."""
    source, out = finished[0], tmp_path / "tuned"
    flags = (f"--from_run={source}", "--learning_rate=1e-9", *SMALL)
    assert execute("--arch=ltwin_2rnn", f"--data={prepared}", f"--out={out}", *flags) == 0
    layers = "W_z, W_zu, W_x, W_RNN, W_xu, W_oRNN"
    expected = f"weights from {source}: {layers}, W_fRNN; new: none\n"
    assert expected in capsys.readouterr().out
    scores = [np.load(run / "predictions.npz")["scores"] for run in (source, out)]
    np.testing.assert_allclose(*scores, atol=1e-4)
    assert json.loads((out / "config.json").read_text())["from_run"] == str(source)
    renamed = make_table(tmp_path / "raw")
    renamed.raw.write_text(renamed.raw.read_text().replace("beach", "shore"))
    prepare(renamed.settings(splits=1, pools=("open",)), tmp_path / "other")
    flags = (*flags, f"--data={tmp_path / 'other'}", f"--out={tmp_path / 'shore'}")
    assert execute("--arch=ltwin_2rnn", *flags) == 0
    assert f"{layers}; new: W_fRNN\n" in capsys.readouterr().out


def test_a_run_that_nothing_can_be_taken_from(finished, prepared, tmp_path, capsys):
    flags = (f"--data={prepared}", f"--out={tmp_path / 'out'}", "--hidden=7", "--m=2", "--M=4")
    assert execute("--arch=ltn", f"--from_run={tmp_path}", *flags) == 2
    assert "not a finished run or a SavedModel" in one_line(capsys)
    assert execute("--arch=ltn", f"--from_run={finished[0]}", *flags) == 2
    assert "at least one layer must fit ltn with 7 hidden units" in one_line(capsys)


def test_fewer_epochs_are_refused(finished, prepared, capsys):
    out, _ = finished
    flags = (f"--data={prepared}", f"--out={out}", *SMALL[:-1], "--max_epochs=1")
    assert execute("--arch=ltwin_2rnn", *flags) == 2
    assert "config.json: holds a run with max_epochs 2; received 1;" in capsys.readouterr().err


def test_another_run_in_the_same_place(finished, prepared, capsys):
    out, _ = finished
    flags = (f"--data={prepared}", f"--out={out}", *SMALL)
    assert execute("--arch=ltwin_2rnn", "--seed=1", *flags) == 2
    assert capsys.readouterr().err == (
        f"error: {out / 'config.json'}: holds a run with seed 0; received 1; "
        "choose another --out or remove the folder\n"
    )


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--arch=x"], "--arch must be one of v_only, ltn, .*; received 'x'"),
        (["--preset=x"], "--preset must be one of auto, paper, released; received 'x'"),
        (["--neighbours=wnet"], "neighbours must be one of id, w2v; received 'wnet'"),
        (["--feed=wnet"], "--feed must be one of id, w2v; received 'wnet'"),
        (["--arch=ltn", "--feed=w2v"], "--feed is for joint models .*--feed=w2v with --arch=ltn"),
        (["--pool=x"], "pool must be one of open, closed, train; received 'x'"),
        (["--split=2"], "split must be 0 to 1; received 2"),
        (["--split=-1"], "split must be 0 to 1; received -1"),
        (["--m=5", "--M=4"], "m must be 1 to M; received m 5, M 4"),
        (["--m=0"], "--m must be at least 1; received 0"),
        (["--M=7"], "--M must be at most 6 .neighbours stored in .*; received 7"),
        (["--max_epochs=0"], "--max_epochs must be at least 1; received 0"),
        (["--class_weight=x"], "--class_weight must be one of balanced; received 'x'"),
        (["--precision=x"], "--precision must be one of float32, .*; received 'x'"),
        (["--jit=x"], "--jit must be one of auto, on, off; received 'x'"),
        (["--jit=on", "--workers=2"], "--jit must be auto or off with --workers; received 'on'"),
        (["--hidden=0"], "--hidden must be at least 1; received 0"),
        (["--dropout=-0.1"], "--dropout must be at least 0; received -0.1"),
        (["--dropout=1"], "--dropout must be below 1; received 1.0"),
        (["--dropout=nan"], "--dropout must be at least 0; received nan"),
        (["--learning_rate=-1"], "--learning_rate must be above 0; received -1.0"),
        (["--learning_rate=nan"], "--learning_rate must be above 0; received nan"),
        (["--l2=-1"], "--l2 must be at least 0; received -1.0"),
        (["--seed=-1"], "--seed must be 0 to 4294967295; received -1"),
        (["stray"], "unexpected argument 'stray'; flags start with --"),
        (["--unknown=1"], "Unknown command line flag 'unknown'"),
        (["--m=two"], "flag --m=two.*invalid literal"),
    ],
)
def test_one_line_for_a_mistake(prepared, tmp_path, capsys, flags, line):
    assert execute(f"--data={prepared}", f"--out={tmp_path / 'run'}", *flags) == 2
    assert re.search(line, one_line(capsys))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("artefact", "line"),
    [
        ("dataset.json", "dataset.json: line .* is not JSON"),
        ("images-00002-of-00004.tfrecord", "images-00002-of-00004.tfrecord: checksum mismatch"),
        ("splits/split-0.npz", "split-0.npz: is not a valid .npz file"),
        ("embeddings/w2v.npz", "w2v.npz: is not a valid .npz file"),
        *(
            (
                f"neighbours/split-0/id-open/{part}-00000-of-00001.tfrecord",
                f"{part}-00000-of-00001.tfrecord: checksum mismatch",
            )
            for part in ("train", "validation", "test")
        ),
    ],
)
def test_a_truncated_artefact_is_one_line(prepared, tmp_path, capsys, artefact, line):
    copy = shutil.copytree(prepared, tmp_path / "copy")
    content = (copy / artefact).read_bytes()
    (copy / artefact).write_bytes(content[: len(content) // 2])
    assert execute(f"--data={copy}", f"--out={tmp_path / 'run'}", "--m=2", "--M=4") == 2
    assert re.search(line, one_line(capsys))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_help_fits_a_screen():
    status, printed, _ = run("--help")
    assert status == 0
    lines = printed.splitlines()
    assert len(lines) <= 33
    assert max(map(len, lines)) <= 100
    assert all(f"--{flag}" in printed for flag in ("arch", "data", "M", "pool", "out"))


def test_every_preset_suits_every_architecture():
    for arch in ARCHITECTURES:
        for preset in presets.PRESETS.values():
            for images in (1, 300, 5_000, 1_000_000):
                settings = preset(arch, images)
                assert settings.m <= settings.max_rank
                assert settings.training.min_epochs <= settings.training.max_epochs


@pytest.mark.parametrize(
    ("images", "pooled", "recurrent"),
    [(300, 3e-3, 1e-3), (5_000, 1e-3, 1e-3), (20_000, 3e-4, 3e-4), (1_000_000, 1e-4, 1e-4)],
)
def test_auto_has_a_rate_for_every_size(images, pooled, recurrent):
    for arch in ARCHITECTURES:
        rate = recurrent if arch in RECURRENT else pooled
        assert presets.auto(arch, images).training.learning_rate == rate


def test_the_paper_preset_is_section_3_4():
    for archs, epochs in ((VISUAL, (3, 10)), (JOINT, (5, 15))):
        for arch in archs:
            settings = presets.paper(arch)
            assert (settings.training.min_epochs, settings.training.max_epochs) == epochs
            assert settings.training.learning_rate == 1e-4
            assert settings.training.batch_size == 64
            assert (settings.hidden, settings.dropout, settings.l2) == (500, 0.5, 3e-4)


def test_the_released_preset_clips_rtn_and_lzip_alone():
    clipped = {arch for arch in ARCHITECTURES if presets.released(arch).training.clip_norm}
    assert clipped == {"rtn", "lzip"}


def test_images_without_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(f"p{row},{'xy'[row % 2]}\n" for row in range(20))
    (tmp_path / "m.csv").write_text(f"path,labels\n{rows}")
    np.save(tmp_path / "f.npy", rng.random([20, 4]))
    given = {"raw": tmp_path / "m.csv", "features": tmp_path / "f.npy", "pools": ("open",)}
    prepare(Settings.of(**given, M=4), tmp_path / "data")
    capsys.readouterr()
    flags = [f"--data={tmp_path / 'data'}", "--max_epochs=1"]

    def made(*given: str) -> int:
        return console.execute(command.Options, command.main, "usage", ["run", *given])

    assert made("--arch=ltn", f"--out={tmp_path / 'ltn'}", *flags) == 0
    assert Annotator.load(tmp_path / "ltn").vocabulary == ()
    assert (tmp_path / "ltn" / "saved_model" / "1" / "assets" / "vocabulary.txt").is_file()
    capsys.readouterr()
    for arch in ("ltwin", "svm_tags"):
        assert made("--arch=" + arch, flags[0], f"--out={tmp_path / arch}") == 2
        assert (
            f"--arch={arch} reads tags, and {tmp_path / 'data'} has none; without tags there "
            in (capsys.readouterr().err)
        )
