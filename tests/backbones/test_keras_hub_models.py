"""Presets of KerasHub: small ones with random weights, written by the tests and opened again."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tagnet.backbones import keras_hub_models
from tagnet.backbones.features import Backbone, backbone_of, extract
from tagnet.backbones.keras_hub_models import opened, preset_of
from tagnet.errors import InputError

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
SIZE = 32
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "patch_size": 16}


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def saved(hub, folder: Path, backbone, size: int | None = SIZE) -> Backbone:
    """Writes a preset and opens it as a user names it."""
    backbone.save_to_preset(str(folder))
    kind = next(
        kind
        for kind in vars(hub.layers).values()
        if getattr(kind, "backbone_cls", None) is type(backbone)
    )
    sides = None if size is None else (size, size)
    converter = kind(image_size=sides, scale=1 / 127.5, offset=-1.0)
    converter.save_to_preset(str(folder))
    return backbone_of(f"keras_hub:{folder}")


def expected_input() -> np.ndarray:
    """The photo as `Resizing` and the scale of `saved` leave it."""
    resized = keras.layers.Resizing(SIZE, SIZE, crop_to_aspect_ratio=True)
    return np.asarray(resized(np.asarray(PHOTO, np.float32)[None])) / 127.5 - 1


@pytest.mark.parametrize("class_token", [True, False])
def test_a_vision_transformer(hub, tmp_path, class_token):
    vit = hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=(16, 16),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
        use_class_token=class_token,
    )
    backbone = saved(hub, tmp_path, vit)
    assert (backbone.image_size, backbone.dim) == (SIZE, 8)
    np.testing.assert_allclose(backbone.prepare(PHOTO)[None], expected_input(), atol=1e-5)
    tokens = np.asarray(vit(expected_input()))
    expected = tokens[:, 0] if class_token else tokens.mean(axis=1)
    np.testing.assert_allclose(extract(backbone, [PHOTO]), expected, atol=1e-5)


@pytest.mark.large
def test_the_class_token_of_dinov2(hub, tmp_path):
    dino = hub.models.DINOV2Backbone(
        **SMALL, intermediate_dim=8, image_shape=(SIZE, SIZE, 3), num_register_tokens=2
    )
    backbone = saved(hub, tmp_path, dino)
    expected = np.asarray(dino({"images": expected_input()}))[:, 0]
    np.testing.assert_allclose(extract(backbone, [PHOTO]), expected, atol=1e-5)


@pytest.mark.large
def test_the_mean_of_a_map(hub, tmp_path):
    resnet = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )
    backbone = saved(hub, tmp_path, resnet)
    expected = np.asarray(resnet(expected_input())).mean(axis=(1, 2))
    np.testing.assert_allclose(extract(backbone, [PHOTO]), expected, atol=1e-5)


@pytest.mark.large
@pytest.mark.parametrize("kind", ["CLIP", "SigLIP"])
def test_the_embedding_beside_that_of_text(hub, tmp_path, kind):
    text = {"vocabulary_size": 9, "embedding_dim": 8, "hidden_dim": 8, "num_layers": 1}
    text |= {"num_heads": 2, "intermediate_dim": 8}
    parts = vars(hub.models)
    vision = parts[f"{kind}VisionEncoder"](**SMALL, intermediate_dim=8, image_shape=(SIZE, SIZE, 3))
    encoders = vision, parts[f"{kind}TextEncoder"](**text, max_sequence_length=4)
    whole = parts[f"{kind}Backbone"](*encoders, **({"projection_dim": 6} if kind == "CLIP" else {}))
    backbone = saved(hub, tmp_path, whole)
    assert backbone.dim == (6 if kind == "CLIP" else 8)
    expected = np.asarray(whole.get_vision_embeddings(expected_input()))
    np.testing.assert_allclose(extract(backbone, [PHOTO]), expected, atol=1e-5)


@pytest.mark.large
def test_a_backbone_of_text(hub, tmp_path):
    bert = hub.models.BertBackbone(
        vocabulary_size=9, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8
    )
    bert.save_to_preset(str(tmp_path))
    with pytest.raises(
        InputError, match=f"^{tmp_path}: must be a preset of a KerasHub image backb"
    ):
        backbone_of(f"keras_hub:{tmp_path}")


@pytest.mark.large
def test_presets_that_cannot_be_used(hub, tmp_path):
    with pytest.raises(
        InputError, match=f"^{tmp_path}: must be a preset of a KerasHub image backb"
    ):
        backbone_of(f"keras_hub:{tmp_path}")
    resnet = hub.models.ResNetBackbone([64], [3], [64], [1], [1], block_type="basic_block")
    line = "its ImageConverter must give square images; received None$"
    with pytest.raises(InputError, match=line):
        saved(hub, tmp_path / "free", resnet, size=None)


def test_a_preset_that_cannot_be_downloaded(hub, monkeypatch):
    def refused(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(hub.models.Backbone, "from_preset", refused)
    with pytest.raises(InputError) as raised:
        backbone_of("keras_hub:vit_base_patch16_224_imagenet")
    line = str(raised.value)
    assert line.startswith(
        "keras_hub:vit_base_patch16_224_imagenet: cannot be had (no route to host)"
    )
    assert "--backbone=keras_hub:FOLDER, or point KAGGLEHUB_CACHE" in line
    assert "\n" not in line


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(
        InputError, match=r"needs KerasHub; run `pip install 'tagnet\[keras_hub\]'`$"
    ):
        opened("vit")


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    assert preset_of("keras_hub:mine") == str(tmp_path / "mine")
    assert preset_of("keras_hub:kaggle://a/b/keras/c") == "kaggle://a/b/keras/c"
    with pytest.raises(InputError, match="must go on with a preset's name or folder$"):
        preset_of("keras_hub:")


def test_its_weights_are_its_own():
    with pytest.raises(InputError, match="^--weights must not be given .* received w.h5$"):
        keras_hub_models.build("vit", Path("w.h5"))
