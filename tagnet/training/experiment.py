"""Trains and scores a model on one split of a prepared directory."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.batches import training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookup_tables
from tagnet.errors import InputError
from tagnet.evaluation import metrics
from tagnet.evaluation.scoring import Scorer
from tagnet.models.plain import in_float32, plain_keras
from tagnet.settings import (
    MAX_COMPILED_TAGS,
    PARTS,
    BatchSettings,
    Neighbourhood,
    ScoringSettings,
    TrainingSettings,
)
from tagnet.system.devices import gpus
from tagnet.system.files import Check
from tagnet.training import loop, references
from tagnet.training.replicas import Workers

WATCHED = ("map_label", "map_image")  # after every epoch


class Evaluation(NamedTuple):
    """Scores [n, L] and labels [n, L] of a part, and `metrics.evaluate` of them."""

    scores: np.ndarray
    labels: np.ndarray
    figures: dict[str, Any]


class Experiment:
    """A model, the data set that it is trained on, and the parts that it is scored on.

    Args:
        model: of `architectures.build`.
        dataset: the prepared directory.
        batches: which neighbourhoods it is trained on, and in what batches.
        training: optimizer, epochs, loss.
        scoring: how scores are averaged over neighbourhoods.
        workers: what shares out the batches; None for this process and its device alone.
        jit: whether XLA compiles the training step: `on`, `off`, or `auto` for on with a GPU.

    Attributes:
        by_xla: whether it does.

    Raises:
        InputError: the data set lacks the split, the encoding or the pool, or is damaged; or
            XLA cannot compile this.
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: PreparedDataset,
        batches: BatchSettings,
        training: TrainingSettings,
        scoring: ScoringSettings,
        workers: Workers | None = None,
        jit: str = "auto",
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.split = dataset.split(batches.split)
        # The training part streams; reading it here once finds damage before the work begins.
        self.parts = {
            part: dataset.part(
                batches.split,
                batches.encoding,
                batches.pool,
                part,
                batches.neighbourhood.max_rank,
            )
            for part in PARTS
        }
        tables = dataset.tables(model.graph_settings.feed)
        self.by_xla = compiles(jit, tables.most_tags, workers)
        self._lookups = lookup_tables(tables, one_size=self.by_xla)
        # A training step looks rows up, or is given what stands in them.
        self._looks_up = tables.on_device
        self._batches = batches
        self._training = training
        self._weights = loss_weights(dataset, self.split["train"], training.class_weight)
        self._workers = workers
        # Figures are of the model as it is exported: in float32.
        self._scored = in_float32(model)
        with plain_keras():
            self._scorer = Scorer(self._scored, lookup_tables(tables), scoring, self.by_xla)

    def fit(
        self,
        directory: str | Path,
        on_epoch: Callable[[loop.Epoch], None] = lambda epoch: None,
        check: Check | None = None,
    ) -> list[loop.Epoch]:
        """Fits what is fitted at once, see `references.fit`, and trains the rest: `loop.train`."""
        return loop.train(
            self.model,
            lookups=self._lookups if self._looks_up else None,
            batches=self._stream,
            num_images=len(self.split["train"]),
            validate=self._validate,
            settings=self._training,
            directory=directory,
            on_epoch=on_epoch,
            at_first=functools.partial(
                references.fit, self.model, self.dataset, self.split["train"], self._batches.seed
            ),
            workers=self._workers,
            by_xla=self.by_xla,
            check=check,
        )

    def stepping(self, steps: int) -> Callable[[], object]:
        """A function that trains the model for some steps, on the same batches every time."""
        lookups = self._lookups if self._looks_up else None
        model = loop.compiled(self.model, lookups, self._training, self.by_xla)
        names = [tensor.name for tensor in model.inputs]
        batches = list(self._stream(names, range(steps)).take(steps))
        return lambda: [model.train_on_batch(*batch) for batch in batches]

    def evaluate(self, part: str) -> Evaluation:
        """Scores a part with the present weights."""
        if self._scored is not self.model:
            self._scored.set_weights(self.model.get_weights())
        scores = self._scorer(self.parts[part], seed=self._batches.seed)
        labels = self.dataset.labels[self.parts[part].rows]
        return Evaluation(scores, labels, metrics.evaluate(labels, scores))

    def _stream(self, inputs: list[str], epochs: range) -> tf.data.Dataset:
        return training_batches(
            self.dataset,
            self._batches,
            inputs,
            epochs,
            lookups=None if self._looks_up else self._lookups,
            weights=self._weights,
            one_size=self.by_xla,
        )

    def _validate(self) -> dict[str, float]:
        figures = self.evaluate("validation").figures
        return {name: figures[name] for name in WATCHED}


def compiles(jit: str, most_tags: int, workers: Workers | None = None) -> bool:
    """Whether XLA compiles the training step.

    Args:
        jit: `on`, `off`, or `auto` for on with a GPU, if it can.
        most_tags: of one image, where the model is fed with ids of tags; otherwise 0.
        workers: of the run.

    Raises:
        InputError: it is to, but it cannot.
    """
    reason = None
    if workers is not None:
        reason = "with several workers"
    elif most_tags > MAX_COMPILED_TAGS:
        reason = f"where an image has more than {MAX_COMPILED_TAGS} tags (one has {most_tags})"
    if jit == "on" and reason:
        raise InputError(f"--jit must be auto or off {reason}; received on")
    return not reason and (jit == "on" or (jit == "auto" and bool(gpus())))


def loss_weights(
    dataset: PreparedDataset, rows: np.ndarray, class_weight: str | None
) -> np.ndarray | None:
    """The weight of every image and label in the loss.

    Args:
        dataset: its images may have weights of their own.
        rows: the training images.
        class_weight: see `TrainingSettings`.

    Returns:
        float32 [N, L]; None where all are 1.
    """
    if class_weight is None and dataset.image_weights is None:
        return None
    weights = np.ones(dataset.labels.shape, np.float32)
    if class_weight == "balanced":
        positive = dataset.labels[rows].sum(axis=0, dtype=np.float64)
        counts = np.stack([len(rows) - positive, positive])  # [2, L]
        balanced = len(rows) / (2 * np.maximum(counts, 1))
        weights = np.where(dataset.labels, balanced[1], balanced[0]).astype(np.float32)
    if dataset.image_weights is not None:
        weights *= dataset.image_weights[:, None]
    return weights


def train(
    model: keras.Model,
    dataset: PreparedDataset,
    directory: str | Path,
    *,
    split: int = 0,
    neighbours: str = "id",
    pool: str = "open",
    max_rank: int = 24,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    jit: str = "auto",
    on_epoch: Callable[[loop.Epoch], None] = lambda epoch: None,
) -> list[loop.Epoch]:
    """Trains a model with early stopping, and leaves it with its best weights.

    Args:
        model: of `build`.
        dataset: of `load`.
        directory: where checkpoints and the history are kept; a stopped training that is
            started again with the same directory resumes there.
        split: index of the split.
        neighbours: encoding whose distance picks the neighbours: `id`, `w2v` or `wnet`.
        pool: where neighbours come from: `open`, `closed` or `train`.
        max_rank: M, how many nearest images a neighbourhood is drawn from.
        settings: optimizer, epochs, loss; None for the paper's.
        seed: of the order of the images, and of the drawn neighbourhoods.
        jit: whether XLA compiles the training step: `on`, `off`, or `auto` for on with a GPU.
        on_epoch: called with the dict of each epoch as it ends, to log it. Training that resumes
            does not call it again for the epochs before.

    Returns:
        A dict for each epoch: `epoch` (from 1), `loss`, `validation_map_label`,
        `validation_map_image`, `seconds`.

    Raises:
        InputError: the data set lacks something, or the loss is not finite.
    """
    settings = settings or TrainingSettings()
    m = model.graph_settings.m
    batches = BatchSettings(
        split, neighbours, pool, Neighbourhood(m, max_rank), settings.batch_size, seed
    )
    experiment = Experiment(model, dataset, batches, settings, ScoringSettings(m), jit=jit)
    return experiment.fit(directory, on_epoch)


def evaluate(
    model: keras.Model,
    dataset: PreparedDataset,
    part: str = "test",
    *,
    split: int = 0,
    neighbours: str = "id",
    pool: str = "open",
    max_rank: int = 24,
) -> dict[str, Any]:
    """Scores a part of a split, averaged over neighbourhoods (eq. 2).

    Args:
        model: of `build`, trained.
        dataset: of `load`.
        part: `train`, `validation` or `test`.
        split: index of the split.
        neighbours: encoding whose distance picks the neighbours.
        pool: where neighbours come from.
        max_rank: M, how many nearest images neighbourhoods are made of.

    Returns:
        `map_label`, `map_image`, precision and recall at k = 3 as fractions, their upper
        bounds, and the counts that are left out of the means; see `metrics.evaluate`.
    """
    m = model.graph_settings.m
    rows = dataset.part(split, neighbours, pool, part, max_rank)
    scorer = Scorer(
        model, lookup_tables(dataset.tables(model.graph_settings.feed)), ScoringSettings(m)
    )
    return metrics.evaluate(dataset.labels[rows.rows], scorer(rows))
