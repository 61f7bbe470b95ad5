"""Compiles and fits a model, keeps its best weights, and resumes after interruption."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tagnet.data.tables import Lookups, fed_by_rows
from tagnet.errors import InputError
from tagnet.models.parts import with_path_outputs
from tagnet.settings import TrainingSettings
from tagnet.system.checksums import HINT_RERUN, sha256
from tagnet.system.console import progress
from tagnet.system.files import (
    Check,
    atomic_write,
    read_arrays,
    read_json,
    with_hint,
    write_arrays,
    write_text,
)
from tagnet.training.optimizer import PenalisedModel, PenalisedRMSprop
from tagnet.training.replicas import Replicas, Workers, is_chief

MONITOR = "map_label"  # the paper's primary metric, on the validation split

Epoch = dict[str, float]


class Diverged(InputError):
    """The loss became nan or infinite."""


def should_stop(history: Sequence[Epoch], settings: TrainingSettings) -> bool:
    """Whether a run with this history is over. It has no other state than the history."""
    if len(history) >= settings.max_epochs:
        return True
    since_best = len(history) - 1 - best_epoch(history) if history else 0
    return len(history) >= settings.min_epochs and since_best >= settings.patience


def best_epoch(history: Sequence[Epoch]) -> int:
    """The first epoch, from 0, with the highest validation mAP_lab."""
    return int(np.argmax([epoch[f"validation_{MONITOR}"] for epoch in history]))


def best_weights(directory: Path) -> Path:
    """Where a run in `directory` keeps the weights of its best epoch."""
    return directory / "checkpoints" / "best.weights.h5"


def train(
    core: keras.Model,
    *,
    lookups: Lookups | None,
    batches: Callable[[list[str], range], tf.data.Dataset],
    num_images: int,
    validate: Callable[[], dict[str, float]],
    settings: TrainingSettings,
    directory: str | Path,
    on_epoch: Callable[[Epoch], None],
    at_first: Callable[[], None] = lambda: None,
    check: Check | None = None,
    workers: Workers | None = None,
    by_xla: bool = False,
) -> list[Epoch]:
    """Trains `core` until early stopping or the last epoch; leaves it with its best weights.

    After each epoch all that the next one depends on is written at once to
    `checkpoints/last.npz`: weights, optimizer, the dropout's random state and the
    history. A run that finds it goes on from there and ends with the same
    weights as one that was never stopped.

    Args:
        core: a graph of `architectures.build`.
        lookups: the tables on the device, see `tables.lookup_tables`; None if the batches
            carry rows of the tables themselves.
        batches: (inputs, epochs) → the training batches, see `batches.training_batches`.
        num_images: in the training part.
        validate: scores the validation part with the present weights: name → value.
        settings: how to train.
        directory: the run directory.
        on_epoch: called with each finished epoch's figures, before they are stored.
        at_first: called before the first epoch; a run that goes on has what it did in its state.
        check: called before each file takes its place, see `files.atomic_write`.
        workers: who shares the batches; None for this process and its device only. Of several
            processes the chief validates, writes, and has the best weights at the end.
        by_xla: whether XLA compiles the step, see `compiled`; not with `workers`.

    Returns:
        The figures of each epoch: `epoch` (from 1), `loss`, `validation_…`, `seconds`.

    Raises:
        Diverged: the loss became nan or infinite.
        InputError: a record is damaged, or the state that was stored is not one of this graph.
    """
    directory = Path(directory)
    replicas = None
    if workers is None:
        model = compiled(core, lookups, settings, by_xla)
    else:
        replicas = Replicas(
            workers, core, lambda graph: compiled(graph, lookups, settings), image_loss(settings)
        )
        model = replicas.model
    state = _State(core, model.optimizer, directory, check)
    history = state.restore()
    if not history:
        at_first()
    if not should_stop(history, settings):
        epochs = range(len(history), settings.max_epochs)
        stream = batches([tensor.name for tensor in model.inputs], epochs)
        steps = math.ceil(num_images / settings.batch_size)
        callback = _EpochEnd(history, validate, settings, state, on_epoch, workers)
        try:
            if replicas is not None:
                replicas.fit(stream, steps, epochs, callback)
            else:
                model.fit(
                    stream,
                    steps_per_epoch=steps,
                    initial_epoch=epochs.start,
                    epochs=epochs.stop,
                    callbacks=[callback],
                    shuffle=False,  # the batches come shuffled
                    verbose=0,
                )
        except tf.errors.DataLossError as error:
            raise InputError(
                "training: a training record is damaged; run python -m data_tools.audit to find "
                "the file, then prepare the data again"
            ) from error
    if is_chief(workers):
        write_text(directory / "history.csv", pd.DataFrame(history).to_csv(index=False), check)
        state.load_best()
    return history


def compiled(
    core: keras.Model,
    lookups: Lookups | None,
    settings: TrainingSettings,
    by_xla: bool = False,
) -> keras.Model:
    """The compiled model, fed with row numbers if it looks them up itself.

    Args:
        core: a graph of `architectures.build`.
        lookups: the tables on the device, or None; as in `train`.
        settings: how to train.
        by_xla: whether XLA compiles the whole step; the batches and the lists of tags must be of
            one size, see `training_batches` and `lookup_tables`.
    """
    graph = with_path_outputs(core)
    fed = graph if lookups is None else fed_by_rows(graph, lookups)
    model = PenalisedModel(fed.input, fed.output)
    model.by_xla = by_xla
    optimizer = PenalisedRMSprop(
        settings.learning_rate, settings.rho, global_clipnorm=settings.clip_norm
    )
    model.compile(optimizer, image_loss(settings), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def image_loss(settings: TrainingSettings) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss of each image [B], of labels [B, L] and logits [B, L], or [B, L, P] of P paths.

    The sigmoid cross-entropy, summed over the paths, so that each learns as if it were alone,
    and over the labels, unless the settings say that it be their mean. Labels [B, L, 2] have the
    weight of each term beside them.
    """
    over_labels = {"sum": keras.ops.sum, "mean": keras.ops.mean}[settings.loss_over_labels]

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        paths = tf.unstack(logits, axis=2) if len(logits.shape) == 3 else [logits]
        labels, weights = tf.unstack(labels, axis=2) if len(labels.shape) == 3 else (labels, 1.0)
        entropies = (
            keras.ops.binary_crossentropy(labels, path, from_logits=True) for path in paths
        )
        return tf.add_n([over_labels(weights * entropy, axis=-1) for entropy in entropies])

    return loss


class _EpochEnd(keras.callbacks.Callback):
    """Validates, reports, stores, and decides whether to stop."""

    def __init__(
        self,
        history: list[Epoch],
        validate: Callable[[], dict[str, float]],
        settings: TrainingSettings,
        state: "_State",
        on_epoch: Callable[[Epoch], None],
        workers: Workers | None,
    ) -> None:
        super().__init__()
        self._history = history
        self._validate = validate
        self._settings = settings
        self._state = state
        self._on_epoch = on_epoch
        self._workers = workers

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()
        self._bar = progress(None, f"epoch {epoch + 1}", total=self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._bar.close()
        seconds = time.perf_counter() - self._begun
        if not math.isfinite(logs["loss"]):
            raise Diverged(
                f"training: the loss must stay finite; epoch {epoch + 1} received "
                f"{logs['loss']}; try a lower learning rate"
            )
        scores = self._validate() if is_chief(self._workers) else {MONITOR: 0.0}
        if self._workers is not None:  # all must agree on when to stop
            scores = {**scores, MONITOR: self._workers.of_chief(scores[MONITOR])}
        validation = {f"validation_{name}": value for name, value in scores.items()}
        figures = {"epoch": epoch + 1, "loss": float(logs["loss"]), **validation}
        self._history.append({**figures, "seconds": seconds})
        if is_chief(self._workers):
            self._on_epoch(self._history[-1])
            self._state.store(self._history)
        self.model.stop_training = should_stop(self._history, self._settings)


def _identity(config: Path) -> str:
    """What states of a run are told from those of others by; empty if it has no settings.

    A run keeps its states when it is asked for more epochs.
    """
    if not config.exists():
        return ""
    settings = {k: v for k, v in read_json(config).items() if k not in ("min_epochs", "max_epochs")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class _State:
    """Everything the next epoch depends on, in one file."""

    def __init__(
        self,
        core: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        directory: Path,
        check: Check | None,
    ) -> None:
        self._core = core
        self._check = check
        self._variables = {
            f"{owner}_{index}": variable
            # A model's variables include the random state of its dropout layers.
            for owner, variables in (("model", core.variables), ("optimizer", optimizer.variables))
            for index, variable in enumerate(variables)
        }
        self._last = directory / "checkpoints" / "last.npz"
        self._best = best_weights(directory)
        # What states of the run are told from those of others by.
        self._of = _identity(directory / "config.json")
        self._best_sum = ""

    def store(self, history: Sequence[Epoch]) -> None:
        """Writes the best weights first: after a kill in between, the epoch is repeated."""
        if best_epoch(history) == len(history) - 1:
            with atomic_write(self._best, self._check) as temporary:
                self._core.save_weights(temporary)
            self._best_sum = sha256(self._best)
        arrays = {name: variable.numpy() for name, variable in self._variables.items()}
        told = {"history": json.dumps(history), "best": self._best_sum, "of": self._of}
        arrays |= {name: np.array(text) for name, text in told.items()}
        write_arrays(self._last, arrays, self._check)

    def restore(self) -> list[Epoch]:
        """Restores the last stored state and returns its history; empty if none is stored."""
        if not self._last.exists():
            return []
        with with_hint(HINT_RERUN):
            arrays = read_arrays(self._last, "history", "best", "of", *self._variables)
        for name, variable in self._variables.items():
            if arrays[name].shape != tuple(variable.shape):
                raise InputError(
                    f"{self._last}: {name} must have shape {tuple(variable.shape)}; "
                    f"received {arrays[name].shape}; was it written by another run? {HINT_RERUN}"
                )
            variable.assign(arrays[name])
        if arrays["of"].item() != self._of:
            raise InputError(
                f"{self._last}: does not belong to the run in config.json; {HINT_RERUN}"
            )
        self._best_sum = arrays["best"].item()
        return json.loads(arrays["history"].item())

    def load_best(self) -> None:
        """Loads the best weights into the model.

        Raises:
            InputError: they are not those that were stored.
        """
        if not self._best.is_file() or sha256(self._best) != self._best_sum:
            raise InputError(f"{self._best}: does not match {self._last.name}; {HINT_RERUN}")
        self._core.load_weights(self._best)
