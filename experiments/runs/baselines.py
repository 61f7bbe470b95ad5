"""Baselines from the literature, as reference points.

Each reads the training part's labels alone and chooses its one setting (C, or the number
of neighbours K) by the validation part's mAP per label. They are chosen by `--arch` like
the graphs and leave the same `config.json`, `metrics.json` and `predictions.npz`.
"""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from experiments.runs import label_transfer
from experiments.runs.label_transfer import Neighbours
from experiments.runs.results import BASELINE, read_checked
from experiments.runs.run_directory import being_made
from experiments.runs.runner import Evaluation, write_results
from tagnet.data.dataset import PreparedDataset
from tagnet.data.embeddings import rho
from tagnet.data.tags import TagLists
from tagnet.evaluation import metrics
from tagnet.search import neighbours
from tagnet.system import console
from tagnet.system.files import Check

PENALTIES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)  # C of scikit-learn: the smaller, the stronger
NEIGHBOURS = (5, 10, 20, 50, 100, 200)  # K
# ‖φ‖ beside π: how much less pixels are penalised. Better than 1, 3 and 4 on the validation
# images of the demo set, whatever π is.
LENGTH = 2.0
Scores = Callable[[str], np.ndarray]  # a part's name → scores [n, L]


@dataclasses.dataclass(frozen=True)
class BaselineSettings:
    """One run of a baseline; with the same settings and data set its numbers repeat.

    Attributes:
        arch: a key of `METHODS`.
        data: the prepared directory.
        split: index of the random split.
        neighbours: encoding whose distance picks the neighbours; empty where none are.
        feed: encoding of the tags beside the features; None where there is no choice.
        seed: told apart by it only; nothing here is random.
    """

    arch: str
    data: str
    split: int
    neighbours: str
    feed: str | None
    seed: int

    def flat(self) -> dict[str, Any]:
        """All settings by name, including those that a report expects of every run."""
        fixed = {"pool": "train", "preset": BASELINE, "m": 0, "max_rank": 0}
        if self.feed is not None:
            fixed["features_length"] = LENGTH
        return dataclasses.asdict(self) | fixed


@dataclasses.dataclass(frozen=True)
class Baseline:
    """How a baseline is fitted.

    Attributes:
        choices: the values of its setting.
        fit: (problem, choice) → the scores of a part.
    """

    choices: tuple[float, ...]
    fit: Callable[["Problem", Any], Scores]


class Problem:
    """A split of a data set, as baselines see it.

    Attributes:
        tag_lists: the tags of every image, ids.
    """

    def __init__(self, settings: BaselineSettings, dataset: PreparedDataset) -> None:
        self.settings = settings
        self.dataset = dataset
        self.tag_lists = dataset.tags
        self.split = dataset.split(settings.split)
        self._found: dict[tuple[str, str], Neighbours] = {}

    def labels(self, part: str) -> np.ndarray:
        """0/1 [n, L]."""
        return self.dataset.labels[self.split[part]]

    @functools.cached_property
    def _mean(self) -> np.ndarray:
        return self.dataset.features[self.split["train"]].mean(axis=0, dtype=np.float64)

    def features(self, part: str) -> np.ndarray:
        """Φ centred on the training part's mean, with unit length: float32 [n, D].

        Unscaled beside binary tags it would escape the penalty that holds them.
        """
        features = self.dataset.features[self.split[part]].astype(np.float32)
        return _units(features - self._mean.astype(np.float32))

    def tags(self, part: str) -> scipy.sparse.csr_matrix:
        """o_x (eq. 4), sparse [n, τ]."""
        lists = self.tag_lists.select(self.split[part])
        shape = (len(lists), len(self.dataset.vocabulary))
        ones = np.ones(len(lists.ids), np.float32)
        return scipy.sparse.csr_matrix((ones, lists.ids, lists.offsets), shape)

    def both(self, part: str) -> scipy.sparse.csr_matrix | np.ndarray:
        """[φ; π] with π as the run feeds it, φ of the length `LENGTH`."""
        feed = self.settings.feed
        if feed == "id":
            return scipy.sparse.hstack([LENGTH * self.features(part), self.tags(part)]).tocsr()
        assert feed is not None
        tags = self.tag_lists.select(self.split[part])
        return np.hstack([LENGTH * self.features(part), rho(tags, self.dataset.embedding(feed))])

    def nearest(self, part: str, by: str) -> Neighbours:
        """The nearest training images, as many as the largest K, by `tags` or by `pixels`.

        An image without usable tags has those by pixels.
        """
        if (part, by) not in self._found:
            self._found[part, by] = self._search(part, by)
        return self._found[part, by]

    def _search(self, part: str, by: str) -> Neighbours:
        rows, pool = self.split[part], self.split["train"]
        number = min(max(NEIGHBOURS), len(pool) - 1)
        if by == "pixels":
            found = neighbours.cosine(self.dataset.features, rows, pool, number)
            near, far = found.neighbours, found.distances
        else:
            near, far = self._by_tags(rows, pool, number)
        # Training images by their place in the training part, where the labels are.
        return Neighbours(np.searchsorted(pool, near), far)

    def _by_tags(
        self, rows: np.ndarray, pool: np.ndarray, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        tags, encoding = self.tag_lists, self.settings.neighbours
        if encoding == "id":
            usable = tags.lengths[rows] > 0
            found = neighbours.jaccard(tags, rows[usable], pool, number)
        else:
            vectors = rho(tags, self.dataset.embedding(encoding))
            usable = (vectors != 0).any(axis=1)[rows]
            found = neighbours.cosine(vectors, rows[usable], pool, number)
        other = neighbours.cosine(self.dataset.features, rows[~usable], pool, number)
        near = np.empty([len(rows), number], np.int64)
        far = np.empty([len(rows), number], np.float32)
        near[usable], far[usable] = found.neighbours, found.distances
        near[~usable], far[~usable] = other.neighbours, other.distances
        return near, far

    def pixel_distances(self, part: str, near: np.ndarray) -> np.ndarray:
        """Cosine distances [n, K] of Φ to the training images `near`."""
        ours, theirs = (
            _units(self.dataset.features[self.split[name]].astype(np.float32))
            for name in (part, "train")
        )
        found = (theirs[places] @ vector for places, vector in zip(near, ours, strict=True))
        return 1 - np.stack(list(found))


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _linear(read: Callable[[Problem, str], Any], classifier: type) -> Callable:
    """One linear classifier per label; a label without a positive gets the lowest score."""

    def fit(problem: Problem, penalty: float) -> Scores:
        inputs, labels = read(problem, "train"), problem.labels("train")
        models = [
            _fitted(classifier(C=penalty, max_iter=1000, random_state=0), inputs, target)
            if 0 < target.sum() < len(target)
            else None
            for target in labels.T
        ]

        def scores(part: str) -> np.ndarray:
            given = read(problem, part)
            lowest = np.full(given.shape[0], np.finfo(np.float32).min)
            return np.stack(
                [model.decision_function(given) if model else lowest for model in models], axis=1
            )

        return scores

    return fit


def _fitted(model: Any, inputs: Any, target: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # A C so large that it does not converge is one that validation will not choose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, target)


def _transfer(by: str) -> Callable:
    """Label transfer of Makadia et al. (2008)."""

    def fit(problem: Problem, number: int) -> Scores:
        labels = problem.labels("train")
        return lambda part: label_transfer.makadia(
            labels, problem.nearest(part, by).neighbours[:, :number]
        )

    return fit


def _tagprop_rank(problem: Problem, number: int) -> Scores:
    labels = problem.labels("train")
    near = problem.nearest("train", "tags").neighbours[:, :number]
    model = label_transfer.TagPropRank(labels, near)
    return lambda part: model(problem.nearest(part, "tags").neighbours[:, :number])


def _tagprop_distance(problem: Problem, number: int) -> Scores:
    def given(part: str) -> tuple[np.ndarray, np.ndarray]:
        found = problem.nearest(part, "tags")
        near = found.neighbours[:, :number]
        by_pixels = problem.pixel_distances(part, near)
        return near, np.stack([found.distances[:, :number], by_pixels], axis=2)

    model = label_transfer.TagPropDistance(problem.labels("train"), *given("train"))
    return lambda part: model(*given(part))


METHODS: dict[str, Baseline] = {
    "svm_tags": Baseline(PENALTIES, _linear(Problem.tags, LinearSVC)),
    "logistic_features": Baseline(PENALTIES, _linear(Problem.features, LogisticRegression)),
    "logistic_tags": Baseline(PENALTIES, _linear(Problem.tags, LogisticRegression)),
    "logistic_both": Baseline(PENALTIES, _linear(Problem.both, LogisticRegression)),
    "knn_tags": Baseline(NEIGHBOURS, _transfer("tags")),
    "knn_pixels": Baseline(NEIGHBOURS, _transfer("pixels")),
    "tagprop_rank": Baseline(NEIGHBOURS, _tagprop_rank),
    "tagprop_distance": Baseline(NEIGHBOURS, _tagprop_distance),
}


def fit_and_evaluate(
    settings: BaselineSettings, dataset: PreparedDataset, out: Path
) -> dict[str, Any]:
    """Fits a baseline with every choice, keeps the best by validation, and scores it.

    A finished run is read back.

    Returns:
        What `metrics.json` holds; `chosen` is the setting that was chosen.

    Raises:
        InputError: `out` holds a run with other settings, or the data set lacks something.
    """
    dataset.tables(settings.feed)  # raises where the features or the encoding are missing
    with being_made(settings.flat(), out) as (finished, check):
        return finished or _fit_and_evaluate(settings, dataset, out, check)


def _fit_and_evaluate(
    settings: BaselineSettings, dataset: PreparedDataset, out: Path, check: Check | None
) -> dict[str, Any]:
    begun = time.perf_counter()
    problem = Problem(settings, dataset)
    baseline = METHODS[settings.arch]
    most = len(problem.split["train"]) - 1
    choices = [n for n in baseline.choices if baseline.choices is PENALTIES or n <= most]
    best: tuple[float, float, Evaluation, Scores] | None = None
    for choice in choices or [most]:
        scores = baseline.fit(problem, choice)
        validation = _evaluated(problem, scores, "validation")
        value = validation.figures["map_label"]
        console.say(f"{settings.arch}, {choice:g}: validation mAP per label {100 * value:.2f}")
        if best is None or value > best[0]:
            best = value, choice, validation, scores
    assert best is not None
    test = _evaluated(problem, best[3], "test")
    results = {
        "arch": settings.arch,
        "epochs": None,
        "chosen": best[1],
        "seconds": time.perf_counter() - begun,
        "seconds_per_epoch": None,
        "parameters": None,
        "validation": best[2].figures,
    }
    return write_results(out, results, test, dataset, problem.split, check)


def restored(
    settings: BaselineSettings, dataset: PreparedDataset, out: Path
) -> Callable[[TagLists], np.ndarray]:
    """A finished run of a linear baseline, fitted again.

    Args:
        settings: of the run.
        dataset: what it was fitted on.
        out: the run directory.

    Returns:
        The tags of every image → the scores [n, L] of the test part.
    """
    problem = Problem(settings, dataset)
    chosen = read_checked(out)["chosen"]
    scores = METHODS[settings.arch].fit(problem, chosen)

    def score(tags: TagLists) -> np.ndarray:
        problem.tag_lists = tags
        return scores("test")

    return score


def _evaluated(problem: Problem, scores: Scores, part: str) -> Evaluation:
    values, labels = scores(part).astype(np.float32), problem.labels(part)
    return Evaluation(values, labels, metrics.evaluate(labels, values))
