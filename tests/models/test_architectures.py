"""The graphs: equal to the equations, of the stated size, with the stated invariants."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import oracle
from helpers.graphs import (
    CASES,
    D,
    H,
    M,
    lanes,
    multi_hot,
    random_inputs,
    small,
    taken_by,
    weights_by_name,
)

from tagnet.errors import InputError
from tagnet.models.architectures import ARCHITECTURES, JOINT, RECURRENT, VISUAL, build
from tagnet.models.parts import is_order_sensitive
from tagnet.settings import GraphSettings

READS_NEIGHBOURS = lanes([case for case in CASES if case[0] != "v_only"])
EVERY = pytest.mark.parametrize(("arch", "feed"), lanes(CASES))

# Derived from the equations at D 4096, τ 5000 fed as ids, h 500, L 81, with
# FC_x = FC_z = 4096·500 + 500, FC_u = 5000·500 + 500, LSTM(n → u) = 4u(n + u + 1):
# v_only 81·4097; ltn 2 FC_x + 81·1001; rtn + LSTM(500 → 500); ltn_vecs and
# ltn_allvecs 9096·500 + 500 for one or both FC; ltwin 2 FC_x + 2 FC_u + 81·2001;
# ltwin_rnn + 2 LSTM(500 → 500); ltwin_2rnn with LSTM(500 → 81) for W_y; lzip the
# four FC and LSTM(500 → 81); ltwin_kernel is ltwin + 4097·1001 + 5000·1000 + 81·1001.
PARAMETERS = {
    "v_only": 331_857,
    "ltn": 4_178_081,
    "rtn": 6_180_081,
    "ltn_vecs": 6_678_081,
    "ltn_allvecs": 9_178_081,
    "ltwin": 9_260_081,
    "ltwin_rnn": 13_264_081,
    "ltwin_2rnn": 13_290_568,
    "lzip": 9_286_568,
    "ltwin_kernel": 18_442_259,
}


@EVERY
def test_graph_equals_its_equation(arch, feed):
    model = small(arch, feed)
    inputs = random_inputs(feed)
    weights = weights_by_name(model)
    equation = getattr(oracle, arch)
    dense = {
        name: multi_hot(values) if feed == "id" and name.startswith("pi") else values
        for name, values in inputs.items()
    }
    expected = [
        equation(
            weights,
            dense["phi_x"][image],
            dense["pi_x"][image] if feed else None,
            dense["phi_z"][image],
            dense["pi_z"][image] if feed else None,
        )
        for image in range(len(inputs["phi_x"]))
    ]
    scores = model(taken_by(model, inputs)).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


def test_every_architecture_has_a_parameter_count():
    assert set(PARAMETERS) == set(ARCHITECTURES) == set(VISUAL) | set(JOINT)


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_count(arch):
    feed = "id" if arch in JOINT else None
    sizes = {"tag_dim": 5000 if feed else 0, "references": 1000}
    model = build(arch, GraphSettings(4096, 81, m=12, feed=feed, **sizes))
    assert model.count_params() == PARAMETERS[arch]


@pytest.mark.parametrize(
    ("arch", "changes", "line"),
    [
        ("ltwim", {}, "architecture must be one of v_only, .*; received 'ltwim'"),
        ("ltwin", {"feed": None}, "ltwin reads tags: feed must be one of id, .*; received None"),
        ("ltwin", {"tag_dim": 0}, "ltwin: tag_dim must be at least 1; received 0"),
        ("ltn", {"feature_dim": 0}, "ltn: feature_dim must be at least 1; received 0"),
        ("ltwin_kernel", {}, "ltwin_kernel: references must be at least 1; received 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(arch, changes, line):
    given = {"feature_dim": 6, "num_labels": 3, "m": 2, "feed": "id", "tag_dim": 5}
    with pytest.raises(InputError, match=line):
        build(arch, GraphSettings(**given | changes))


def test_visual_only_takes_no_neighbours():
    assert [tensor.name for tensor in small("v_only", None).inputs] == ["phi_x"]


@pytest.mark.parametrize(("arch", "feed"), READS_NEIGHBOURS)
def test_only_lstm_graphs_read_the_order_of_neighbours(arch, feed):
    model = small(arch, feed)
    inputs = random_inputs(feed)
    turned = {
        name: values[:, ::-1] if name.endswith("_z") else values for name, values in inputs.items()
    }
    scores = model(taken_by(model, inputs)).numpy()
    scores_turned = model(taken_by(model, turned)).numpy()
    assert is_order_sensitive(model) == (arch in RECURRENT)
    if is_order_sensitive(model):
        assert np.abs(scores - scores_turned).max() > 1e-3
    else:
        np.testing.assert_allclose(scores, scores_turned, atol=1e-6)


@EVERY
def test_every_weight_gets_a_gradient(arch, feed):
    model = small(arch, feed, dropout=0.0, l2=0.0)
    with tf.GradientTape() as tape:
        # Large biases keep every ReLU open, so that a zero means "not connected".
        for layer in model.layers:
            if layer.name in ("W_x", "W_z", "W_xu", "W_zu"):
                kernel, bias = layer.get_weights()
                layer.set_weights([kernel, bias + 20])
        scores = model(taken_by(model, random_inputs(feed, count=40)))
        loss = tf.reduce_sum(scores**2)
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.abs(gradient).sum() > 0, weight.path


def test_the_layer_over_the_neighbours_is_time_distributed():
    """One Dense on the last axis is `TimeDistributed(Dense)`: the same W_z for every z_i."""
    model = small("ltn", None)
    inputs = random_inputs(None)
    layer = model.get_layer("W_z")
    dense = keras.layers.Dense(H, activation="relu")
    distributed = keras.layers.TimeDistributed(dense)
    distributed.build((None, M, D))
    dense.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(inputs["phi_z"]), distributed(inputs["phi_z"]), atol=1e-6)


@pytest.mark.parametrize(("arch", "feed"), READS_NEIGHBOURS)
def test_dropout_acts_in_training_alone(arch, feed):
    model = small(arch, feed)
    inputs = taken_by(model, random_inputs(feed))
    np.testing.assert_array_equal(model(inputs), model(inputs))
    assert np.abs(model(inputs, training=True) - model(inputs, training=True)).max() > 1e-3


@EVERY
def test_the_penalty_is_on_every_kernel_and_no_bias(arch, feed):
    """λ‖W‖² summed over the kernels that training changes, recurrent ones included."""
    model = small(arch, feed, l2=0.25)
    kernels = [weight for weight in model.trainable_weights if len(weight.shape) == 2]
    expected = 0.25 * sum(float((weight.numpy() ** 2).sum()) for weight in kernels)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arch", "feed"),
    lanes([case for case in CASES if case[1] != "w2v"], [("ltwin", "id")]),
)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_builds_and_steps(arch, feed, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small(arch, feed)
        before = model.get_weights()
        model.compile("rmsprop", keras.losses.BinaryCrossentropy(from_logits=True))
        inputs = taken_by(model, random_inputs(feed))
        loss = model.train_on_batch(inputs, np.ones((5, 3), np.float32))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(loss)
    assert model.output.dtype == "float32"
    assert any(
        np.abs(old - new).max() > 0 for old, new in zip(before, model.get_weights(), strict=True)
    )


@EVERY
def test_saved_model_file_loads_equal(arch, feed, tmp_path):
    model = small(arch, feed)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = taken_by(model, random_inputs(feed))
    np.testing.assert_array_equal(model(inputs), reloaded(inputs))
