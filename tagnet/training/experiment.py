"""Trains and scores a model on one split of a prepared directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tagnet.data.batches import training_batches
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import lookups
from tagnet.evaluation import metrics
from tagnet.evaluation.scoring import Scorer
from tagnet.settings import PARTS, Neighbourhood, ScoringSettings, TrainingSettings
from tagnet.system.files import Check
from tagnet.training import loop
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
        split: index of the split.
        neighbours: encoding whose distance picks the neighbours.
        pool: where neighbours come from.
        max_rank: M, how many nearest images a neighbourhood is drawn from.
        training: optimizer, epochs, loss.
        scoring: how scores are averaged over neighbourhoods; None for the default.
        seed: of the order of the images, and of the drawn neighbourhoods.
        workers: what shares out the batches; None for this process and its device alone.

    Raises:
        InputError: the data set lacks the split, the encoding or the pool, or is damaged.
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: PreparedDataset,
        *,
        split: int = 0,
        neighbours: str = "id",
        pool: str = "open",
        max_rank: int = 24,
        training: TrainingSettings | None = None,
        scoring: ScoringSettings | None = None,
        seed: int = 0,
        workers: Workers | None = None,
    ) -> None:
        graph = model.graph_settings
        self.model = model
        self.dataset = dataset
        self.split = dataset.split(split)
        # The training part streams; reading it here once finds damage before the work begins.
        self.parts = {
            part: dataset.part(split, neighbours, pool, part, max_rank) for part in PARTS
        }
        tables = dataset.tables(graph.feed)
        self._lookups = lookups(tables)
        # What a training step is given: row numbers, or what stands in those rows.
        self._given_rows = tables.on_device
        self._where = {"split": split, "encoding": neighbours, "pool": pool}
        self._neighbourhood = Neighbourhood(graph.m, max_rank)
        self._training = training or TrainingSettings()
        self._seed = seed
        self._workers = workers
        self._scorer = Scorer(model, self._lookups, scoring or ScoringSettings(graph.m))

    def fit(
        self,
        directory: str | Path,
        on_epoch: Callable[[loop.Epoch], None] = lambda epoch: None,
        check: Check | None = None,
    ) -> list[loop.Epoch]:
        """Trains the model; see `loop.train`."""
        return loop.train(
            self.model,
            lookups=self._lookups if self._given_rows else None,
            batches=self._batches,
            num_images=len(self.split["train"]),
            validate=self._validate,
            settings=self._training,
            directory=directory,
            on_epoch=on_epoch,
            workers=self._workers,
            check=check,
        )

    def evaluate(self, part: str) -> Evaluation:
        """Scores a part with the present weights."""
        scores = self._scorer(self.parts[part], seed=self._seed)
        labels = self.dataset.labels[self.parts[part].rows]
        return Evaluation(scores, labels, metrics.evaluate(labels, scores))

    def _batches(self, inputs: list[str], epochs: range) -> tf.data.Dataset:
        return training_batches(
            self.dataset,
            **self._where,
            neighbourhood=self._neighbourhood,
            inputs=inputs,
            batch_size=self._training.batch_size,
            seed=self._seed,
            epochs=epochs,
            lookups=None if self._given_rows else self._lookups,
        )

    def _validate(self) -> dict[str, float]:
        figures = self.evaluate("validation").figures
        return {name: figures[name] for name in WATCHED}


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

    Returns:
        A dict for each epoch: `epoch` (from 1), `loss`, `validation_map_label`,
        `validation_map_image`, `seconds`.

    Raises:
        InputError: the data set lacks something, or the loss is not finite.
    """
    experiment = Experiment(
        model,
        dataset,
        split=split,
        neighbours=neighbours,
        pool=pool,
        max_rank=max_rank,
        training=settings,
        seed=seed,
    )
    return experiment.fit(directory)


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
        split, neighbours, pool, max_rank: as in `train`.

    Returns:
        `map_label`, `map_image`, precision and recall at k = 3 as fractions, their upper
        bounds, and the counts that are left out of the means; see `metrics.evaluate`.
    """
    experiment = Experiment(
        model, dataset, split=split, neighbours=neighbours, pool=pool, max_rank=max_rank
    )
    return experiment.evaluate(part).figures
