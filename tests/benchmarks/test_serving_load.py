"""The load test of a served model, on a tiny one: it answers, in batches too, and counts."""

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from helpers.graphs import D, deployed

from tagnet.errors import InputError
from tagnet.serving.export import write_saved_model

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")


@pytest.fixture(scope="module")
def load() -> SimpleNamespace:
    """The modules."""
    return SimpleNamespace(
        clients=importlib.import_module("benchmarks.speed.serving_load"),
        server=importlib.import_module("benchmarks.speed.serving_server"),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Any:
    """A loaded SavedModel that has answered once, since the first answer takes long."""
    folder = write_saved_model(deployed("ltn", None), tmp_path_factory.mktemp("model"))
    loaded = tf.saved_model.load(folder)
    loaded.signatures["annotate_features"](phi=tf.ones([1, D]), tags=tf.constant([["", ""]]))
    return loaded


def request_of(load: SimpleNamespace, phi: np.ndarray, signature="annotate_features"):
    messages, _ = load.server.stubs()
    tags = np.array([[b"tag 1", b""]] * len(phi), object)
    return load.clients._request(messages, signature, phi=phi, tags=tags)


def running(load: SimpleNamespace, port: int):
    """A server of this process."""
    return load.clients.Running(port, psutil.Process())


def test_answers_in_batches_are_those_of_the_model(load, model):
    server, port = load.server.start(model, batch=4, wait=0.02)
    phi = np.random.default_rng(0).random([6, D], np.float32)
    rows = [request_of(load, phi[i : i + 1]) for i in range(6)]
    direct = model.signatures["annotate_features"]
    expected = direct(phi=tf.constant(phi), tags=tf.constant([["tag 1", ""]] * 6))
    found = [load.clients.ask(running(load, port), row).outputs["probabilities"] for row in rows]
    np.testing.assert_allclose(
        np.concatenate([tf.make_ndarray(proto) for proto in found]),
        expected["probabilities"],
        atol=1e-6,
    )
    took = load.clients.latencies([port], 3, rows, seconds=0.5)
    assert len(took) > 0 and 0 < took.min() < 0.5
    server.stop(None)


def test_a_refused_request_spoils_no_other_of_its_batch(load, model):
    signature = model.signatures["annotate_features"]
    asked = []

    def batch_with_another(**inputs):
        asked.append(inputs)
        raise tf.errors.InvalidArgumentError(None, None, "phi must be finite")

    good = request_of(load, np.ones([1, D], np.float32))
    bad = request_of(load, np.full([1, D], np.nan, np.float32))
    calls = [batch_with_another, signature]
    assert load.server.answer(calls, good.inputs)["probabilities"].tensor_shape.dim[0].size == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="phi must be finite; received NaN"):
        load.server.answer(calls, bad.inputs)
    assert len(asked) == 2


def test_what_a_server_refuses(load, model):
    server, port = load.server.start(model)
    phi = np.ones([1, D], np.float32)
    for request, code, line in (
        (request_of(load, phi * np.nan), "INVALID_ARGUMENT", "phi must be finite"),
        (request_of(load, phi[:, 1:]), "INVALID_ARGUMENT", ""),
        (request_of(load, phi, "nothing"), "NOT_FOUND", "no signature 'nothing'; has serving_def"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            load.clients.ask(running(load, port), request)
        assert refused.value.code().name == code
        assert line in refused.value.details()
    messages, _ = load.server.stubs()
    assert load.clients.refused(running(load, port), messages) == "RESOURCE_EXHAUSTED"
    with pytest.raises(grpc.RpcError):
        load.clients.latencies([port], 2, [request_of(load, phi * np.nan)], seconds=0.5)
    server.stop(None)


def test_without_the_protocol_one_line_says_what_to_install(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(InputError, match="run `pip install tensorflow-serving-api`"):
        load.server.stubs()
