"""Image encoders in ONNX files: how their input and output are found, and what is refused."""

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import D, deployed
from PIL import Image

from tagnet.backbones import onnx_models
from tagnet.backbones.features import (
    BACKBONES,
    Backbone,
    backbone_of,
    extract,
    onnx_backbone,
)
from tagnet.backbones.onnx_models import chosen
from tagnet.backbones.preparation import Changes
from tagnet.errors import InputError
from tagnet.serving.annotator import Annotator
from tagnet.serving.export import load, write_saved_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from helpers.encoders import write_encoder  # noqa: E402  # imports onnx
from onnx import TensorProto  # noqa: E402

# Two photos of 2 × 2 pixels, which the preparation of `encoders.PLAIN` leaves as they are.
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 2, 2, 3), np.uint8)
LEVELS = (PIXELS / 255).astype(np.float32)
PHOTOS = [Image.fromarray(pixels) for pixels in PIXELS]


def opened(path: Path, output: str | None = None, pooling: str | None = None) -> Backbone:
    return onnx_backbone(chosen(path, Changes(), output, pooling))


# --- What encoders give -----------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        ("n", 3, 2, 2),
        ("n", 3, "h", "w"),
        ("batch_size", "num_channels", "height", "width"),
        (1, 3, 2, 2),
        (None, 2, 2, 3),
        (1, None, None, 3),
    ],
)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_images_in_every_shape(tmp_path, shape, kind):
    backbone = opened(write_encoder(tmp_path / "e.onnx", "mean", shape=shape, kind=kind))
    assert (backbone.dim, backbone.image_size) == (3, 2)
    phi = extract(backbone, PHOTOS)
    assert phi.dtype == np.float32
    atol = 1e-6 if kind == TensorProto.FLOAT else 1e-3
    np.testing.assert_allclose(phi, LEVELS.mean(axis=(1, 2)), atol=atol)


@pytest.mark.parametrize(
    ("output", "pooling", "expected"),
    [
        ("flat", "none", LEVELS.transpose(0, 3, 1, 2).reshape(2, 12)),
        ("map", None, LEVELS.mean(axis=(1, 2))),
        ("map", "mean", LEVELS.mean(axis=(1, 2))),
        ("tokens", "mean", LEVELS.mean(axis=(1, 2))),
        ("tokens", "cls", LEVELS[:, 0, 0]),
    ],
)
def test_vectors_tokens_and_maps(tmp_path, output, pooling, expected):
    path = write_encoder(tmp_path / "e.onnx", "mean", output)
    np.testing.assert_allclose(extract(opened(path, output, pooling), PHOTOS), expected, atol=1e-6)


def test_one_network_serves_all_who_ask_for_the_same(tmp_path):
    path = write_encoder(tmp_path / "e.onnx", "mean")
    assert opened(path) == opened(path)
    assert hash(opened(path)) == hash(opened(path))
    assert opened(path) != dataclasses.replace(opened(path), dim=4)


@pytest.mark.large
def test_a_true_network_and_its_export(tmp_path):
    """EfficientNet-Lite0, whose input the settings of `Preparation` can say but for the crop."""
    tf2onnx = pytest.importorskip("tf2onnx")
    import tensorflow as tf

    lite0 = BACKBONES["efficientnet_lite0"]
    images = (tf.TensorSpec([None, 224, 224, 3], tf.float32),)
    model = lite0.build(None)
    function = tf.function(lambda x: model(x, training=False), input_signature=images)
    path = tmp_path / "lite0.onnx"
    tf2onnx.convert.from_function(function, images, opset=18, output_path=str(path))
    mean, std = (str(127 / 255),), (str(128 / 255),)
    encoder = onnx_backbone(chosen(path, Changes(224, "256", "bicubic", mean, std)))
    # On a photo of 256 × 256 both crop 224 pixels and resample nothing.
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    photos = [Image.fromarray(pixels), Image.fromarray(pixels[::-1])]
    np.testing.assert_allclose(extract(encoder, photos), extract(lite0, photos), atol=1e-4)


# --- A model finds its encoder again ----------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("there") / "first.onnx", "first")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A SavedModel of random weights whose features are of the encoder."""
    backbone = opened(encoder)
    made = deployed("v_only", None, backbone=backbone.name)
    settings = dataclasses.replace(made.settings, backbone_settings=backbone.record)
    made.settings = settings
    return write_saved_model(made, tmp_path_factory.mktemp("model")).parent


def test_a_model_annotates_through_the_file(model, encoder):
    annotator = Annotator.load(model)
    expected = LEVELS.transpose(0, 3, 1, 2).reshape(2, 12)[:, :D]
    np.testing.assert_allclose(annotator.features(PHOTOS), expected, atol=1e-6)
    by_photos = annotator.annotate_all(PHOTOS, [(), ()])
    by_features = annotator.annotate_all(list(expected), [(), ()])
    for one, other in zip(by_photos, by_features, strict=True):
        for label, same in zip(one.labels, other.labels, strict=True):
            assert label.name == same.name
            assert label.score == pytest.approx(same.score, abs=1e-5)


def test_the_saved_model_takes_features_alone(model):
    import tensorflow as tf

    served = tf.saved_model.load(str(model / "1")).signatures
    assert sorted(served) == ["annotate_features", "serving_default"]
    assert load(model).settings.backbone_settings["output"] == "first"


def test_a_file_that_was_moved(model, encoder, tmp_path, request):
    moved = encoder.rename(tmp_path / "moved.onnx")
    request.addfinalizer(lambda: moved.rename(encoder))
    line = f"^{encoder}: the encoder .* is not there; give --weights=FILE.onnx, where it is now$"
    with pytest.raises(InputError, match=line):
        Annotator.load(model).features(PHOTOS)
    assert Annotator.load(model, moved).features(PHOTOS).shape == (2, D)


def test_a_file_that_is_another(model, encoder, tmp_path):
    other = write_encoder(tmp_path / "other.onnx", "first", "mean")
    line = f"^{other}: must be the file that the model's features were computed with .*another one$"
    with pytest.raises(InputError, match=line):
        Annotator.load(model, other).features(PHOTOS)


def test_weights_beside_the_file_belong_to_it(tmp_path):
    encoder = write_encoder(tmp_path / "first.onnx", "first")
    (encoder.parent / "first.onnx_data").write_bytes(b"1")
    record = opened(encoder).record
    assert list(record["digests"]) == ["first.onnx", "first.onnx_data"]
    (encoder.parent / "first.onnx_data").write_bytes(b"2")
    with pytest.raises(InputError, match="must be the file that the model's features were"):
        backbone_of(str(encoder), None, record)


# --- What is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "flags", "line"),
    [
        (
            {"outputs": ("mean", "tokens")},
            {},
            "has 2 outputs; choose one with --onnx_output: mean [n, 3], tokens [n, t, 3]",
        ),
        (
            {"outputs": ("tokens",)},
            {},
            "the output tokens is tokens [n, t, 3]; give --onnx_pooling",
        ),
        (
            {"outputs": ("map",)},
            {"pooling": "cls"},
            "the output map is [n, 3, h, w], for which --onnx_pooling must be one of mean; rec",
        ),
        ({"outputs": ("mean",)}, {"pooling": "mean"}, "must be one of none; received 'mean'"),
        (
            {"outputs": ("whole",)},
            {},
            "the output whole is [], for which --onnx_pooling must be one",
        ),
        (
            {"inputs": ("pixel_values", "input_ids")},
            {},
            "received the inputs pixel_values, input_ids",
        ),
        ({"shape": ("n", "c", "h", "w")}, {}, "must take images [N, 3, H, W] or [N, H, W, 3]; r"),
        (
            {"shape": ("n", 3, "h", 3)},
            {},
            "must take images [N, 3, H, W] or [N, H, W, 3]; received [n",
        ),
        ({"shape": ("n", 1, "h", "w")}, {}, "received [n, 1, h, w]; export it again with three ch"),
        ({"shape": ("n", 3, 2, 4)}, {}, "must take square images, one or any number at once; rec"),
        ({"shape": (8, 3, 2, 2)}, {}, "must take square images, one or any number at once; rec"),
        (
            {"kind": TensorProto.DOUBLE},
            {},
            "must take float images of four dimensions; received ten",
        ),
        ({"shape": ("n", 3, 4, 4)}, {}, "takes images of 4 × 4 pixels; received 2"),
        (
            {"beside": None},
            {},
            "how to prepare photos for it is not known; put its preprocessor_co",
        ),
        ({"outputs": ("logarithm",)}, {}, "a feature must be finite and at most 65504 in size"),
    ],
)
def test_encoders_that_leave_something_open(tmp_path, given, flags, line):
    given = dict(given)
    path = write_encoder(tmp_path / "e.onnx", *given.pop("outputs", ("mean",)), **given)
    with pytest.raises(InputError, match=f"^{path}: .*{re.escape(line)}") as raised:
        opened(path, **flags)
    assert "\n" not in str(raised.value)


def test_an_output_that_it_does_not_have(tmp_path):
    path = write_encoder(tmp_path / "e.onnx", "mean")
    with pytest.raises(
        InputError, match=r"^--onnx_output must be one of mean \[n, 3\]; received 'x'"
    ):
        opened(path, "x")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"absent.onnx: cannot be read \(no such file\)$"):
        opened(tmp_path / "absent.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a network")
    with pytest.raises(InputError, match=r"bad.onnx: is not a valid ONNX file \(") as raised:
        opened(bad)
    assert "\n" not in str(raised.value)


def test_without_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = write_encoder(tmp_path / "e.onnx", "mean")
    with pytest.raises(
        InputError, match=r"needs ONNX Runtime; run `pip install 'tagnet\[onnx\]'`$"
    ):
        opened(path)


def test_numbers_that_become_too_large_for_one_photo(tmp_path):
    """The black photo that D is found with gives none."""
    beside = {"size": 2, "do_normalize": False, "rescale_factor": 1e4}
    backbone = opened(write_encoder(tmp_path / "e.onnx", "mean", beside=beside))
    with pytest.raises(InputError, match="e.onnx: a feature must be finite and at most 65504"):
        extract(backbone, PHOTOS)


def test_what_depends_on_the_settings_has_another_digest(tmp_path):
    from data_tools.sources.image_features import photographs_digest

    path = write_encoder(tmp_path / "e.onnx", "mean", "tokens")
    backbones = [
        opened(path, "mean"),
        opened(path, "tokens", "mean"),
        opened(path, "tokens", "cls"),
    ]
    assert len({photographs_digest([], backbone) for backbone in backbones}) == 3
    assert onnx_models.OnnxSettings.of(backbones[0].record) == backbones[0].settings
