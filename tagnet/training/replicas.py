"""Training on several workers: replicas of a model that share every batch.

A replica has all the weights, is given its rows of the batch, and makes the gradient of their
part of the batch's mean loss; the gradients' sum is that of one worker, and each replica makes
the same step. The batches, the draws and dropout's masks are those of one worker, so that the
weights are too, up to rounding.

Keras' own `fit` fails under MultiWorkerMirroredStrategy, hence the loop.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tagnet.errors import InputError
from tagnet.models import dropout

CLUSTER = "TF_CONFIG"  # the environment variable by which TensorFlow's workers know each other

# What a collective operation raises when another process has gone.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)

ImageLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Workers:
    """The workers that share a run.

    Args:
        strategy: covers the devices of this machine, or of this process among others.
        index: number of this process; 0 is the chief, the only one that writes files.
        processes: how many take part.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, index: int = 0, processes: int = 1
    ) -> None:
        self.strategy = strategy
        self.index = index
        self.processes = processes
        self._summed = tf.function(self._sum_of_processes, autograph=False)

    @property
    def devices(self) -> int:
        """How many devices this process has."""
        return self.strategy.num_replicas_in_sync // self.processes

    def of_chief(self, value: float) -> float:
        """Returns the chief's value to all processes."""
        if self.processes == 1:
            return value
        mine = tf.constant(value if is_chief(self) else 0.0, tf.float64)
        return float(self.strategy.experimental_local_results(self._summed(mine))[0])

    def _sum_of_processes(self, value: tf.Tensor) -> Any:
        def of_replica(value: tf.Tensor) -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            # A process may have several devices; the chief's first one speaks.
            counts = tf.equal(replica.replica_id_in_sync_group, 0)
            mine = tf.where(counts, value, tf.zeros_like(value))
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return self.strategy.run(of_replica, args=(value,))

    def wait(self) -> None:
        """Waits until all processes have called it."""
        self.of_chief(0.0)


def is_chief(workers: Workers | None) -> bool:
    """Whether this process writes the files; True if it is the only one."""
    return workers is None or workers.index == 0


@contextlib.contextmanager
def company(workers: Workers | None) -> Iterator[None]:
    """Turns the loss of another process into an `InputError`."""
    try:
        yield
    except LOST as error:
        if workers is None or workers.processes == 1:
            raise
        raise InputError(
            "training: another worker stopped; restart all workers to resume from the last "
            f"epoch ({error.message.splitlines()[0]})"
        ) from error


def workers(count: int) -> Workers | None:
    """Finds the workers of a run; call it before TensorFlow computes anything.

    Where the environment has TF_CONFIG they are the processes that it names, of which this is
    one; otherwise the GPUs of this machine, and without one as many logical processors.

    Args:
        count: how many; 1 is no matter of this module.

    Returns:
        None for 1.

    Raises:
        InputError: there are more or fewer, or TF_CONFIG cannot be read.
    """
    if count == 1:
        return None
    if CLUSTER in os.environ:
        return _of_cluster(count)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and count > len(gpus):
        raise InputError(
            f"--workers must be at most {len(gpus)} (the GPUs of this machine); received {count}"
        )
    kind = "GPU" if gpus else "CPU"
    if not gpus:
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, logical)
    devices = [f"{kind}:{number}" for number in range(count)]
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return Workers(tf.distribute.MirroredStrategy(devices, reduction))


def _of_cluster(count: int) -> Workers:
    try:
        config = json.loads(os.environ[CLUSTER])
        addresses, task = config["cluster"]["worker"], config["task"]
        kind, index = task["type"], task["index"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f'{CLUSTER} must be {{"cluster": {{"worker": ["host:port", …]}}, "task": {{"type": '
            f'"worker", "index": 0}}}}; received {os.environ[CLUSTER]!r}'
        ) from error
    if set(config["cluster"]) != {"worker"} or kind != "worker":
        raise InputError(f"{CLUSTER} must name workers only; received {os.environ[CLUSTER]!r}")
    if count != len(addresses):
        raise InputError(f"--workers must be {len(addresses)}, as in {CLUSTER}; received {count}")
    if index not in range(count):
        raise InputError(f"{CLUSTER}: task index must be 0 to {count - 1}; received {index!r}")
    return Workers(tf.distribute.MultiWorkerMirroredStrategy(), index, count)


class Replicas:
    """One model on all workers' devices.

    Args:
        workers: whose devices.
        core: the graph; it keeps weights of its own, see `fit`.
        compiled: makes what is trained out of a replica of the graph, with its optimizer.
        image_loss: labels [B, L], logits [B, L] → the loss of each image [B].
    """

    def __init__(
        self,
        workers: Workers,
        core: keras.Model,
        compiled: Callable[[keras.Model], keras.Model],
        image_loss: ImageLoss,
    ) -> None:
        self._strategy = workers.strategy
        self._core = core
        with self._strategy.scope():
            self._replica = keras.models.clone_model(core)
            self.model = compiled(self._replica)
        self._image_loss = image_loss
        self._dropouts = [
            layer
            for layer in self._replica.layers
            if isinstance(layer, dropout.Dropout) and layer.rate
        ]

    def fit(
        self,
        batches: tf.data.Dataset,
        steps_per_epoch: int,
        epochs: range,
        callback: keras.callbacks.Callback,
    ) -> None:
        """As `keras.Model.fit`, from the weights of the graph; at each epoch's end it has them.

        Args:
            batches: the batches of all workers: (inputs, labels).
            steps_per_epoch: how many of them make an epoch.
            epochs: which, from 0.
            callback: its `on_epoch_end` is given the `loss`, as `fit` reports it.
        """
        _assign(self._replica, self._core)
        callbacks = keras.callbacks.CallbackList(
            [callback], model=self.model, steps=steps_per_epoch, epochs=epochs.stop
        )
        shares = iter(
            self._strategy.distribute_datasets_from_function(
                lambda context: _shares(batches, context)
            )
        )
        step = tf.function(self._step, autograph=False)
        self.model.stop_training = False
        for epoch in epochs:
            callbacks.on_epoch_begin(epoch)
            sums = []  # of a batch's losses, and its images
            for index in range(steps_per_epoch):
                sums.append(step(shares))
                callbacks.on_train_batch_end(index)
            total, images = tf.reduce_sum(tf.stack(sums), axis=0).numpy()
            _assign(self._core, self._replica)
            callbacks.on_epoch_end(epoch, {"loss": total / images})
            if self.model.stop_training:
                break

    def _step(self, shares: Any) -> tf.Tensor:
        """One step of all replicas; the sum of the batch's losses, and its images [2]."""
        share = next(shares)  # in here, so that batches of other shapes are not traced anew
        penalty = tf.add_n([*self.model.losses, tf.constant(0.0)])
        seeds = {layer.name: layer.seed_generator.next() for layer in self._dropouts}
        sums = self._strategy.run(self._step_of_replica, args=(*share, seeds))
        total, images = tf.unstack(self._strategy.reduce("SUM", sums, axis=None))
        return tf.stack([total + images * penalty, images])

    def _step_of_replica(
        self,
        inputs: dict[str, tf.Tensor],
        labels: tf.Tensor,
        first: tf.Tensor,
        count: tf.Tensor,
        counts: tf.Tensor,
        seeds: dict[str, tf.Tensor],
    ) -> tf.Tensor:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape, dropout.given(dropout.Share(first, count, seeds)):
            logits = self.model(inputs, training=True)
            total = counts * tf.reduce_sum(self._image_loss(labels, logits))
            loss = total / tf.cast(count, total.dtype)
        # The optimizer sums the replicas' gradients.
        self.model.optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.stack([total, counts * tf.cast(tf.shape(labels)[0], total.dtype)])


def _assign(to: keras.Model, from_: keras.Model) -> None:
    """Copies the weights and the random state of dropout."""
    for target, source in zip(to.variables, from_.variables, strict=True):
        target.assign(source.numpy())


def _shares(batches: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The rows of each batch that this process' replicas are given, one replica after another.

    Yields (inputs, labels, number of the first row, rows of the batch, 1). Where a batch has too
    few rows a replica is given its last one again, and 0 in place of the 1: it does not count.
    """
    replicas = context.num_replicas_in_sync
    mine = replicas // context.num_input_pipelines
    lowest = context.input_pipeline_id * mine

    def shared_out(inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.data.Dataset:
        count = tf.shape(labels)[0]
        most = (count + replicas - 1) // replicas

        def share(replica: tf.Tensor) -> tuple:
            begin = tf.cast(replica, tf.int32) * most
            first = tf.minimum(begin, count - 1)
            rows = {name: values[first : first + most] for name, values in inputs.items()}
            counts = tf.cast(begin < count, tf.float32)
            return rows, labels[first : first + most], first, count, counts

        return tf.data.Dataset.range(lowest, lowest + mine).map(share)

    return batches.flat_map(shared_out).prefetch(tf.data.AUTOTUNE)
