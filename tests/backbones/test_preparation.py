"""Photos prepared as the settings beside an encoder say."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tagnet.backbones.preparation import Changes, Preparation, find, preparation_of
from tagnet.errors import InputError

MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
# The geometry of published encoders: what the file says → (size, resize, squeeze).
CLIP = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_processor_type": "CLIPImageProcessor",
    "image_std": STD,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
PUBLISHED = {
    "CLIP": (CLIP, (224, 224, False)),
    "CLIP, of 2021": (
        CLIP
        | {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}
        | {"image_processor_type": None},
        (224, 224, False),
    ),
    "DINOv2": (
        CLIP | {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}},
        (224, 256, False),
    ),
    "SigLIP": (
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 384, "width": 384}},
        (384, 384, True),
    ),
    "ViT, of 2021": (
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 224},
        (224, 224, True),
    ),
    "DeiT": (
        {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224}
        | {"do_center_crop": True},
        (224, 256, True),
    ),
    "ConvNeXt": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875},
        (224, 256, False),
    ),
    "ConvNeXt, large images": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}}
        | {"crop_pct": 0.875},
        (384, 384, True),
    ),
}


def made(folder, config, side=None, **changes) -> Preparation:
    if config is not None:
        text = json.dumps({"image_mean": MEAN, "image_std": STD} | config)
        (folder / "preprocessor_config.json").write_text(text)
    return preparation_of(folder / "e.onnx", Changes(**changes), side)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_of_published_encoders(tmp_path, name):
    config, (size, resize, squeeze) = PUBLISHED[name]
    found = made(tmp_path, config)
    assert (found.size, found.resize, found.squeeze) == (size, resize, squeeze)
    assert found.filter == "bicubic"
    assert found.scale == pytest.approx(1 / 255)
    assert found.mean == tuple(MEAN)
    assert found.std == tuple(STD)


def test_what_the_file_says_of_the_numbers(tmp_path):
    small = {"size": 2}
    assert made(tmp_path, small | {"resample": 2}).filter == "bilinear"
    assert made(tmp_path, small | {"rescale_factor": 0.5}).scale == 0.5
    assert made(tmp_path, small | {"do_rescale": False}).scale == 1
    plain = made(tmp_path, small | {"do_normalize": False})
    assert (plain.mean, plain.std) == ((0, 0, 0), (1, 1, 1))


def test_flags_count_more_than_the_file(tmp_path):
    changes = {"size": 8, "filter": "box", "mean": ("0.5",), "std": ("1", "2", "3")}
    expected = Preparation(8, 8, False, "box", 1 / 255, (0.5, 0.5, 0.5), (1, 2, 3))
    assert made(tmp_path, {"size": 4}, **changes) == expected
    assert made(tmp_path, CLIP, resize="300").resize == 300
    assert made(tmp_path, CLIP, resize="squeeze").squeeze
    # A size of the flag's leaves nothing to understand in that of the file.
    assert made(tmp_path, {"size": {"longest_edge": 9}}, size=8).size == 8


def test_flags_without_a_file(tmp_path):
    found = made(tmp_path, None, side=6, mean=("0",), std=("1",))
    assert found == Preparation(6, 6, False, "bicubic", 1 / 255, (0, 0, 0), (1, 1, 1))


def test_the_file_is_beside_the_model_or_above_its_folder(tmp_path):
    assert find(tmp_path / "e.onnx") is None
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert find(tmp_path / "e.onnx") == tmp_path / "preprocessor_config.json"
    assert find(tmp_path / "onnx" / "e.onnx") == tmp_path / "preprocessor_config.json"
    assert find(tmp_path / "other" / "e.onnx") is None


# --- Pixels -----------------------------------------------------------------------------


def test_the_shorter_side_then_the_central_square():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 47, 3), np.uint8))
    prepared = Preparation(16, 20, False, "bilinear", 1 / 255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))(
        image
    )
    # 47 / 30 · 20 = 31.3, rounded down; (31 - 16) // 2 = 7 and (20 - 16) // 2 = 2.
    pixels = np.asarray(image.resize((31, 20), Image.Resampling.BILINEAR))[2:18, 7:23] / 255
    expected = (pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, atol=1e-6)
    upright = image.transpose(Image.Transpose.TRANSPOSE)
    square = Preparation(20, 20, False, "nearest", 1.0, (0,) * 3, (1,) * 3)
    np.testing.assert_array_equal(square(upright), square(image).swapaxes(0, 1))


def test_a_photo_is_squeezed_before_the_crop():
    image = Image.fromarray(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    squeezed = Preparation(2, 4, True, "box", 1.0, (0,) * 3, (1,) * 3)(image)
    expected = np.asarray(image.resize((4, 4), Image.Resampling.BOX), np.float32)[1:3, 1:3]
    np.testing.assert_array_equal(squeezed, expected)


def test_a_sliver_is_prepared_too():
    prepared = Preparation(8, 8, False, "bicubic", 1.0, (0,) * 3, (1,) * 3)(
        Image.new("RGB", (1, 90))
    )
    assert prepared.shape == (8, 8, 3)


# --- What is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({}, "size must be a number, or have shortest_edge, or height and width; received None"),
        ({"size": {"longest_edge": 9}}, "size must be a number, or have shortest_edge, or height"),
        ({"size": {"height": 2, "width": 3}}, "size must be a square; received {'height': 2, 'w"),
        ({"size": 0}, "size must be a number of pixels; received 0"),
        ({"size": {"shortest_edge": 9}}, "without do_center_crop photos keep their own shapes"),
        ({"size": 4, "do_center_crop": True, "crop_size": 9}, "must be resized to at least the 9 "),
        (
            {"size": 4, "crop_size": {"height": 3, "width": 4}},
            "crop_size must be a square; received",
        ),
        (
            {"size": 4, "do_pad": True},
            "do_pad must be false; received True; give --onnx_photos=size=N",
        ),
        ({"size": 4, "do_resize": False}, "do_resize must be true; received False"),
        ({"size": 4, "resample": 6}, "resample must be 0 to 5; received 6"),
        ({"size": 4, "rescale_factor": "1"}, "rescale_factor must be a positive number; received"),
        ({"size": 4, "image_mean": [1, 2]}, "image_mean must be one or three numbers; received [1"),
        ({"size": 4, "image_std": [1, 0, 1]}, "image_std must be one or three positive numbers; r"),
        ({"size": 4, "image_std": None}, "has no image_std; give --onnx_photos=std=R/G/B"),
        (
            {"size": 4, "crop_pct": 0, "image_processor_type": "ConvNextImageProcessor"},
            "crop_pct must be a positive number; received 0",
        ),
    ],
)
def test_files_that_cannot_be_followed(tmp_path, config, line):
    with pytest.raises(
        InputError, match=f"^{tmp_path}/preprocessor_config.json: .*{re.escape(line)}"
    ):
        made(tmp_path, config)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"size": 0}, "--onnx_photos: size must be at least 1; received 0"),
        (
            {"resize": "crop"},
            "--onnx_photos: resize must be a number of pixels or squeeze; received 'crop'",
        ),
        (
            {"filter": "cubic"},
            "--onnx_photos: filter must be one of nearest, lanczos, bilinear, ",
        ),
        (
            {"mean": ("1", "2")},
            "--onnx_photos: mean must be one or three numbers; received ('1', '2')",
        ),
        ({"mean": ("nan",)}, "--onnx_photos: mean must be one or three numbers; received ('nan',)"),
        (
            {"std": ("0",)},
            "--onnx_photos: std must be one or three positive numbers; received ('0',)",
        ),
    ],
)
def test_flags_that_cannot_be_followed(changes, line):
    with pytest.raises(InputError, match=f"^{re.escape(line)}"):
        Changes(**changes)


def test_the_flag():
    parts = ["size=224", "resize=squeeze", "filter=box", "mean=.5", "std=.2/.3/.4"]
    assert Changes.parse(parts) == Changes(224, "squeeze", "box", (".5",), (".2", ".3", ".4"))
    assert Changes.parse(()) == Changes()


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            "224",
            "must be fields FIELD=VALUE, each once, of size, resize, filter, mean, std; rec",
        ),
        (
            "crop=224",
            "must be fields FIELD=VALUE, each once, of size, resize, filter, mean, std; rec",
        ),
        (
            "filter=box",
            "must be fields FIELD=VALUE, each once, of size, resize, filter, mean, std; r",
        ),
        (
            "size=",
            "must be fields FIELD=VALUE, each once, of size, resize, filter, mean, std; received",
        ),
    ],
)
def test_parts_of_the_flag_that_are_none(part, line):
    with pytest.raises(InputError, match=f"^--onnx_photos {re.escape(line)}"):
        Changes.parse(["filter=box", part])
    with pytest.raises(
        InputError, match="^--onnx_photos: size must be a number of pixels; received '2.5'$"
    ):
        Changes.parse(["size=2.5"])


def test_nothing_says_how_to_prepare(tmp_path):
    line = "e.onnx: how to prepare photos for it is not known; put its preprocessor_config.json"
    with pytest.raises(InputError, match=line):
        made(tmp_path, None, size=8, mean=("0",))
    with pytest.raises(InputError, match=line):
        made(tmp_path, None, mean=("0",), std=("1",))


def test_another_size_than_the_encoder_takes(tmp_path):
    line = "e.onnx: takes images of 6 × 6 pixels; received 8 .*; give --onnx_photos=size=6$"
    with pytest.raises(InputError, match=line):
        made(tmp_path, {"size": 8}, side=6)
