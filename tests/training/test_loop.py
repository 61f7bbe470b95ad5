"""Training: it learns, stops when it should, and a killed run ends as an undisturbed one."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers.graphs import L, operations, random_inputs, small, taken_by, weights_by_name
from sklearn.utils.class_weight import compute_sample_weight

from tagnet.data.batches import BatchSettings, training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookup_tables
from tagnet.errors import InputError
from tagnet.settings import Neighbourhood, TrainingSettings
from tagnet.training.experiment import loss_weights
from tagnet.training.loop import Diverged, best_epoch, compiled, image_loss, should_stop, train

SETTINGS = TrainingSettings(learning_rate=1e-3, min_epochs=1, max_epochs=3, patience=3)


def stream(dataset, inputs, batch_size, epochs):
    """Training batches of (m, M) = (2, 4), neighbours by tags."""
    settings = BatchSettings(0, "id", "open", Neighbourhood(2, 4), batch_size, seed=0)
    return training_batches(dataset, settings, inputs, epochs)


def trained(prepared, directory, settings=SETTINGS, arch="ltwin_rnn", scores=None, **changes):
    """Trains on the small data set; validation figures are made up, rising unless given."""
    dataset = PreparedDataset(prepared)
    tables = dataset.tables("w2v")
    core = small(
        arch,
        "w2v",
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        m=2,
        tag_dim=tables.tag_dim,
        **changes,
    )
    figures = iter(scores or np.linspace(0.1, 0.9, 20))
    seen = []
    history = train(
        core,
        lookups=lookup_tables(tables),
        batches=lambda inputs, epochs: stream(dataset, inputs, settings.batch_size, epochs),
        num_images=len(dataset.split(0)["train"]),
        validate=lambda: {"map_label": float(next(figures))},
        settings=settings,
        directory=directory,
        on_epoch=seen.append,
    )
    assert seen == history[len(history) - len(seen) :]
    return core, history


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """A training of three epochs: its directory (for reading only), weights and history."""
    directory = tmp_path_factory.mktemp("undisturbed")
    core, history = trained(prepared, directory)
    return directory, core.get_weights(), history


def test_training_lowers_the_loss(prepared, tmp_path):
    settings = dataclasses.replace(SETTINGS, max_epochs=20, patience=20, learning_rate=1e-2)
    _, history = trained(prepared, tmp_path, settings)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_history_is_written(undisturbed):
    directory, _, history = undisturbed
    written = pd.read_csv(directory / "history.csv")
    assert list(written.columns) == ["epoch", "loss", "validation_map_label", "seconds"]
    assert written["epoch"].tolist() == [1, 2, 3]
    assert written["loss"].tolist() == pytest.approx([epoch["loss"] for epoch in history])


def test_a_record_that_is_damaged_meanwhile_is_one_line(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "copy")
    shard = copy / "neighbours" / "split-0" / "id-open" / "train-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match="a training record is damaged; run python -m data_tools"):
        trained(copy, tmp_path / "run")


def test_the_best_weights_are_kept(prepared, tmp_path):
    """The second of three epochs is the best; a run of two epochs ends with those weights."""
    best, _ = trained(prepared, tmp_path / "three", scores=[0.1, 0.9, 0.2])
    settings = dataclasses.replace(SETTINGS, max_epochs=2)
    second, _ = trained(prepared, tmp_path / "two", settings, scores=[0.1, 0.9])
    for ours, theirs in zip(best.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_later_start_ends_with_the_same_weights(prepared, tmp_path, undisturbed):
    """One epoch, then the rest in a new process's place; dropout's random state goes along."""
    trained(prepared, tmp_path / "split", dataclasses.replace(SETTINGS, max_epochs=1))
    keras.utils.set_random_seed(99)  # what a new process would draw must not matter
    resumed, history = trained(prepared, tmp_path / "split", scores=[0.2, 0.9])
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    for ours, theirs in zip(undisturbed[1], resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_finished_training_is_not_trained_again(prepared, tmp_path, undisturbed):
    directory, weights, history = undisturbed
    copy = shutil.copytree(directory, tmp_path / "copy")
    again, history_again = trained(prepared, copy, scores=[float("nan")])
    assert history_again == history
    for ours, theirs in zip(weights, again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_of_another_graph(prepared, tmp_path, undisturbed):
    copy = shutil.copytree(undisturbed[0], tmp_path / "copy")
    with pytest.raises(InputError, match=r"last.npz: \w+ must have shape .* by another run\?"):
        trained(prepared, copy, hidden=5)


def test_a_truncated_checkpoint(prepared, tmp_path, undisturbed):
    copy = shutil.copytree(undisturbed[0], tmp_path / "copy")
    last = copy / "checkpoints" / "last.npz"
    last.write_bytes(last.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"last.npz: is not a valid .npz file"):
        trained(prepared, copy)


def test_a_loss_that_is_no_number(prepared, tmp_path):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30)
    with pytest.raises(Diverged, match="the loss must stay finite; epoch [12] received nan"):
        trained(prepared, tmp_path, settings)


def history_of(*scores):
    return [{"validation_map_label": score} for score in scores]


@pytest.mark.parametrize(
    ("scores", "stops"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4, 0.3], False),  # two epochs without a better one, but fewer than four
        ([0.5, 0.4, 0.3, 0.2], True),
        ([0.1, 0.2, 0.3, 0.4], False),
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.4], True),  # an equal one is not a better one
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], True),  # six are all
    ],
)
def test_when_it_stops(scores, stops):
    settings = TrainingSettings(min_epochs=4, max_epochs=6, patience=2)
    assert should_stop(history_of(*scores), settings) == stops


def test_the_first_of_equal_epochs_is_the_best():
    assert best_epoch(history_of(0.1, 0.4, 0.4)) == 1


@pytest.mark.parametrize(("least", "most"), [(0, 3), (4, 3)])
def test_epochs_must_make_sense(least, most):
    with pytest.raises(InputError, match=f"received min_epochs {least}, max_epochs {most}"):
        TrainingSettings(min_epochs=least, max_epochs=most)


def test_weights_multiply_the_terms_of_the_loss():
    labels, weights = np.array([[1.0, 0.0]]), np.array([[2.0, 0.5]])
    logits = tf.constant([[0.3, -0.7]])
    one, two = np.logaddexp(0, -0.3), np.logaddexp(0, -0.7)
    loss = image_loss(SETTINGS)(tf.constant(np.stack([labels, weights], 2), tf.float32), logits)
    assert float(loss[0]) == pytest.approx(2 * one + 0.5 * two, rel=1e-6)


def test_balanced_weights_are_those_of_scikit_learn(prepared):
    dataset = PreparedDataset(prepared)
    rows = dataset.split(0)["train"]
    weights = loss_weights(dataset, rows, "balanced")
    assert weights.shape == dataset.labels.shape
    for label in range(weights.shape[1]):
        expected = compute_sample_weight("balanced", dataset.labels[rows, label])
        np.testing.assert_allclose(weights[rows, label], expected, rtol=1e-6)
    assert loss_weights(dataset, rows, None) is None


@pytest.mark.parametrize(("over", "expected"), [("sum", 3.0), ("mean", 1.5)])
def test_cross_entropy_by_hand(over, expected):
    # Logits 0 and ln 3 have σ = 1/2 and 3/4; labels 1 and 0 cost ln 2 + ln 4 = 3 ln 2.
    labels, logits = np.array([[1.0, 0.0]]), np.array([[0.0, np.log(3)]])
    loss = image_loss(TrainingSettings(loss_over_labels=over))
    assert loss(labels, logits).numpy().tolist() == pytest.approx([expected * np.log(2)], rel=1e-6)
    # A second path, of logits 0, costs 2 ln 2 more, or half of it.
    paths = np.stack([logits, np.zeros((1, 2))], axis=2)
    expected *= 5 / 3
    assert loss(labels, paths).numpy().tolist() == pytest.approx([expected * np.log(2)], rel=1e-6)


def after_steps(start):
    """The weights, layer by layer, of a graph that is trained on one batch three times."""
    core = keras.models.clone_model(start)
    core.set_weights(start.get_weights())
    labels = np.random.default_rng(3).integers(0, 2, (5, L)).astype(np.float32)
    inputs = taken_by(core, random_inputs("w2v"))
    compiled(core, None, SETTINGS).fit(inputs, labels, epochs=3, shuffle=False, verbose=0)
    return weights_by_name(core)


def test_a_path_learns_as_if_it_were_alone():
    """Beside a kernel path, which training leaves as it is."""
    both = small("ltwin_kernel", "w2v", dropout=0.0, l2=0.01)
    twin = keras.Model(both.input, both.get_layer("W_y").output)
    names = [layer.name for layer in twin.layers if layer.weights]
    together, alone = after_steps(both), after_steps(twin)
    for name in names:
        for ours, theirs in zip(together[name], alone[name], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for name in ("W_kx", "W_ku", "W_k"):
        for ours, theirs in zip(together[name], weights_by_name(both)[name], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def run_command(prepared: Path, out: Path) -> list[str]:
    flags = {
        "arch": "ltwin_2rnn",
        "data": prepared,
        "preset": "auto",
        "hidden": 8,
        "m": 2,
        "M": 4,
        "max_epochs": 12,
        "out": out,
    }
    return [sys.executable, "-m", "experiments.run", *(f"--{k}={v}" for k, v in flags.items())]


@pytest.mark.large
def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(prepared, tmp_path):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    undisturbed = subprocess.Popen(run_command(prepared, tmp_path / "whole"), **quiet)
    killed = subprocess.Popen(run_command(prepared, tmp_path / "killed"), **quiet)
    last = tmp_path / "killed" / "checkpoints" / "last.npz"
    while not last.exists():
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stderr.close()
    with np.load(last) as state:
        assert state["history"].item().count('"epoch"') < 12, "it was over before the kill"
    again = subprocess.run(run_command(prepared, tmp_path / "killed"), **quiet)
    assert again.returncode == 0, again.stderr
    assert undisturbed.wait() == 0, undisturbed.communicate()[1]
    undisturbed.stderr.close()
    states = [np.load(tmp_path / run / "checkpoints" / "last.npz") for run in ("whole", "killed")]
    weights = [name for name in states[0].files if name.startswith(("model_", "optimizer_"))]
    assert len(weights) > 20
    for name in weights:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    for state in states:
        state.close()


@pytest.mark.parametrize("arch", ["ltwin", "lzip"])
def test_a_step_stays_on_the_device(prepared, arch):
    """No operation of a step calls the host; what it is given is row numbers and labels."""
    dataset = PreparedDataset(prepared)
    tables = dataset.tables("id")
    core = small(
        arch,
        "id",
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        m=2,
        tag_dim=tables.tag_dim,
    )
    model = compiled(core, lookup_tables(tables), SETTINGS)
    batches = stream(dataset, [tensor.name for tensor in model.inputs], 8, range(1))
    rows, labels = batches.element_spec
    assert rows == {
        "row": tf.TensorSpec([None], tf.int32),
        "neighbours": tf.TensorSpec([None, 2], tf.int32),
    }
    assert labels.shape[1:] == [len(dataset.label_names)]
    step = tf.function(model.train_step).get_concrete_function(batches.element_spec)
    found = operations(step.graph.as_graph_def())
    assert "MatMul" in found
    called = {name for name in found if "PyFunc" in name or "Host" in name}
    assert not called | (found & {"Print", "PrintV2", "NumpyFunction", "IteratorGetNext"})
