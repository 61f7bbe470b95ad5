"""Calibration on the validation split, and its evaluation on the test split.

Guo et al. 2017: temperature scaling, expected calibration error. Platt 1999: a slope and an offset.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

BINS = 15  # Guo et al.
MAX_TEMPERATURE = 100.0  # for scores that separate the labels, whose likelihood has no maximum
# Precisions of the priors of a label's slope and offset. Chosen on validation images of two data
# sets by `benchmarks.studies.calibration`.
PRIORS = (100.0, 30.0)


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
        losses, slopes, _ = _losses(scores, labels, slope[0], 0.0)
        return losses / scores.size, np.array([slopes.sum() / scores.size])

    found = minimize(loss, [1.0], jac=True, bounds=[(1 / MAX_TEMPERATURE, MAX_TEMPERATURE)])
    return float(1 / found.x[0])


class Lines(NamedTuple):
    """What makes each label's probability of its score: σ(slope · score + offset), both [L]."""

    slope: np.ndarray
    offset: np.ndarray


def fit_lines(
    scores: np.ndarray, labels: np.ndarray, priors: tuple[float, float] = PRIORS
) -> Lines:
    """Fits a slope a and an offset b for each label, of σ(a · score + b).

    Each label's line is drawn towards the temperature of all labels, a = 1 / T and b = 0, so that
    it departs from it as far as the label's images show: the maximum of likelihood times normal
    priors of a · T and b.

    Args:
        scores: logits [n, L].
        labels: 0 and 1, [n, L].
        priors: their precisions.

    Returns:
        float64; slopes of 1 and offsets of 0 without scores.

    >>> lines = fit_lines(np.zeros([100, 2]), np.repeat([[1, 0]], 100, axis=0))
    >>> lines.offset.round(2).tolist()  # not infinite
    [0.94, -0.94]
    """
    L = scores.shape[1]
    of_slope, of_offset = priors
    T = fit_temperature(scores, labels)
    scores = scores.astype(np.float64) / T

    def loss(lines: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, offsets = lines.reshape(2, L)
        losses, by_slope, by_offset = _losses(scores, labels, slopes, offsets)
        losses += (of_slope * (slopes - 1) ** 2 + of_offset * offsets**2).sum() / 2
        by_slope += of_slope * (slopes - 1)
        by_offset += of_offset * offsets
        return losses, np.concatenate([by_slope, by_offset])

    found = minimize(loss, np.repeat([1.0, 0.0], L), jac=True, method="L-BFGS-B", tol=1e-12)
    slopes, offsets = found.x.reshape(2, L)
    return Lines(slopes / T, offsets)


def _losses(
    scores: np.ndarray, labels: np.ndarray, slopes: np.ndarray | float, offsets: np.ndarray | float
) -> tuple[float, np.ndarray, np.ndarray]:
    """The summed log loss, and its derivatives by each label's slope and offset, [L]."""
    logits = slopes * scores + offsets
    errors = expit(logits) - labels
    losses = np.logaddexp(0, logits) - labels * logits
    return losses.sum(), (errors * scores).sum(axis=0), errors.sum(axis=0)


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

    The precision expected of a threshold is one third of the share of the images at or above it
    that have the label, and two thirds of their mean probability. By the share alone, the lowest
    of many thresholds that happen to reach the target falls short on new images; by the
    probability alone, a label that scores say nothing about would get one
    (`benchmarks.studies.threshold_coverage`).

    Args:
        probabilities: calibrated, of the validation split, [n, L].
        labels: 0 and 1, [n, L]; one that no image has gets no threshold.
        precision: the target share of true labels at or above the threshold.

    Returns:
        float64 [L]; infinite where no threshold reaches it.

    >>> thresholds(np.array([[0.9], [0.8], [0.7]]), np.array([[1], [0], [1]]), precision=0.75)
    array([0.7])
    """
    chosen = np.full(probabilities.shape[1], np.inf)
    for label in np.flatnonzero(labels.any(axis=0)):
        order = np.argsort(-probabilities[:, label], kind="stable")
        ranked, true = probabilities[order, label].astype(np.float64), labels[order, label]
        expected = np.cumsum((true + 2 * ranked) / 3) / np.arange(1, len(order) + 1)
        # All with one probability are given or none of them.
        last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
        good = np.flatnonzero((expected >= precision) & last_of_ties)
        if len(good):
            chosen[label] = ranked[good[-1]]
    return chosen
