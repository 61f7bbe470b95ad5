"""RMSProp and the L2 penalty in one pass over the weights, and a model to use it with.

A penalty λ‖W‖² that is part of the loss makes a gradient as large as W, which is then
added to that of the data; Keras' RMSProp makes several more arrays of that size. Over
10 million weights that takes longer than the products of the step. Here the penalty's
gradient 2λW is added where W is read anyway, and the update is compiled into one loop.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tagnet.models.layers import for_xla


class PenalisedModel(keras.Model):
    """A functional model whose loss reports the L2 penalties but leaves their gradient out.

    To be trained with `PenalisedRMSprop`, which adds it.

    Attributes:
        by_xla: whether XLA compiles the whole training step, which asks for batches of one size.
            Keras' own `jit_compile` does not reach `MultiHotDense`, whatever feeds it.
    """

    by_xla = False

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Makes a step, as Keras does."""
        return self._compiled_step(data) if self.by_xla else super().train_step(data)

    @functools.cached_property
    def _compiled_step(self) -> tf.types.experimental.PolymorphicFunction:
        return tf.function(self._step_for_xla, jit_compile=True, autograph=False)

    def _step_for_xla(self, data: Any) -> dict[str, tf.Tensor]:
        with for_xla():
            return super().train_step(data)

    @property
    def losses(self) -> list[tf.Tensor]:
        """λ‖W‖² of every weight that has a regulariser."""
        return [
            tf.stop_gradient(2 * _l2(variable) * tf.nn.l2_loss(variable.value))
            for variable in self.trainable_variables
            if _l2(variable)
        ]


class PenalisedRMSprop(keras.optimizers.RMSprop):
    """`keras.optimizers.RMSprop` on the loss and the weights' own L2 regularisers.

    For a gradient g of the loss without the penalties, it makes the step that `RMSprop`
    makes for g + 2λW. Where the gradients' norm is clipped, 2λW counts in it. Of replicas
    that each have a part of g, it takes the sum.

    Args:
        learning_rate, rho, epsilon, global_clipnorm: as in `RMSprop`.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
    ) -> None:
        super().__init__(
            learning_rate, rho=rho, epsilon=epsilon, global_clipnorm=global_clipnorm, name=name
        )

    def apply(self, grads: Sequence[tf.Tensor], trainable_variables: Any = None) -> None:
        """Sums replicas' gradients, and adds the penalties' gradients if norms are clipped."""
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        if self.global_clipnorm is not None:
            variables = self._trainable_variables
            if trainable_variables is not None:
                variables = list(trainable_variables)
            grads = [
                gradient + 2 * _l2(variable) * variable
                for gradient, variable in zip(grads, variables, strict=True)
            ]
        super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        """Keras would sum here, after clipping; they are summed already."""
        return grads_and_vars

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one weight and its mean square."""
        index = self._get_variable_index(variable)
        # Of the replicas in this process, that of the weight.
        copies = self._distribution_strategy.experimental_local_results(
            self._velocities[index].value
        )
        (mean_square,) = (copy for copy in copies if copy.device == variable.device)
        clipped = self.global_clipnorm is not None
        _step(
            variable.handle,
            mean_square.handle,
            gradient,
            tf.cast(learning_rate, variable.dtype),
            self.rho,
            self.epsilon,
            0.0 if clipped else _l2(self._trainable_variables[index]),
        )


# TensorFlow never frees what XLA compiled, so that it is compiled once for a shape, not for each
# optimizer. Only handles may come in: a traced function may not outlive its variables.
@tf.function(jit_compile=True)
def _step(
    weights: tf.Tensor,
    mean_square: tf.Tensor,
    gradient: tf.Tensor,
    learning_rate: tf.Tensor,
    rho: float,
    epsilon: float,
    l2: float,
) -> None:
    gradient = gradient + 2 * l2 * tf.raw_ops.ReadVariableOp(resource=weights, dtype=gradient.dtype)
    updated = tf.raw_ops.ReadVariableOp(resource=mean_square, dtype=gradient.dtype)
    updated = rho * updated + (1 - rho) * tf.square(gradient)
    tf.raw_ops.AssignVariableOp(resource=mean_square, value=updated)
    change = learning_rate * gradient * tf.math.rsqrt(updated + epsilon)
    tf.raw_ops.AssignSubVariableOp(resource=weights, value=change)


def _l2(variable: keras.Variable) -> float:
    """λ of the variable's penalty λ‖W‖²; 0 without one."""
    return 0.0 if variable.regularizer is None else float(variable.regularizer.l2)
