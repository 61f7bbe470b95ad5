"""Probabilities that mean something: fitted on the validation split, judged on the test split.

Guo et al. 2017: temperature scaling, expected calibration error.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

BINS = 15  # Guo et al.
MAX_TEMPERATURE = 100.0  # for scores that separate the labels, whose likelihood has no maximum


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The T of σ(score / T) that makes the labels most likely.

    One number for all labels leaves every ranking as it is.

    Args:
        scores: logits [n, L].
        labels: 0 and 1, [n, L].

    Returns:
        T; 1 where there is nothing to fit it to.

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


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reliability diagram over bins of equal width.

    Args:
        probabilities: of any shape.
        labels: 0 and 1, of the same shape.
        bins: how many.

    Returns:
        For each bin the mean probability, the share of positives (both nan where it is
        empty), and the number of pairs.

    >>> reliability(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 0]), bins=2)
    (array([0.1 , 0.85]), array([0. , 0.5]), array([1, 2]))
    """
    place = np.minimum((probabilities.ravel() * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, probabilities.ravel(), bins) / counts
        accuracy = np.bincount(place, labels.ravel(), bins) / counts
    return confidence, accuracy, counts


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: Σ over bins of (their share of the pairs) · |difference|.

    >>> round(calibration_error(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 0]), bins=2), 4)
    0.2667
    """
    confidence, accuracy, counts = reliability(probabilities, labels, bins)
    filled = counts > 0
    gaps = np.abs(confidence - accuracy)[filled]
    return float((gaps * counts[filled]).sum() / counts.sum())


def thresholds(probabilities: np.ndarray, labels: np.ndarray, precision: float) -> np.ndarray:
    """For each label the lowest probability from which on a wanted precision is kept.

    Args:
        probabilities: of the validation split, [n, L].
        labels: 0 and 1, [n, L].
        precision: the wanted share of true ones among those at or above the threshold.

    Returns:
        float64 [L]; infinite where no threshold keeps it.

    >>> thresholds(np.array([[0.9], [0.8], [0.7]]), np.array([[1], [0], [1]]), precision=0.6)
    array([0.7])
    """
    chosen = np.full(probabilities.shape[1], np.inf)
    for label in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, label], kind="stable")
        ranked = probabilities[order, label]
        kept = np.cumsum(labels[order, label]) / np.arange(1, len(order) + 1)
        # All with one probability are given or none of them.
        last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
        good = np.flatnonzero((kept >= precision) & last_of_ties)
        if len(good):
            chosen[label] = ranked[good[-1]]
    return chosen
