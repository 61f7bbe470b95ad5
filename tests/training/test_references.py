"""A kernel path: what it is fitted to, and that it is the optimum."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import build
from tagnet.settings import TrainingSettings
from tagnet.training import references
from tagnet.training.experiment import train


@pytest.mark.parametrize("feed", ["id", "w2v"])
def test_references_are_compared_by_pixels_and_tags(prepared, feed):
    """W κ + b of the model, with κ by hand: 8 exp(−‖a − b‖²) + 3 cos."""
    dataset = PreparedDataset(prepared)
    rows = dataset.split(0)["train"]
    settings = dataclasses.replace(dataset.graph_settings(m=2, feed=feed), hidden=4, references=20)
    model = build("ltwin_kernel", settings)
    references.fit(model, dataset, rows, seed=1)
    chosen = rows[np.sort(np.random.default_rng(1).choice(len(rows), 20, replace=False))]
    root = np.sqrt(dataset.features.astype(np.float64))
    root -= root[chosen].mean(axis=0)
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    tags = dataset.tags.multi_hot(len(dataset.vocabulary))
    if feed == "w2v":
        tags = dataset.encoded("w2v")
    tags = tags / np.maximum(np.linalg.norm(tags, axis=1, keepdims=True), 1e-12)
    squared = ((root[:, None] - root[chosen]) ** 2).sum(axis=2)
    expected = 8 * np.exp(-squared) + 3 * tags @ tags[chosen].T
    layer = model.get_layer("W_k")
    every = np.arange(dataset.num_images)
    alike = references._compare(model, layer, dataset, dataset.encoded(feed), every)
    np.testing.assert_allclose(np.concatenate(list(alike)), expected, atol=1e-4)
    assert np.abs(layer.get_weights()[0]).max() > 0.01


def test_the_fit_is_a_minimum():
    """The gradient of Σ log-loss + λ/2 tr(Wᵀ K W) is 0."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3))
    K = np.exp(-((points[:, None] - points) ** 2).sum(axis=2)).astype(np.float32)
    labels = (points[:, :2] + rng.normal(size=(40, 2)) > 0).astype(np.uint8)
    weights, bias = references.solve([K[:25, :30], K[25:, :30]], K[:30, :30], labels)
    errors = expit(K[:, :30] @ weights + bias) - labels
    gradient = K[:, :30].T @ errors + references.PENALTY * K[:30, :30] @ weights
    assert np.abs(gradient).max() < 0.02
    assert np.abs(errors.sum(axis=0)).max() < 0.02


def test_a_model_without_such_a_path_stays_as_it_is(prepared):
    dataset = PreparedDataset(prepared)
    model = build("ltwin", dataclasses.replace(dataset.graph_settings(m=2, feed="id"), hidden=4))
    before = model.get_weights()
    references.fit(model, dataset, dataset.split(0)["train"])
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_training_that_goes_on_has_the_path_in_its_state(prepared, tmp_path, monkeypatch):
    """It is not fitted a second time."""
    dataset = PreparedDataset(prepared)
    settings = dataclasses.replace(dataset.graph_settings(m=2, feed="id"), hidden=4)
    epochs = [TrainingSettings(min_epochs=1, max_epochs=count) for count in (1, 2)]
    model = build("ltwin_kernel", settings)
    train(model, dataset, tmp_path, max_rank=4, settings=epochs[0])
    expected = model.get_layer("W_k").get_weights()
    monkeypatch.setattr(references, "solve", None)
    again = build("ltwin_kernel", settings)
    assert len(train(again, dataset, tmp_path, max_rank=4, settings=epochs[1])) == 2
    for ours, theirs in zip(again.get_layer("W_k").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
