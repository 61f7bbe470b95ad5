"""The models of keras.applications: their sizes, their preprocessing, and no network."""

import dataclasses
import urllib.error
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils
from PIL import Image

from tagnet.backbones.catalogue import KERAS_MODELS
from tagnet.backbones.efficientnet import central_square
from tagnet.backbones.features import BACKBONES, extract
from tagnet.backbones.keras_models import keras_model
from tagnet.errors import InputError


def test_every_model_of_keras_is_a_backbone() -> None:
    # A model is a function of keras.applications; its modules have lower-case names.
    models = {name for name in dir(keras.applications) if name[0].isupper()}
    assert models == set(KERAS_MODELS)
    assert models < set(BACKBONES)


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the models of Keras take random weights where they would download."""

    def model(build: Any, **settings: Any) -> keras.Model:
        return build(**settings | {"weights": None})

    for name in KERAS_MODELS:
        build = getattr(keras.applications, name)
        monkeypatch.setattr(
            keras.applications, name, lambda build=build, **settings: model(build, **settings)
        )


def check_graph(name: str) -> None:
    backbone = BACKBONES[name]
    model = backbone.build(None)
    assert model.input_shape == (None, backbone.image_size, backbone.image_size, 3)
    assert model.output_shape == (None, backbone.dim)
    assert all(layer.compute_dtype == "float32" for layer in model.layers)


@pytest.mark.usefixtures("random_weights")
@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small", "VGG16"])
def test_the_graph_has_the_sizes_that_are_listed(name: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")  # the features must not feel it
    try:
        check_graph(name)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.large
@pytest.mark.usefixtures("random_weights")
@pytest.mark.parametrize("name", KERAS_MODELS)
def test_every_graph_has_the_sizes_that_are_listed(name: str) -> None:
    # With the top a model has the size that it was trained at; MobileNetV3 leaves it open.
    sizes = getattr(keras.applications, name)().input_shape[1:3]
    size = None if name.startswith("MobileNetV3") else BACKBONES[name].image_size
    assert sizes == (size, size)
    check_graph(name)
    keras.backend.clear_session()


@pytest.mark.parametrize(
    "name", [name for name, (_, size, _) in KERAS_MODELS.items() if size <= 240][::4]
)
def test_images_are_prepared_as_the_model_was_trained(name: str) -> None:
    module, size, _dim = KERAS_MODELS[name]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 280, 3), np.uint8))
    prepared = BACKBONES[name].prepare(image)
    assert prepared.shape == (size, size, 3)
    assert prepared.dtype == np.float32
    batch = central_square(image, size)[None]
    expected = getattr(keras.applications, module).preprocess_input(batch)
    np.testing.assert_array_equal(prepared, expected[0])


def test_vgg_gets_bgr_less_the_mean() -> None:
    """Simonyan and Zisserman (2015) subtract the mean colour; their weights are Caffe's."""
    prepared = BACKBONES["VGG16"].prepare(Image.new("RGB", (9, 9), (10, 20, 30)))
    # The mean of ImageNet in RGB: 123.68, 116.779, 103.939.
    np.testing.assert_allclose(prepared[0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-5)


def test_without_a_network_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, *_: Any) -> None:
        raise urllib.error.URLError("Name or service\nnot known")

    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    line = r"^MobileNet: the weights cannot be downloaded \(URL fetch failure on \S+mobilenet"
    with pytest.raises(InputError, match=line) as caught:
        extract(BACKBONES["MobileNet"], [])
    assert "Name or service not known); download them elsewhere" in str(caught.value)
    assert "\n" not in str(caught.value)


# Keras converts TensorFlow's tensors as NumPy did before 2.0.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_weights_from_a_file(tmp_path: Path) -> None:
    model = keras.applications.MobileNet(
        include_top=False, weights=None, pooling="avg", input_shape=(224, 224, 3)
    )
    path = tmp_path / "mobilenet.weights.h5"
    model.save_weights(path)
    found = keras_model("MobileNet", 224, path)
    for saved, read in zip(model.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(saved, read)


def test_a_file_of_something_else_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "bad.weights.h5").write_bytes(b"abc")
    backbone = dataclasses.replace(BACKBONES["MobileNet"], weights=tmp_path / "bad.weights.h5")
    with pytest.raises(InputError, match="bad.weights.h5: not a weight file of MobileNet ."):
        extract(backbone, [])
    with pytest.raises(InputError, match="absent.h5: cannot be read .No such file"):
        keras_model("MobileNet", 224, tmp_path / "absent.h5")
