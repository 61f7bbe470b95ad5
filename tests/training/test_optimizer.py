"""RMSProp with penalties: the weights that Keras' RMSProp gives when the loss has the penalties."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.graphs import random_inputs, small, taken_by

from tagnet.settings import TrainingSettings
from tagnet.training import optimizer
from tagnet.training.loop import image_loss
from tagnet.training.optimizer import PenalisedModel, PenalisedRMSprop

LABELS = (np.random.default_rng(3).random((5, 3)) < 0.5).astype(np.float32)


def trained(model, optimizer):
    """The weights and the losses of some steps on one batch."""
    model.compile(optimizer, image_loss(TrainingSettings()))
    inputs = taken_by(model, random_inputs("w2v"))
    losses = [float(model.train_on_batch(inputs, LABELS)) for _ in range(5)]
    return model.get_weights(), losses


@pytest.mark.parametrize("clip_norm", [pytest.param(None, marks=pytest.mark.large), 0.5])
def test_same_weights_and_losses_as_keras(clip_norm):
    """A penalty as large as the loss; the norm of 0.5 is exceeded in every step."""
    settings = {"dropout": 0.0, "l2": 0.3}
    plain = small("ltwin_rnn", "w2v", **settings)
    fused = small("ltwin_rnn", "w2v", **settings)
    fused = PenalisedModel(fused.input, fused.output)
    arguments = {"learning_rate": 1e-2, "rho": 0.8, "global_clipnorm": clip_norm}
    expected, expected_losses = trained(plain, keras.optimizers.RMSprop(**arguments))
    weights, losses = trained(fused, PenalisedRMSprop(**arguments))
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.large
def test_models_of_one_shape_are_trained_one_after_another():
    """As in a sweep: the first one's variables are gone when the second is trained."""
    weights = []
    for _ in range(2):
        core = small("ltwin_rnn", "w2v")
        weights.append(trained(PenalisedModel(core.input, core.output), PenalisedRMSprop())[0])
        del core
        keras.backend.clear_session()
        gc.collect()
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.large
def test_a_model_leaves_no_graph_behind():
    """Its layers have custom gradients, and its updates are compiled."""
    left = []
    for _ in range(3):
        core = small("lzip", "id")
        model = PenalisedModel(core.input, core.output)
        model.compile(PenalisedRMSprop(), image_loss(TrainingSettings()))
        model.train_on_batch(taken_by(model, random_inputs("id")), LABELS)
        del core, model
        keras.backend.clear_session()
        gc.collect()
        graphs = sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())
        left.append((graphs, optimizer._step.experimental_get_tracing_count()))
    assert left[1] == left[2]  # the first leaves what is traced once


def test_the_penalties_are_in_the_loss_but_not_in_its_gradient():
    core = small("ltn", None, l2=0.25)
    model = PenalisedModel(core.input, core.output)
    assert sum(map(float, model.losses)) == pytest.approx(sum(map(float, core.losses)), rel=1e-6)
    with tf.GradientTape() as tape:
        penalty = sum(model.losses)
    assert tape.gradient(penalty, [v.value for v in model.trainable_variables]) == [None] * 6
