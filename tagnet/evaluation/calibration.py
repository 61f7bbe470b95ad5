"""Temperature scaling on the validation split, and its evaluation on the test split.

Guo et al. 2017: temperature scaling, expected calibration error.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

BINS = 15  # Guo et al.
MAX_TEMPERATURE = 100.0  # for scores that separate the labels, whose likelihood has no maximum


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Fits T of σ(score / T) by maximum likelihood of the labels.

    One number for all labels does not change any ranking.

    Args:
        scores: logits [n, L].
        labels: 0 and 1, [n, L].

    Returns:
        T; 1 without scores.

    >>> round(fit_temperature(np.array([[2.0], [2.0], [2.0], [2.0]]), np.eye(4)[:, :1] == 0), 3)
    1.82
    """
    if not scores.size:
        return 1.0
    scores = scores.astype(np.float64)

    def loss(slope: np.ndarray) -> tuple[float, np.ndarray]:  # and its derivative
        logits = slope[0] * scores
        losses = np.logaddexp(0, logits) - labels * logits
        return losses.mean(), np.array([((expit(logits) - labels) * scores).mean()])

    found = minimize(loss, [1.0], jac=True, bounds=[(1 / MAX_TEMPERATURE, MAX_TEMPERATURE)])
    return float(1 / found.x[0])


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability diagram: predicted and true frequencies in bins of equal width.

    Attributes:
        said: the mean predicted probability of each bin.
        true: the share of positives; both are 0 where a bin is empty.
        pairs: how many pairs of an image and a label are in it.
        error: the expected calibration error, Σ over bins of (their share of the pairs) ·
            |said − true|.
    """

    said: list[float]
    true: list[float]
    pairs: list[int]
    error: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Computes a reliability diagram.

    Args:
        probabilities: of any shape.
        labels: 0 and 1, of the same shape.
        bins: how many.

    >>> reliability(np.array([0.25, 1.0, 0.5]), np.array([0, 1, 0]), bins=2)
    Reliability(said=[0.25, 0.75], true=[0.0, 0.5], pairs=[1, 2], error=0.25)
    """
    place = np.minimum((probabilities.ravel() * bins).astype(int), bins - 1)
    pairs = np.bincount(place, minlength=bins)
    filled = np.maximum(pairs, 1)
    said = np.bincount(place, probabilities.ravel(), bins) / filled
    true = np.bincount(place, labels.ravel(), bins) / filled
    error = (np.abs(said - true) * pairs).sum() / max(pairs.sum(), 1)
    return Reliability(said.tolist(), true.tolist(), pairs.tolist(), float(error))


@dataclasses.dataclass(frozen=True)
class CalibrationReport:
    """How well calibrated a model's probabilities are, on images that nothing was fitted to.

    Attributes:
        images: how many.
        before: of σ(score).
        after: of the calibrated probabilities.
    """

    images: int
    before: Reliability
    after: Reliability

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "CalibrationReport":
        """Reads the JSON form of `dataclasses.asdict`."""
        before, after = (Reliability(**values[when]) for when in ("before", "after"))
        return cls(values["images"], before, after)


def thresholds(probabilities: np.ndarray, labels: np.ndarray, precision: float) -> np.ndarray:
    """For each label, the lowest threshold that is expected to reach a target precision.

    The precision expected of a threshold is the mean of two estimates over the images at or above
    it: the share of them that have the label, and their mean probability. The lowest of many
    thresholds that happen to reach the target by the first alone falls short of it on new images
    (`benchmarks.studies.threshold_coverage`).

    Args:
        probabilities: calibrated, of the validation split, [n, L].
        labels: 0 and 1, [n, L].
        precision: the target share of true labels at or above the threshold.

    Returns:
        float64 [L]; infinite where no threshold reaches it.

    >>> thresholds(np.array([[0.9], [0.8], [0.7]]), np.array([[1], [0], [1]]), precision=0.7)
    array([0.7])
    """
    chosen = np.full(probabilities.shape[1], np.inf)
    for label in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, label], kind="stable")
        ranked = probabilities[order, label]
        expected = np.cumsum((labels[order, label] + ranked) / 2) / np.arange(1, len(order) + 1)
        # All with one probability are given or none of them.
        last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
        good = np.flatnonzero((expected >= precision) & last_of_ties)
        if len(good) and labels[:, label].any():
            chosen[label] = ranked[good[-1]]
    return chosen
