"""The SavedModel: named tensors in, scores and probabilities out, TensorFlow alone suffices."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from graphs import CASES, deployed, random_inputs, taken_by

from tagnet.export import export

WITHOUT_TAGNET = """
import sys
sys.modules["tagnet"] = None  # an import of it fails
sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder, given, answer = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
with np.load(given) as arrays:
    outputs = serve(**{name: tf.constant(arrays[name]) for name in arrays.files})
np.savez(answer, **{name: tensor.numpy() for name, tensor in outputs.items()})
"""


@pytest.mark.parametrize(("arch", "feed"), CASES)
def test_signature_answers_as_the_graph(arch, feed, tmp_path):
    deployment = deployed(arch, feed)
    deployment.temperature.assign(2.0)
    export(deployment, tmp_path / "saved_model")
    model = deployment.core
    serve = tf.saved_model.load(tmp_path / "saved_model" / "1").signatures["serving_default"]
    assert set(serve.structured_input_signature[1]) == {tensor.name for tensor in model.inputs}
    for count in (1, 5):  # the batch size is free
        inputs = taken_by(model, random_inputs(feed, count=count))
        outputs = serve(**{name: tf.constant(values) for name, values in inputs.items()})
        assert set(outputs) == {"scores", "probabilities"}
        scores = model(inputs).numpy()
        np.testing.assert_allclose(outputs["scores"], scores, atol=1e-5)
        np.testing.assert_allclose(
            outputs["probabilities"], 1 / (1 + np.exp(-scores / 2)), atol=1e-5
        )


def test_it_answers_equally_without_tagnet(tmp_path):
    deployment = deployed("ltwin_2rnn", "id")
    folder = export(deployment, tmp_path / "saved_model")
    inputs = random_inputs("id")
    np.savez(tmp_path / "given.npz", **inputs)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TAGNET, folder, "given.npz", "answer.npz"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with np.load(tmp_path / "answer.npz") as answer:
        np.testing.assert_allclose(answer["scores"], deployment.core(inputs), atol=1e-5)


def test_max_pool_graphs_answer_more_neighbours_with_the_mean_over_subsets(tmp_path):
    """K = M given to a graph of m: eq. 2 without a loop (see test_layers for the weights)."""
    deployment = deployed("ltn", None, m=2)
    serve = tf.saved_model.load(export(deployment, tmp_path / "saved_model"))
    model = deployment.core
    inputs = random_inputs(None, neighbours=3)
    pairs = [inputs["phi_z"][:, list(pair)] for pair in ((0, 1), (0, 2), (1, 2))]
    expected = np.mean([model({**inputs, "phi_z": pair}) for pair in pairs], axis=0)
    outputs = serve.signatures["serving_default"](
        **{name: tf.constant(values) for name, values in inputs.items()}
    )
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
