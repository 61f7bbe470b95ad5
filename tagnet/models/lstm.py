"""An LSTM with linear activation that trains at the speed of its matrix products."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tagnet")
class LinearLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM(units, activation="linear")`: the same numbers, faster.

    The candidate and the output pass the identity in place of tanh; the gates stay
    sigmoid. cuDNN's LSTM needs tanh, and Keras' loop makes the kernels' gradients step
    by step. Here one product projects the inputs of all steps, and one product makes
    the gradient of each kernel out of all steps.

    Called on [B, K, n] it gives the last state [B, units]. A graph for any K, such as an
    exported one, gets Keras' loop.

    Args:
        units: width of the state.
        kernel_regularizer, recurrent_regularizer, …: as in `keras.layers.LSTM`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **{"activation": "linear", **kwargs})

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: Any = None,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Projects all steps, then follows the state through them."""
        if sequences.shape[1] is None or initial_state is not None or mask is not None:
            return super().call(sequences, initial_state, mask, training)  # Keras' loop
        projected = keras.ops.matmul(sequences, self.cell.kernel) + self.cell.bias
        follow = _followed(sequences.shape[1], self.units, projected.dtype)
        return follow(projected, tf.convert_to_tensor(self.cell.recurrent_kernel))


# TensorFlow keeps for ever what a custom gradient was traced in, so it is not traced anew for
# every model.
@functools.cache
def _followed(steps: int, units: int, dtype: tf.DType) -> tf.types.experimental.PolymorphicFunction:
    """Makes the `_last_state` for a number of steps."""
    shapes = ([None, steps, 4 * units], [units, 4 * units])
    return tf.function(
        _last_state, input_signature=[tf.TensorSpec(shape, dtype) for shape in shapes]
    )


@tf.custom_gradient
def _last_state(projected: tf.Tensor, recurrent: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """h_K of an LSTM with linear activation [B, u], and its gradient.

    With p_k of `projected` [B, K, 4u], U = `recurrent` [u, 4u] and h_0 = c_0 = 0:
    (i, f, g, o) = p_k + h_{k−1} U, of which i, f and o pass a sigmoid;
    c_k = f c_{k−1} + i g; h_k = o c_k.
    """
    zeros = tf.zeros_like(projected[:, 0, : recurrent.shape[0]])
    states, carries, gates = [zeros], [zeros], []
    for k, arguments in enumerate(tf.unstack(projected, axis=1)):
        if k:  # before the first step the state is zero
            arguments += tf.matmul(states[-1], recurrent)
        i, f, g, o = tf.split(arguments, 4, axis=1)
        i, f, o = tf.sigmoid(i), tf.sigmoid(f), tf.sigmoid(o)
        gates.append((i, f, g, o))
        carries.append(f * carries[-1] + i * g)
        states.append(o * carries[-1])

    def gradient(d_state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        d_carry = zeros
        d_steps: list[tf.Tensor] = []  # by each step's p_k [B, 4u], the last step's first
        for k in reversed(range(len(gates))):
            if d_steps:
                d_state = tf.matmul(d_steps[-1], recurrent, transpose_b=True)
            i, f, g, o = gates[k]
            d_carry += d_state * o
            d_i = d_carry * g * i * (1 - i)
            d_f = d_carry * carries[k] * f * (1 - f)
            d_o = d_state * carries[k + 1] * o * (1 - o)
            d_steps.append(tf.concat([d_i, d_f, d_carry * i, d_o], axis=1))
            d_carry *= f
        d_steps.reverse()
        before, after = tf.concat(states[:-1], axis=0), tf.concat(d_steps, axis=0)
        return tf.stack(d_steps, axis=1), tf.matmul(before, after, transpose_a=True)

    return states[-1], gradient
