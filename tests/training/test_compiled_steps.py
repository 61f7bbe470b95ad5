"""Training steps that XLA compiles whole: the same weights, compiled once, none on the host."""

import re

import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import CASES, lanes, small

from tagnet.data.batches import BatchSettings, training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookup_tables
from tagnet.errors import InputError
from tagnet.models.dropout import Dropout
from tagnet.settings import MAX_COMPILED_TAGS, Neighbourhood, TrainingSettings
from tagnet.training import experiment
from tagnet.training.loop import compiled

SETTINGS = TrainingSettings(learning_rate=1e-3, batch_size=16)
STEPS, AN_EPOCH = 50, 3  # of 36 images: 16, 16 and 4
DEFAULT = [("ltn_allvecs", "id")]  # others take 5 to 15 s each, and run with --large


def trained(prepared, arch, feed, by_xla, **changes):
    """A model after some epochs, and the batches that it was given."""
    dataset = PreparedDataset(prepared)
    tables = dataset.tables(feed)
    sizes = {"feature_dim": tables.feature_dim, "tag_dim": tables.tag_dim, "m": 2}
    core = small(arch, feed, num_labels=len(dataset.label_names), **sizes, **changes)
    model = compiled(core, lookup_tables(tables, by_xla), SETTINGS, by_xla)
    batches = training_batches(
        dataset,
        BatchSettings(0, "id", "open", Neighbourhood(2, 4), SETTINGS.batch_size, seed=0),
        [tensor.name for tensor in model.inputs],
        range(STEPS),
        one_size=by_xla,
    )
    fitted = batches.take(STEPS)
    model.fit(fitted, epochs=1, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return model, batches


@pytest.mark.parametrize(("arch", "feed"), lanes(CASES, DEFAULT))
def test_a_compiled_step_is_the_other_one(prepared, arch, feed):
    """Fifty steps, every third with a batch of four images; without dropout, see the next test."""
    ours, batches = trained(prepared, arch, feed, by_xla=True, dropout=0.0)
    theirs, _ = trained(prepared, arch, feed, by_xla=False, dropout=0.0)
    for weight, expected in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    step = ours._compiled_step
    assert step.experimental_get_tracing_count() == 1
    rows, labels, weights = batches.element_spec  # and these are of one size, so it compiles once
    assert all(spec.shape.is_fully_defined() for spec in (*rows.values(), labels, weights))
    assert {spec.dtype for spec in rows.values()} == {tf.int32}
    assert labels.shape[0] == weights.shape[0] == SETTINGS.batch_size
    # The step is one program; what would leave it while it runs would be one of these.
    program = step.experimental_get_compiler_ir(next(iter(batches)))(stage="hlo")
    assert "ENTRY" in program
    assert not re.findall(r"\b(infeed|outfeed|send|recv|custom-call)\(", program)


def test_dropout_draws_anew_in_every_compiled_step():
    """Its masks are others than those of a step that XLA does not compile, of the same seed."""
    layer = Dropout(0.5, seed=3)
    drop = tf.function(lambda: layer(tf.ones([100, 100]), training=True), jit_compile=True)
    first, second = drop().numpy(), drop().numpy()
    assert np.mean(first == 0) == pytest.approx(0.5, abs=0.02)
    assert np.mean(second == 0) == pytest.approx(0.5, abs=0.02)
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.02)


def test_the_last_batch_is_filled_up_with_images_that_do_not_count(prepared):
    dataset = PreparedDataset(prepared)
    settings = BatchSettings(0, "id", "open", Neighbourhood(2, 4), 16, seed=0)
    names = ["row", "neighbours"]
    usual = list(training_batches(dataset, settings, names, range(1)))
    filled = list(training_batches(dataset, settings, names, range(1), one_size=True))
    assert len(filled) == len(usual) == AN_EPOCH
    for (rows, labels), (given, targets, weights) in zip(usual, filled, strict=True):
        count = len(labels)
        np.testing.assert_array_equal(targets[:count], labels)
        for name in names:
            np.testing.assert_array_equal(given[name][:count], rows[name])
            assert len(given[name]) == 16
        assert weights.numpy().tolist() == [16 / count] * count + [0] * (16 - count)


@pytest.mark.parametrize(
    ("jit", "gpus", "most_tags", "expected"),
    [
        ("auto", [], 5, False),
        ("auto", ["GPU"], 5, True),
        ("auto", ["GPU"], MAX_COMPILED_TAGS + 1, False),
        ("off", ["GPU"], 0, False),
        ("on", [], MAX_COMPILED_TAGS, True),
    ],
)
def test_when_steps_are_compiled(monkeypatch, jit, gpus, most_tags, expected):
    monkeypatch.setattr(experiment, "gpus", lambda: gpus)
    assert experiment.compiles(jit, most_tags) == expected


def test_lists_that_are_too_long_to_be_padded():
    with pytest.raises(InputError, match="--jit must be auto or off where an image has more than"):
        experiment.compiles("on", MAX_COMPILED_TAGS + 1)
