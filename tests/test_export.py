"""The SavedModel: named tensors in, scores and probabilities out, TensorFlow alone suffices."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from graphs import D, deployed, random_inputs, taken_by

from tagnet import features, signatures
from tagnet.annotator import Annotation, Annotator
from tagnet.efficientnet import central_square
from tagnet.export import export
from tagnet.features import Backbone
from tagnet.files import read_arrays

WITHOUT_TAGNET = """
import sys
sys.modules["tagnet"] = None  # an import of it fails
sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder, signature, given, answer = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures[signature]
with np.load(given) as arrays:
    outputs = serve(**{name: tf.constant(arrays[name]) for name in arrays.files})
outputs = {name: tensor.numpy() for name, tensor in outputs.items()}
strings = {name: array.astype("S") for name, array in outputs.items() if array.dtype == object}
np.savez(answer, **(outputs | strings))
"""


def asked_elsewhere(folder: Path, signature: str, inputs: dict[str, np.ndarray]) -> dict:
    """What a process that has TensorFlow alone answers."""
    place = folder.parent
    np.savez(place / "given.npz", **inputs)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TAGNET, folder, signature, "given.npz", "answer.npz"],
        cwd=place,
        check=True,
        capture_output=True,
    )
    return read_arrays(place / "answer.npz")


FEWER = [("v_only", None), ("rtn", None), ("ltn_vecs", "id"), ("ltwin", "w2v"), ("lzip", "w2v")]


@pytest.mark.parametrize(("arch", "feed"), FEWER)
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


TAGS_GIVEN = [["tag 1", "Tag 2", "unheard of"], ["", "", ""], ["tag 8", "", ""]]


def assert_equal_to_the_annotator(answer: dict, annotations: list[Annotation]) -> None:
    for row, annotation in enumerate(annotations):
        assert [name.decode() for name in answer["labels"][row]] == [
            label.name for label in annotation.labels
        ]
        expected = [label.probability for label in annotation.labels]
        np.testing.assert_allclose(answer["probabilities"][row], expected, atol=1e-5)
        assert [name.decode() for name in answer["neighbours"][row]] == [
            neighbour.image_id for neighbour in annotation.neighbours
        ]
        expected = [neighbour.distance for neighbour in annotation.neighbours]
        np.testing.assert_allclose(answer["distances"][row], expected, atol=1e-5)
        assert answer["by_features"][row] == annotation.by_features


@pytest.mark.parametrize(("arch", "feed"), [("ltwin_2rnn", "id"), ("ltwin", "w2v")])
def test_it_answers_equally_without_tagnet_and_moved(arch, feed, tmp_path):
    export(deployed(arch, feed), tmp_path / "saved_model")
    moved = tmp_path / "empty" / "elsewhere"
    shutil.move(tmp_path / "saved_model" / "1", moved)
    phi = random_inputs(None, count=3)["phi_x"]
    inputs = {"phi": phi, "tags": np.array(TAGS_GIVEN).astype("S")}
    answer = asked_elsewhere(moved, "annotate_features", inputs)
    given = [list(filter(None, tags)) for tags in TAGS_GIVEN]
    assert_equal_to_the_annotator(answer, Annotator.load(moved).annotate_all(list(phi), given))


def test_images_and_examples_are_answered_as_their_features(tmp_path, monkeypatch):
    """A network of no weights stands for the CNN; pixels and resampling are the true ones."""

    def network(weights: object) -> keras.Model:
        inputs = keras.Input((8, 8, 3))
        pooled = keras.layers.AveragePooling2D((4, 8))(inputs)
        return keras.Model(inputs, keras.layers.Flatten()(pooled)[:, :D])

    tiny = Backbone("tiny", 8, D, network, lambda image: central_square(image, 8) / 255)
    monkeypatch.setitem(features.BACKBONES, "tiny", tiny)
    monkeypatch.setitem(signatures.PREPARED, "tiny", lambda square: square / 255)
    folder = export(deployed("ltwin", "w2v", backbone="tiny"), tmp_path / "saved_model")
    photos = sorted((Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg"))[:3]
    given = [list(filter(None, tags)) for tags in TAGS_GIVEN]
    expected = Annotator.load(folder).annotate_all(photos, given)
    served = tf.saved_model.load(folder).signatures
    images = [path.read_bytes() for path in photos]
    answer = served["annotate_image"](image=tf.constant(images), tags=tf.constant(TAGS_GIVEN))
    assert_equal_to_the_annotator({k: v.numpy() for k, v in answer.items()}, expected)
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                    "tags": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[tag.encode() for tag in tags])
                    ),
                }
            )
        ).SerializeToString()
        for image, tags in zip(images, given, strict=True)
    ]
    answer = served["annotate_examples"](examples=tf.constant(examples))
    assert_equal_to_the_annotator({k: v.numpy() for k, v in answer.items()}, expected)


def test_the_request_that_warms_a_server_up(tmp_path):
    """Read by the server's own protocol, and answered."""
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    folder = export(deployed("ltwin", "w2v"), tmp_path / "saved_model")
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    (record,) = tf.data.TFRecordDataset([str(path)]).as_numpy_iterator()
    log = logs.PredictionLog.FromString(record)
    request = log.predict_log.request
    assert request.model_spec.signature_name == "annotate_features"
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    served = tf.saved_model.load(folder).signatures["annotate_features"]
    answer = served(**{name: tf.constant(values) for name, values in inputs.items()})
    assert answer["labels"].shape == (1, 3)


def test_the_requests_of_the_guide_are_those_of_the_signatures(tmp_path):
    """The JSON in docs/serving.md: its names and depth of lists are what the signatures take."""
    text = (Path(__file__).parent.parent / "docs" / "serving.md").read_text()
    requests = [json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", text, re.DOTALL)]
    assert len(requests) == 2
    folder = export(deployed("ltwin", "w2v"), tmp_path / "saved_model")
    served = tf.saved_model.load(folder).signatures["annotate_features"]
    for request in requests:
        assert request["signature_name"] in ("annotate_features", "annotate_image")
        for instance in request["instances"]:
            assert np.ndim(instance["tags"]) == 1  # the batch adds an axis
            if request["signature_name"] == "annotate_image":
                assert set(instance) == {"image", "tags"}
                assert set(instance["image"]) == {"b64"}
                continue
            specs = served.structured_input_signature[1]
            assert set(instance) == set(specs)
            for name, spec in specs.items():
                assert np.ndim(instance[name]) == len(spec.shape) - 1


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
