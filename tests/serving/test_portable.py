"""The graph in Keras' own layers: the same answers, in a process that has no tagnet."""

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from helpers.graphs import CASES, M, lanes, small, vector_inputs, weights_by_name

from tagnet.models.parts import is_order_sensitive
from tagnet.serving.portable import portable_model, write_keras, write_weights

DEFAULT = [("ltn_allvecs", "id"), ("ltwin_rnn", "w2v"), ("ltwin_2rnn", "id"), ("lzip", "w2v")]
DEFAULT += [("ltwin_kernel", "id")]
WITHOUT_TAGNET = """
import sys
sys.modules["tagnet"] = None  # an import of it fails
import keras, numpy as np
model = keras.saving.load_model("model.keras")
with np.load("given.npz") as given:
    np.save("scores.npy", model(dict(given)))
assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
"""


@pytest.mark.parametrize(("arch", "feed"), lanes(CASES, DEFAULT))
def test_answers_as_the_graph(arch, feed):
    core = small(arch, feed)
    model = portable_model(core)
    assert {tensor.dtype for tensor in model.inputs} == {"float32"}
    for neighbours in (M,) if is_order_sensitive(core) else (M, M + 3):
        ids, vectors = vector_inputs(core, count=5, neighbours=neighbours)
        np.testing.assert_allclose(model(vectors), core(ids), atol=1e-4)


def test_fewer_neighbours_than_m_are_all_that_there_are():
    model = portable_model(small("ltn", None))
    _, few = vector_inputs(small("ltn", None), neighbours=2)
    again = few | {"phi_z": np.repeat(few["phi_z"], 2, axis=1)}  # m = 4: each of them twice
    np.testing.assert_allclose(model(few), model(again), atol=1e-5)


def test_it_keeps_penalties_and_dropout_and_leaves_the_policy_alone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        core = small("ltwin_rnn", "w2v", l2=0.25, dropout=0.125)
        model = portable_model(core)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert float(model.get_layer("W_x").kernel_regularizer.l2) == 0.25
    assert float(model.get_layer("W_RNN").cell.recurrent_regularizer.l2) == 0.25
    rates = [one.rate for one in model.layers if isinstance(one, keras.layers.Dropout)]
    assert rates == [0.125] * 4


def test_the_file_needs_none_of_our_layers(tmp_path, monkeypatch):
    core = small("ltwin_kernel", "id")
    write_keras(core, tmp_path / "model.keras")
    registered = keras.saving.get_custom_objects()
    for name in list(registered):
        monkeypatch.delitem(registered, name)
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    ids, vectors = vector_inputs(core)
    np.testing.assert_allclose(model(vectors), core(ids), atol=1e-4)


@pytest.mark.large
@pytest.mark.parametrize(("arch", "feed"), CASES)
def test_the_file_opens_without_tagnet(arch, feed, tmp_path):
    core = small(arch, feed)
    write_keras(core, tmp_path / "model.keras")
    ids, vectors = vector_inputs(core)
    np.savez(tmp_path / "given.npz", **vectors)
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TAGNET]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), core(ids), atol=1e-4)


def test_weights_have_the_names_of_the_paper(tmp_path):
    core = small("ltwin_rnn", "id")
    write_weights(core, tmp_path / "weights.h5")
    with h5py.File(tmp_path / "weights.h5") as file:
        assert set(file) == {"W_x", "W_z", "W_xu", "W_zu", "W_RNN", "W_oRNN", "W_y"}
        assert list(file["W_x"]) == ["bias", "kernel"]
        assert list(file["W_RNN"]) == ["bias", "kernel", "recurrent_kernel"]
        kernel, bias = weights_by_name(core)["W_xu"]
        np.testing.assert_array_equal(file["W_xu/kernel"], kernel)
        np.testing.assert_array_equal(file["W_xu/bias"], bias)
        recurrent = weights_by_name(core)["W_RNN"][1]
        np.testing.assert_array_equal(file["W_RNN/recurrent_kernel"], recurrent)
