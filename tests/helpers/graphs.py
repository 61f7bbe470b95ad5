"""Small graphs, a backbone and inputs that several tests share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tagnet.backbones.features import Backbone
from tagnet.data.embeddings import Embedding, rho
from tagnet.data.tags import TagLists, Vocabulary
from tagnet.evaluation.calibration import Lines
from tagnet.models.architectures import JOINT, build
from tagnet.models.layers import PADDING
from tagnet.serving.corpus import Corpus, TaggedImages
from tagnet.serving.model import ServingModel
from tagnet.settings import GraphSettings, ServingSettings

D, L, M, H, TAGS, N = 6, 3, 4, 4, 9, 5  # features, labels, neighbours, hidden, τ, β's width
R = 7  # reference images
LINES = Lines(np.array([0.5, 1, 2], np.float32), np.array([1, 0, -1], np.float32))
FEEDS = [(arch, "id") for arch in JOINT] + [(arch, "w2v") for arch in JOINT]
CASES = [("v_only", None), ("ltn", None), ("rtn", None), *FEEDS]
# One feed for each architecture; the others are tried with --large.
SOME = [*CASES[:3], *((arch, ("id", "w2v")[row % 2]) for row, arch in enumerate(JOINT))]


def lanes(cases: Sequence[tuple], default: Sequence[tuple] = SOME) -> list[Any]:
    """The cases of a test, of which only those in `default` run without --large."""
    return [c if c in default else pytest.param(*c, marks=pytest.mark.large) for c in cases]


def by_lines(scores: np.ndarray) -> np.ndarray:
    """The probabilities of scores [B, L] by `LINES`."""
    return 1 / (1 + np.exp(-(LINES.slope * scores + LINES.offset)))


def small(arch: str, feed: str | None, **changes) -> keras.Model:
    """A graph with random weights, biases included."""
    sizes = {"feature_dim": D, "num_labels": L, "m": M, "hidden": H, "references": R}
    sizes["tag_dim"] = {"id": TAGS, "w2v": N, None: 0}[feed]
    keras.utils.set_random_seed(7)
    model = build(arch, GraphSettings(feed=feed, **(sizes | changes)))
    rng = np.random.default_rng(7)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def weights_by_name(model: keras.Model) -> dict[str, list[np.ndarray]]:
    """Each layer's arrays under the layer's name, in float64."""
    return {
        layer.name: [array.astype(np.float64) for array in layer.get_weights()]
        for layer in model.layers
        if layer.get_weights()
    }


def random_inputs(feed: str | None, count: int = 5, neighbours: int = M, seed: int = 0) -> dict:
    """Inputs of a graph by name; tag lists have 0 to 3 tags, so some are empty."""
    rng = np.random.default_rng(seed)
    inputs = {
        "phi_x": rng.random((count, D), np.float32),
        "phi_z": rng.random((count, neighbours, D), np.float32),
    }
    if feed == "w2v":
        inputs["pi_x"] = rng.normal(size=(count, N)).astype(np.float32)
        inputs["pi_z"] = rng.normal(size=(count, neighbours, N)).astype(np.float32)
    elif feed == "id":
        inputs["pi_x"] = _random_ids(rng, (count,))
        inputs["pi_z"] = _random_ids(rng, (count, neighbours))
    return inputs


def _random_ids(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    ids = np.full((*shape, 3), PADDING, np.int32)
    for place in np.ndindex(shape):
        length = rng.integers(0, 4)
        ids[place][:length] = rng.choice(TAGS, length, replace=False)
    return ids


def taken_by(model: keras.Model, inputs: dict) -> dict:
    """Those of `inputs` that the graph has."""
    return {tensor.name: inputs[tensor.name] for tensor in model.inputs}


def multi_hot(ids: np.ndarray) -> np.ndarray:
    """Padded ids [..., T] → o [..., τ]."""
    return (ids[..., None] == np.arange(TAGS)).any(axis=-2).astype(np.float64)


def vector_inputs(model: keras.Model, **kind: Any) -> tuple[dict, dict]:
    """Random inputs of a graph, and the same with tags as vectors, binary ones where it has ids."""
    given = taken_by(model, random_inputs(model.graph_settings.feed, **kind))
    vectors = {
        name: multi_hot(values).astype(np.float32) if values.dtype == np.int32 else values
        for name, values in given.items()
    }
    return given, vectors


def random_images(count: int = 20, seed: int = 0) -> TaggedImages:
    """Tagged images; every fifth has no tags, and some have the same."""
    rng = np.random.default_rng(seed)
    tags = [[] if row % 5 == 4 else rng.choice(TAGS, 1 + row % 3) for row in range(count)]
    return TaggedImages(
        [f"image {row}" for row in range(count)],
        rng.random((count, D)).astype(np.float16),
        TagLists.from_lists(tags),
        TagLists.from_lists([rng.choice(L, row % 3) for row in range(count)]),
    )


def deployed(
    arch: str,
    feed: str | None,
    neighbours: str = "id",
    max_rank: int = M + 2,
    backbone: str | None = None,
    **changes,
) -> ServingModel:
    """A graph with random weights, M of `graphs` as its m, tags `tag 0` …, and 20 images."""
    core = small(arch, feed, **changes)
    labels = tuple(f"label {i}" for i in range(L))
    settings = ServingSettings(arch, core.graph_settings, neighbours, max_rank, 3, labels, backbone)
    vectors = np.random.default_rng(1).normal(size=(TAGS, N)).astype(np.float32)
    vectors[-1] = 0  # a tag that the source of β did not know
    vocabulary = Vocabulary(tuple(f"tag_{i}" for i in range(TAGS)))
    images = random_images()
    table = rho(images.tags, Embedding(vectors, vectors.any(axis=1)))
    corpus = Corpus(images, vocabulary.words, dict.fromkeys(settings.encodings, table))
    beta = dict.fromkeys(settings.encodings, vectors)
    return ServingModel(settings, core, vocabulary, beta, corpus)


def calibrated(**changes) -> ServingModel:
    """`ltwin` fed with w2v, calibrated on scores that know labels 0 and 2, and not label 1."""
    deployment = deployed("ltwin", "w2v", **changes)
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(40, L)), rng.integers(0, 2, size=(40, L))
    deployment.calibrate(noise + np.array([2, 0, 2]) * (2 * labels - 1), labels)
    return deployment


def operations(definition: tf.compat.v1.GraphDef) -> set[str]:
    """The operations of a graph and of all functions that it holds."""
    return set(re.findall(r'^\s*op: "(\w+)"$', str(definition), re.MULTILINE))


def tiny_network(weights: Path | None) -> keras.Model:
    """Colours of the image's four quarters, cut to D numbers: no CNN is needed here."""
    inputs = keras.Input((2, 2, 3))
    return keras.Model(inputs, keras.layers.Flatten()(inputs)[:, :D])


def tiny_preparation(image: Image.Image) -> np.ndarray:
    """An image of four pixels."""
    return np.asarray(image.resize((2, 2)), np.float32) / 255


TINY = Backbone("tiny", 2, D, tiny_network, tiny_preparation)
