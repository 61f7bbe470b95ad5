"""The command `export`: a file in each format, labels beside it, one line for every mistake."""

import json
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import TAGS, D, L, M, deployed, vector_inputs
from helpers.tables import one_line

from experiments import export as command
from tagnet.serving import photoprism, portable
from tagnet.serving.export import write_saved_model
from tagnet.serving.preset import open_model
from tagnet.system import console


def run(*argv: object) -> int:
    argv = ("export", *map(str, argv))
    return console.execute(command.Options, command.main, command.USAGE, list(argv))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that is fed with ids, and the folder of its SavedModel."""
    deployment = deployed("ltwin", "id", backbone="tiny")
    rng = np.random.default_rng(0)
    deployment.calibrate(rng.normal(size=(40, L)), rng.integers(0, 2, size=(40, L)))
    return deployment, write_saved_model(deployment, tmp_path_factory.mktemp("model")).parent


def test_keras(model, tmp_path, capsys):
    deployment, folder = model
    out = tmp_path / "new" / "model.keras"
    assert run(folder, f"--out={out}") == 0
    assert capsys.readouterr().out == f"wrote {out} and {out}.json: ltwin\n"
    ids, vectors = vector_inputs(deployment.core)
    np.testing.assert_allclose(
        keras.saving.load_model(out)(vectors), deployment.core(ids), atol=1e-5
    )
    card = json.loads((out.parent / "model.keras.json").read_text())
    slope, offset = (line.tolist() for line in deployment.lines)
    assert card == {
        **{"arch": "ltwin", "backbone": "tiny", "feed": "id", "neighbours": "id"},
        **{"m": M, "max_rank": M + 2, "slope": slope, "offset": offset},
        "labels": [f"label {i}" for i in range(L)],
        "tags": list(deployment.vocabulary.words),
    }
    assert {path.name for path in out.parent.iterdir()} == {"model.keras", "model.keras.json"}


def test_weights(model, tmp_path):
    deployment, folder = model
    assert run(folder, "--format=weights", f"--out={tmp_path / 'w.h5'}") == 0
    with h5py.File(tmp_path / "w.h5") as file:
        kernel = deployment.core.get_layer("W_zu").kernel
        np.testing.assert_array_equal(file["W_zu/kernel"], kernel)


def test_onnx(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    deployment, folder = model
    assert run(folder, f"--out={tmp_path / 'm.onnx'}") == 0
    ids, vectors = vector_inputs(deployment.core)
    opened = runtime.InferenceSession(tmp_path / "m.onnx")
    (probabilities,) = opened.run(["probabilities"], vectors)
    expected = deployment.probabilities(deployment.core(ids))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_litert_takes_all_m_nearest(model, tmp_path):
    """Then its scores are those of `annotate`."""
    deployment, folder = model
    assert run(folder, f"--out={tmp_path / 'm.tflite'}") == 0
    with pytest.warns(UserWarning, match="ai_edge_litert"):
        opened = tf.lite.Interpreter(str(tmp_path / "m.tflite"))
    shapes = {tuple(one["shape_signature"]) for one in opened.get_input_details()}
    assert shapes == {(-1, D), (-1, M + 2, D), (-1, TAGS), (-1, M + 2, TAGS)}


def test_an_lstm_takes_m_neighbours():
    assert portable.neighbours_given(deployed("rtn", None)) == M
    assert portable.neighbours_given(deployed("ltn", None)) == M + 2


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["a", "b", "--out=m.onnx"], "give one run directory, SavedModel or preset; received a b"),
        (["a"], "--out is missing: the file to write"),
        (
            ["a", "--out=m.pb"],
            "--out must end in .keras or .onnx or .tflite or .h5; received 'm.pb'",
        ),
        (["a", "--format=onnx", "--out=m.h5"], "--out must end in .onnx; received 'm.h5'"),
        (
            ["a", "--format=caffe", "--out=m.h5"],
            "--format must be one of keras, onnx, litert, weights, photoprism, preset; "
            "received 'caffe'",
        ),
        (
            ["there.h5", "--out=m.h5"],
            "there.h5: not a finished run or a SavedModel (no saved_model.pb)",
        ),
        (["a", "--out=there.h5"], "there.h5: exists; choose another --out or remove it"),
        (
            ["a", "--format=photoprism", "--out=there.h5"],
            "there.h5: exists; choose another --out or remove it",
        ),
        (["a", "--out=card.h5"], "card.h5.json: exists; choose another --out or remove it"),
    ],
)
def test_mistakes(given, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.h5").write_text("of somebody")
    (tmp_path / "card.h5.json").write_text("of somebody")
    assert run(*given) == 2
    assert line in one_line(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"there.h5", "card.h5.json"}
    assert (tmp_path / "there.h5").read_text() == "of somebody"


def test_onnx_without_its_package(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run(model[1], f"--out={tmp_path / 'm.onnx'}") == 2
    assert "--format=onnx needs the package onnx, which is not installed" in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_photoprism(model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tagnet"
    assert run(model[1], "--format=photoprism", f"--out={out}") == 2
    assert "--format=photoprism: the backbone must be one of" in one_line(capsys)
    assert not out.exists()
    monkeypatch.setattr(photoprism, "write_photoprism", lambda _, folder: folder.mkdir())
    assert run(model[1], "--format=photoprism", f"--out={out}") == 0
    assert capsys.readouterr().out == f"wrote {out}: ltwin\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tagnet"]  # labels.txt is in it


def test_preset(model, tmp_path, capsys):
    out = tmp_path / "preset"
    assert run(model[1], "--format=preset", f"--out={out}") == 0
    assert capsys.readouterr().out == f"wrote {out}: ltwin\n"
    assert open_model(out).settings == model[0].settings


def test_the_shipped_model_is_the_default(tmp_path, capsys):
    assert run(f"--out={tmp_path / 'w.h5'}") == 0
    assert capsys.readouterr().out.startswith("model: ltwin_kernel_coco, which comes with tagnet")
    assert {path.name for path in tmp_path.iterdir()} == {"w.h5", "w.h5.json"}
