"""Fits a kernel path: logistic regression on how alike images are to labelled references.

Its weights W minimise Σ log-loss + λ/2 tr(Wᵀ K W), K [R, R] being how alike the references are.
Every training image is in the sum three times, twice with some of its tags dropped, for images that
have few. The problem is convex and is solved at once, by L-BFGS in coordinates in which the penalty
is ‖·‖².
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import keras
import numpy as np
import scipy.linalg
import scipy.optimize
import tensorflow as tf
from scipy.special import expit

from tagnet.data.comparison import comparison_weights
from tagnet.data.dataset import PreparedDataset
from tagnet.data.tables import TagLookup
from tagnet.data.tags import TagLists
from tagnet.models.parts import fixed_paths
from tagnet.system.console import say

PENALTY = 1.5  # λ; chosen on the validation splits of the demo data set and of MIRFLICKR
DROPPED = (0.6, 0.9)  # the shares of its tags that an image loses; chosen there, too
JITTER = 1e-5  # of K's mean diagonal, which makes it positive definite in floating point
STEPS = 100  # of L-BFGS, at most
BLOCK = 2048  # images compared at once

# π of all images: lists of tag ids, or vectors [N, n].
Encoded: TypeAlias = np.ndarray | TagLists


def fit(model: keras.Model, dataset: PreparedDataset, rows: np.ndarray, seed: int = 0) -> None:
    """Fits every kernel path of a model; does nothing to a model without one.

    Args:
        model: of `architectures.build`.
        dataset: what it is trained on.
        rows: the training images; the references are the R of the model's settings, or fewer
            drawn ones where R is less than all.
        seed: of that draw.
    """
    for layer in fixed_paths(model):
        count = model.graph_settings.references
        chosen = np.arange(len(rows))
        if count < len(rows):
            chosen = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
        feed = model.graph_settings.feed
        pi = dataset.encoded(feed)
        _set_references(model, layer.name, dataset, pi, rows[chosen])
        fewer = (dataset.encoded(feed, _without(dataset.tags, share, seed)) for share in DROPPED)
        alike = (_compare(model, layer, dataset, some, rows) for some in (pi, *fewer))
        among = np.concatenate(list(_compare(model, layer, dataset, pi, rows[chosen])))
        labels = np.tile(dataset.labels[rows], (1 + len(DROPPED), 1))
        layer.set_weights(solve(itertools.chain.from_iterable(alike), among, labels))
        say(f"kernel path: fitted to {len(rows):,} images, compared with {count:,} of them")


def _set_references(
    model: keras.Model, path: str, dataset: PreparedDataset, pi: Encoded, rows: np.ndarray
) -> None:
    """Stores the references' features and tags as the weights of two layers."""
    if isinstance(pi, TagLists):
        tags = pi.select(rows).multi_hot(len(dataset.vocabulary))
    else:
        tags = pi[rows]
    for end, weights in comparison_weights(dataset.features[rows], tags).items():
        model.get_layer(f"{path}{end}").set_weights(weights)


def _without(tags: TagLists, share: float, seed: int) -> TagLists:
    """The tags of all images without a share of them, drawn."""
    kept = np.random.default_rng(seed).random(len(tags.ids)) >= share
    return TagLists(tags.ids[kept], np.concatenate([[0], np.cumsum(kept)])[tags.offsets])


def _compare(
    model: keras.Model,
    layer: keras.Layer,
    dataset: PreparedDataset,
    pi: Encoded,
    rows: np.ndarray,
) -> Iterator[np.ndarray]:
    """How alike images are to the references, as the model computes it: float32 [n_i, R]."""
    inputs = {tensor.name: tensor for tensor in model.inputs if tensor.name.endswith("_x")}
    compare = keras.Model(inputs, layer.input)
    of_tags = TagLookup(pi) if isinstance(pi, TagLists) else lambda some: tf.constant(pi[some])
    for first in range(0, len(rows), BLOCK):
        some = rows[first : first + BLOCK]
        phi = tf.constant(dataset.features[some].astype(np.float32))
        yield compare({"phi_x": phi, "pi_x": of_tags(some)}).numpy()


def solve(
    alike: Iterable[np.ndarray], references: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimises Σ log-loss(labels, alike W + b) + λ/2 tr(Wᵀ K W).

    Args:
        alike: float32 [n_i, R], which join to [N, R].
        references: K, the references' own rows of it, [R, R].
        labels: 0 and 1, [N, L].

    Returns:
        W [R, L] and b [L].
    """
    K = references.astype(np.float64)
    K[np.diag_indices_from(K)] += JITTER * np.trace(K) / len(K)
    factor = scipy.linalg.cholesky(K, lower=True, overwrite_a=True)  # K = C Cᵀ
    # ψ = alike C⁻ᵀ, so that alike W = ψ v for v = Cᵀ W, and tr(Wᵀ K W) = ‖v‖².
    width = len(K)
    psi = np.empty((len(labels), width), np.float32)
    first = 0
    for block in alike:
        some = slice(first, first + len(block))
        psi[some] = scipy.linalg.solve_triangular(factor, block.T, lower=True).T
        first = some.stop
    y = labels.astype(np.float32)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(width + 1, -1)
        v, b = parameters[:-1].astype(np.float32), parameters[-1].astype(np.float32)
        logits = psi @ v + b
        entropy = np.logaddexp(0, logits).sum(dtype=np.float64) - (y * logits).sum(dtype=np.float64)
        errors = expit(logits) - y
        gradient = np.vstack([psi.T @ errors + PENALTY * v, errors.sum(axis=0)])
        penalty = PENALTY / 2 * (parameters[:-1] ** 2).sum()
        return entropy + penalty, gradient.astype(np.float64).ravel()

    share = np.clip(labels.mean(axis=0), 1e-4, 1 - 1e-4)
    start = np.zeros((width + 1, labels.shape[1]))
    start[-1] = np.log(share / (1 - share))
    found = scipy.optimize.minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
    )
    parameters = found.x.reshape(width + 1, -1)
    weights = scipy.linalg.solve_triangular(factor, parameters[:-1], lower=True, trans="T")
    return weights.astype(np.float32), parameters[-1].astype(np.float32)
