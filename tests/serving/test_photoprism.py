"""The folder for PhotoPrism: what it holds, and answers as those of the annotator."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import D, L, deployed, lanes
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tagnet.backbones import features
from tagnet.backbones.efficientnet import central_square
from tagnet.backbones.features import Backbone
from tagnet.errors import InputError
from tagnet.serving import signatures
from tagnet.serving.annotator import Annotator
from tagnet.serving.photoprism import write_photoprism

SIZE, RESOLUTION = 14, 16  # 7/8 of it, as 224 are of 256
VISION = """\
Models:
- Type: labels
  Name: tagnet
  Resolution: 16
  TensorFlow:
    Tags:
    - serve
    Output:
      Outputs: 3
- Type: nsfw
  Default: true
- Type: face
  Default: true
Thresholds:
  Confidence: 50
"""


@pytest.fixture
def tiny(monkeypatch):
    """A network of no weights stands for the CNN."""

    def network(weights):
        inputs = keras.Input((SIZE, SIZE, 3))
        pooled = keras.layers.AveragePooling2D((SIZE // 2, SIZE))(inputs)
        return keras.Model(inputs, keras.layers.Flatten()(pooled)[:, :D])

    backbone = Backbone("tiny", SIZE, D, network, lambda image: central_square(image, SIZE) / 255)
    monkeypatch.setitem(features.BACKBONES, "tiny", backbone)
    monkeypatch.setitem(signatures.PREPARED, "tiny", lambda square: square / 255)


def asked(folder, images):
    """What a session answers that knows operations by their names, as PhotoPrism's does."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        signature = graph.signature_def["serving_default"]
        output = signature.outputs["probabilities"].name
        return session.run(output, {signature.inputs["image"].name: images})


ALL = [("ltwin", "id"), ("v_only", None), ("ltwin_rnn", "w2v")]


@pytest.mark.parametrize(("arch", "feed"), lanes(ALL, ALL[:1]))
def test_the_folder_answers_as_the_annotator_without_tags(arch, feed, tiny, tmp_path):
    folder = tmp_path / "tagnet"
    deployment = deployed(arch, feed, backbone="tiny")
    write_photoprism(deployment, folder)
    assert (folder / "labels.txt").read_text() == "label 0\nlabel 1\nlabel 2\n"
    assert (folder / "vision.yml").read_text() == VISION
    assert_fits(SavedModel.FromString((folder / "saved_model.pb").read_bytes()))
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (2, RESOLUTION, RESOLUTION, 3), np.uint8)
    photos = [Image.fromarray(square) for square in squares]
    annotated = Annotator(deployment).annotate_all(photos, [[], []])
    for row, annotation in zip(asked(folder, squares / 255), annotated, strict=True):
        expected = {label.name: label.probability for label in annotation.labels}
        found = dict(zip(deployment.settings.labels, map(float, row), strict=True))
        assert found == pytest.approx(expected, abs=1e-4)


def assert_fits(saved):
    """That there is one graph, and in it one signature of the kind that PhotoPrism looks for."""
    (graph,) = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    (signature,) = (one for one in graph.signature_def.values() if one.inputs)
    (image,) = signature.inputs.values()
    assert image.dtype == tf.float32.as_datatype_enum
    assert sizes(image) == [-1, RESOLUTION, RESOLUTION, 3]
    ((name, output),) = signature.outputs.items()
    assert name == "probabilities"  # of a name with "logits" it would take the softmax
    assert sizes(output) == [-1, L]


def sizes(tensor):
    return [dim.size for dim in tensor.tensor_shape.dim]


@pytest.mark.parametrize(
    ("backbone", "named"), [("caffenet", "caffenet"), (None, "an unknown one")]
)
def test_a_cnn_that_cannot_be_part_of_it(backbone, named, tmp_path):
    line = f"the backbone must be one of efficientnet_lite0, .*; received {named}$"
    with pytest.raises(InputError, match=line):
        write_photoprism(deployed("ltn", None, backbone=backbone), tmp_path / "tagnet")
    assert not list(tmp_path.iterdir())
