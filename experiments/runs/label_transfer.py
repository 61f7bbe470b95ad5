"""Label transfer from the nearest training images: Makadia et al. 2008, TagProp.

Arrays: `labels` 0/1 [N, L] of the training part; `near` [n, K] places in it, nearest first.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, softmax

EPSILON = 1e-5  # no neighbour makes a label impossible
EM_STEPS = 100
BLOCK = 2**24  # numbers held at once


class Neighbours(NamedTuple):
    """The nearest training images [n, K] of n images, and their distances [n, K]."""

    neighbours: np.ndarray
    distances: np.ndarray


def makadia(labels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Label transfer of Makadia, Pavlovic and Kumar, "A new baseline for image annotation" (2008).

    First come the labels of the nearest image, by their frequency in the training part; then
    those of the others, by their frequency among these times how often they go together with
    the labels of the nearest.

    Args:
        labels: 0/1 [N, L].
        near: [n, K].

    Returns:
        Scores [n, L] that rank so: 1 to 2 for the nearest image's labels, 0 to 1 for others.
    """
    known = labels.astype(np.float64)
    together = known.T @ known
    counts = np.diag(together)
    share = together / np.maximum(counts, 1)[:, None]  # P(column's label | row's label)
    first = known[near[:, 0]]
    common = np.where(
        first.any(axis=1, keepdims=True),
        first @ share / np.maximum(first.sum(axis=1, keepdims=True), 1),
        1.0,  # the nearest has no label: the frequency alone decides
    )
    local = np.zeros_like(first)
    for column in near[:, 1:].T:
        local += known[column]
    local /= max(1, near.shape[1] - 1)
    return np.where(first > 0, 1 + counts / len(known), local * common)


class TagPropRank:
    """TagProp with a weight for each rank (Guillaumin et al. 2009, eqs. 1, 2 and 5).

    The weights are the maximum of the weighted likelihood of the training labels, each image
    left out of its own prediction, reached by expectation-maximisation: the likelihood is
    concave in them. A logistic function for each label follows (their eq. 7).

    Args:
        labels: 0/1 [N, L].
        near: [N, K], the neighbours of the training images, themselves left out.
    """

    def __init__(self, labels: np.ndarray, near: np.ndarray) -> None:
        self._labels = labels
        self.weights = np.full(near.shape[1], 1 / near.shape[1])
        costs = _costs(labels)
        for _ in range(EM_STEPS):
            shares = np.zeros_like(self.weights)
            for rows in _blocks(near, labels.shape[1]):
                chances = _chances(labels, near[rows], labels[rows])
                mixed = np.einsum("nkl,k->nl", chances, self.weights)
                shares += np.einsum("nkl,nl->k", chances, costs[rows] / mixed)
            updated = self.weights * shares
            updated /= updated.sum()
            moved = np.abs(updated - self.weights).max()
            self.weights = updated
            if moved < 1e-6:
                break
        self._modulation = _Modulation(self._predict(near), labels)

    def __call__(self, near: np.ndarray) -> np.ndarray:
        """Logits [n, L] of images with the neighbours `near` [n, K]."""
        return self._modulation(self._predict(near))

    def _predict(self, near: np.ndarray) -> np.ndarray:
        return _mixed(self._labels, near, np.broadcast_to(self.weights, near.shape))


class TagPropDistance:
    """TagProp with weights that fall with the distance (Guillaumin et al. 2009, eqs. 1 to 3, 6).

    The weight of a neighbour is proportional to exp(−θ · d) for its distances d; θ ≥ 0 is the
    maximum of the same likelihood, by L-BFGS-B.

    Args:
        labels: 0/1 [N, L].
        near: [N, K], the neighbours of the training images, themselves left out.
        distances: [N, K, n], by n measures.
    """

    def __init__(self, labels: np.ndarray, near: np.ndarray, distances: np.ndarray) -> None:
        self._labels = labels
        costs = _costs(labels)

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = 0.0, np.zeros_like(theta)
            for rows in _blocks(near, labels.shape[1]):
                weights = softmax(-distances[rows] @ theta, axis=1)
                chances = _chances(labels, near[rows], labels[rows])
                mixed = np.einsum("nkl,nk->nl", chances, weights)
                value -= float((costs[rows] * np.log(mixed)).sum())
                # d log p / d theta = -Σ_k r_k d_k + Σ_k w_k d_k with responsibilities r.
                share = weights * np.einsum("nkl,nl->nk", chances, costs[rows] / mixed)
                usual = weights * costs[rows].sum(axis=1, keepdims=True)
                slope += np.einsum("nk,nkd->d", share - usual, distances[rows])
            return value, slope

        start = np.ones(distances.shape[2])
        bounds = [(0, None)] * len(start)
        self.theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        self._modulation = _Modulation(self._predict(near, distances), labels)

    def __call__(self, near: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Logits [n, L] of images with the neighbours `near` [n, K] at `distances` [n, K, n]."""
        return self._modulation(self._predict(near, distances))

    def _predict(self, near: np.ndarray, distances: np.ndarray) -> np.ndarray:
        return _mixed(self._labels, near, softmax(-distances @ self.theta, axis=1))


class _Modulation:
    """x → α_l x + β_l for each label l, fitted to the labels by logistic regression."""

    def __init__(self, predictions: np.ndarray, labels: np.ndarray) -> None:
        fitted = [
            _logistic(values, target.astype(np.float64))
            for values, target in zip(predictions.T, labels.T, strict=True)
        ]
        self._slope, self._offset = np.array(fitted).T

    def __call__(self, predictions: np.ndarray) -> np.ndarray:
        return predictions * self._slope + self._offset


def _logistic(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """α ≥ 0 and β; a little penalty on α keeps it finite where the labels are separable."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters[0] * values + parameters[1]
        error = expit(logits) - target
        value = np.mean(np.logaddexp(0, logits) - target * logits) + 1e-6 * parameters[0] ** 2
        slope = [np.mean(error * values) + 2e-6 * parameters[0], np.mean(error)]
        return float(value), np.array(slope)

    bounds = [(0, None), (-20, 20)]
    return minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x


def _costs(labels: np.ndarray) -> np.ndarray:
    """1 / the number of positives for each positive, likewise for negatives: [N, L]."""
    positives = max(1, int(labels.sum()))
    return np.where(labels > 0, 1 / positives, 1 / max(1, labels.size - positives))


def _chances(labels: np.ndarray, near: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each neighbour's probability of an image's true label values: [n, K, L]."""
    return np.where(labels[near] == target[:, None], 1 - EPSILON, EPSILON)


def _mixed(labels: np.ndarray, near: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The probability of each label, the weighted mean of the neighbours': [n, L]."""
    found = np.concatenate(
        [
            np.einsum("nkl,nk->nl", labels[near[rows]].astype(np.float64), weights[rows])
            for rows in _blocks(near, labels.shape[1])
        ]
    )
    return EPSILON + (1 - 2 * EPSILON) * found


def _blocks(near: np.ndarray, num_labels: int) -> Iterator[slice]:
    size = max(1, BLOCK // (near.shape[1] * num_labels))
    return (slice(first, first + size) for first in range(0, len(near), size))
