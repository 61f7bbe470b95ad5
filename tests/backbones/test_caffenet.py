"""CaffeNet and AlexNet: their arithmetic against NumPy, and the layouts of their weights."""

import dataclasses
import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tagnet.backbones import caffenet
from tagnet.backbones.caffenet import alexnet_graph, keras_layout, prepare_caffenet
from tagnet.backbones.features import BACKBONES, extract
from tagnet.errors import InputError

Stored = dict[str, tuple[np.ndarray, np.ndarray]]

# Sizes of the published network over 12; its kernels, strides and groups.
SMALL = {
    "conv1": (8, 3, 11, 11),
    "conv2": (20, 4, 5, 5),
    "conv3": (32, 20, 3, 3),
    "conv4": (32, 16, 3, 3),
    "conv5": (20, 16, 3, 3),
    "fc6": (24, 20 * 6 * 6),
    "fc7": (16, 24),
}


# The same in the layout of Keras; the sides of a kernel are equal.
KERAS = {name: shape[::-1] for name, shape in SMALL.items()}


def random_weights(seed: int = 0) -> Stored:
    """Weights as Caffe stores them, of a size that keeps the numbers about 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32),
            rng.normal(0, 0.1, shape[0]).astype(np.float32),
        )
        for name, shape in SMALL.items()
    }


# --- The oracle: Caffe's layers in NumPy, channels first as there -------------------------


def numpy_convolution(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, pad: int, groups: int
) -> np.ndarray:
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    parts = []
    for inputs, kernels in zip(np.split(x, groups), np.split(kernel, groups), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(inputs, kernel.shape[2:], (1, 2))
        windows = windows[:, ::stride, ::stride]  # [C, H', W', k, k]
        parts.append(np.einsum("chwij,ocij->ohw", windows, kernels, optimize=True))
    return np.maximum(np.concatenate(parts) + bias[:, None, None], 0)


def numpy_pool(x: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return windows[:, ::2, ::2].max((3, 4))


def numpy_normalise(x: np.ndarray) -> np.ndarray:
    """Caffe's LRN across channels: local_size 5, alpha 1e-4, beta .75."""
    y = np.empty_like(x)
    for channel in range(len(x)):
        near = x[max(0, channel - 2) : channel + 3]
        y[channel] = x[channel] / (1 + 1e-4 / 5 * (near**2).sum(0)) ** 0.75
    return y


def numpy_fc7(x: np.ndarray, stored: Stored, normalise_first: bool) -> np.ndarray:
    """[227, 227, 3] → fc7, by the layers of Caffe's bvlc_reference_caffenet and bvlc_alexnet."""
    y = x.astype(float).transpose(2, 0, 1)
    for name, stride, pad, groups in (
        ("conv1", 4, 0, 1),
        ("conv2", 1, 2, 2),
        ("conv3", 1, 1, 1),
        ("conv4", 1, 1, 2),
        ("conv5", 1, 1, 2),
    ):
        y = numpy_convolution(y, *stored[name], stride, pad, groups)
        if name in ("conv1", "conv2"):
            y = (
                numpy_pool(numpy_normalise(y))
                if normalise_first
                else numpy_normalise(numpy_pool(y))
            )
        if name == "conv5":
            y = numpy_pool(y)
    vector = y.ravel()
    for name in ("fc6", "fc7"):
        kernel, bias = stored[name]
        vector = np.maximum(kernel @ vector + bias, 0)
    return vector


@pytest.mark.parametrize("normalise_first", [False, True], ids=["caffenet", "alexnet"])
def test_the_forward_pass_equals_numpy(normalise_first: bool) -> None:
    stored = random_weights()
    # Pixels up to 255 make the normalisation count: it halves the largest.
    images = np.random.default_rng(1).uniform(-128, 128, (2, 227, 227, 3)).astype(np.float32)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")  # the features must not feel it
    try:
        model = alexnet_graph(keras_layout(stored, "weights", KERAS), normalise_first)
    finally:
        keras.config.set_dtype_policy(before)
    expected = np.stack([numpy_fc7(image, stored, normalise_first) for image in images])
    assert (expected > 0).any(axis=1).all()
    np.testing.assert_allclose(
        model.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-4 * expected.max()
    )


def test_the_order_of_pooling_and_normalising_counts() -> None:
    stored = random_weights()
    image = np.random.default_rng(1).uniform(-128, 128, (227, 227, 3))
    pooled, normalised = (numpy_fc7(image, stored, first) for first in (False, True))
    assert np.abs(pooled - normalised).max() > 0.01 * pooled.max()


def converted(stored: Stored) -> Stored:
    """The layout of converters: [k, k, C, C'], and fc6 reading pixel by pixel."""
    turned = {
        name: (kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T, bias)
        for name, (kernel, bias) in stored.items()
    }
    kernel, bias = stored["fc6"]
    by_pixel = np.stack([row.reshape(20, 36).T.ravel() for row in kernel])
    return turned | {"fc6": (by_pixel.T, bias)}


def test_both_layouts_of_weights_are_the_same_network() -> None:
    stored = random_weights()
    caffe, other = keras_layout(stored, "a", KERAS), keras_layout(converted(stored), "b", KERAS)
    for name in SMALL:
        np.testing.assert_array_equal(caffe[name][0], other[name][0])
        np.testing.assert_array_equal(caffe[name][1], other[name][1])


@pytest.mark.parametrize(
    ("name", "kernel", "bias", "line"),
    [
        ("conv3", None, np.zeros(5), r"weights [32, 20, 3, 3] and biases [32]; received [32, 20, "),
        ("fc6", np.zeros((24, 7)), None, "weights [24, 720] and biases [24]; received [24, 7] and"),
        ("conv2", np.zeros(9), None, "conv2 must have weights [20, 4, 5, 5] and"),
        # Neither layout: measured against that of Keras.
        ("conv1", np.zeros(9), None, "conv1 must have weights [11, 11, 3, 8] and"),
    ],
)
def test_a_layer_of_another_shape_gets_its_line(
    name: str, kernel: np.ndarray | None, bias: np.ndarray | None, line: str
) -> None:
    stored = random_weights()
    whole = stored[name]
    stored[name] = (whole[0] if kernel is None else kernel, whole[1] if bias is None else bias)
    with pytest.raises(InputError, match=f"^w: {name} must have .*") as caught:
        keras_layout(stored, "w", KERAS)
    assert line in str(caught.value)


def test_a_missing_layer_gets_its_line() -> None:
    stored = random_weights()
    del stored["fc7"]
    with pytest.raises(InputError, match="^w: has no layer fc7; received conv1, conv2, "):
        keras_layout(stored, "w", KERAS)


# --- The files ----------------------------------------------------------------------------


def write(path: Path, stored: Stored) -> Path:
    arrays = {}
    for name, (kernel, bias) in stored.items():
        arrays |= {f"{name}_weights": kernel, f"{name}_biases": bias}
    np.savez(path, **arrays)
    return path


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "small.npz", random_weights())
    line = r"small.npz: conv1 must have weights \[11, 11, 3, 96\] .*; received \[8, 3, 11, 11\]"
    with pytest.raises(InputError, match=line):
        caffenet.caffenet(path)


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
def test_without_weights_their_flag_is_named(name: str) -> None:
    with pytest.raises(InputError, match="^caffenet and alexnet need --weights=FILE"):
        extract(BACKBONES[name], [])


def test_the_published_sizes() -> None:
    """60 million parameters as in Krizhevsky et al. (2012), less fc8's 4,097,000."""
    layers = {
        name: (np.zeros(shape, np.float32), np.zeros(shape[-1], np.float32))
        for name, shape in caffenet.CAFFE_SHAPES.items()
    }
    model = alexnet_graph(layers, normalise_first=False)
    assert model.output_shape == (None, BACKBONES["caffenet"].dim)
    assert model.get_layer("conv5").output.shape == (None, 13, 13, 256)
    # By hand from section 3.5: 34,944 + 307,456 + 885,120 + 663,936 + 442,624
    # + 37,752,832 + 16,781,312; with fc8 60,965,224.
    assert model.count_params() == 56_868_224


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
def test_photographs_through_a_file_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stored = random_weights()
    layout = functools.partial(keras_layout, shapes=KERAS)
    monkeypatch.setattr(caffenet, "keras_layout", layout)
    path = write(tmp_path / "small.npz", stored)
    backbone = dataclasses.replace(BACKBONES[name], dim=16, weights=path)
    pixels = np.random.default_rng(2).integers(0, 256, (256, 256, 3), np.uint8)
    (features,) = extract(backbone, [pixels])
    expected = numpy_fc7(prepare_caffenet(Image.fromarray(pixels)), stored, name == "alexnet")
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())


# --- Preparing ----------------------------------------------------------------------------


def test_256_pixels_are_cropped_to_227_in_bgr_less_the_mean() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (256, 256, 3), np.uint8)
    prepared = prepare_caffenet(Image.fromarray(pixels))
    assert prepared.shape == (227, 227, 3)
    assert prepared.dtype == np.float32
    # Caffe's crop of the test phase begins at (256 - 227) / 2 = 14; the mean is that of
    # its ilsvrc_2012_mean, averaged over the picture.
    expected = pixels[14:241, 14:241, ::-1] - np.array([104.00699, 116.66877, 122.67892])
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


def test_a_wide_photograph_is_squeezed() -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[:, 256:] = 255
    prepared = prepare_caffenet(Image.fromarray(pixels))
    assert prepared[:, 0].max() < 0
    assert (prepared[:, -1] > 130).all()  # 255 less the mean: nothing was cut off
