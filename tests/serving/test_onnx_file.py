"""The graph as ONNX, in onnxruntime."""

import sys

import numpy as np
import pytest
from helpers.graphs import CASES, LINES, M, by_lines, lanes, small, vector_inputs

from tagnet.errors import InputError
from tagnet.models.parts import is_order_sensitive
from tagnet.serving.onnx_file import write_onnx


@pytest.fixture
def written(tmp_path):
    """Writes a graph as ONNX and opens it; tests are skipped where the packages are not there."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def write(core):
        write_onnx(core, LINES, tmp_path / "model.onnx")
        return runtime.InferenceSession(tmp_path / "model.onnx")

    return write


@pytest.mark.parametrize(("arch", "feed"), lanes(CASES))
def test_answers_as_the_graph(arch, feed, written):
    """For any number of images, and of neighbours where their order does not count."""
    core = small(arch, feed)
    opened = written(core)
    for count, neighbours in ((1, M), (5, M if is_order_sensitive(core) else M + 3)):
        ids, vectors = vector_inputs(core, count=count, neighbours=neighbours)
        scores, probabilities = opened.run(["scores", "probabilities"], vectors)
        expected = core(ids).numpy()
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        np.testing.assert_allclose(probabilities, by_lines(expected), atol=1e-4)


def test_an_lstm_takes_more_neighbours_too(written):
    """As the graph itself does."""
    core = small("lzip", "w2v")
    ids, vectors = vector_inputs(core, neighbours=M + 2)
    scores = written(core).run(["scores"], vectors)[0]
    np.testing.assert_allclose(scores, core(ids), atol=1e-4)


def test_fewer_neighbours_than_m_are_all_that_there_are(written):
    core = small("ltn", None)
    opened = written(core)
    _, few = vector_inputs(core, neighbours=2)
    again = few | {"phi_z": np.repeat(few["phi_z"], 2, axis=1)}  # m = 4: each of them twice
    one, other = (opened.run(["scores"], given)[0] for given in (few, again))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_features_of_nothing_are_not_divided_by_zero(written):
    core = small("ltwin_kernel", "w2v")
    _, black = vector_inputs(core)
    black["phi_x"][:] = 0
    scores = written(core).run(["scores"], black)[0]
    np.testing.assert_allclose(scores, core(black), atol=1e-4)


def test_without_the_package_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = r"--format=onnx needs the package onnx, .* pip install 'tagnet\[onnx\]'$"
    with pytest.raises(InputError, match=line):
        write_onnx(small("v_only", None), LINES, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
