"""The linear LSTM: Keras' numbers and Keras' gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tagnet.models.lstm import LinearLSTM

STEPS = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32))


def pair():
    """Ours and Keras' with the same random weights."""
    ours, keras_lstm = LinearLSTM(2), keras.layers.LSTM(2, activation="linear")
    rng = np.random.default_rng(1)
    for layer in (ours, keras_lstm):
        layer.build((None, None, 4))
    weights = [rng.normal(0, 0.7, weight.shape) for weight in ours.get_weights()]
    ours.set_weights(weights)
    keras_lstm.set_weights(weights)
    return ours, keras_lstm


def gradients(layer, steps):
    """d Σ h² by the steps and by the weights."""
    with tf.GradientTape() as tape:
        tape.watch(steps)
        total = tf.reduce_sum(layer(steps) ** 2)
    return tape.gradient(total, [steps, *(weight.value for weight in layer.trainable_weights)])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_same_state_and_gradients_as_keras(count):
    ours, keras_lstm = pair()
    steps = STEPS[:, :count]
    np.testing.assert_allclose(ours(steps), keras_lstm(steps), atol=1e-6)
    for mine, theirs in zip(gradients(ours, steps), gradients(keras_lstm, steps), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_any_number_of_steps_in_one_graph():
    ours, keras_lstm = pair()
    free = tf.function(ours, input_signature=[tf.TensorSpec([None, None, 4])])
    for count in (1, 5):
        steps = STEPS[:, :count]
        np.testing.assert_allclose(free(steps), keras_lstm(steps), atol=1e-6)


def test_gradients_equal_differences():
    """By the recurrent kernel, beside (f(U + ε) − f(U − ε)) / 2ε in float64."""
    layer = LinearLSTM(2, dtype="float64")
    steps = tf.cast(STEPS, tf.float64)
    layer(steps)
    kernel = layer.cell.recurrent_kernel
    exact = gradients(layer, steps)[2].numpy()
    start, epsilon = kernel.numpy(), 1e-5
    for place in np.ndindex(start.shape):
        shift = np.zeros_like(start)
        shift[place] = epsilon
        values = []
        for changed in (start + shift, start - shift):
            kernel.assign(changed)
            values.append(float(tf.reduce_sum(layer(steps) ** 2)))
        assert exact[place] == pytest.approx((values[0] - values[1]) / (2 * epsilon), abs=1e-8)
