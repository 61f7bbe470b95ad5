"""Ranking metrics: mean average precision, precision and recall at k, upper bounds."""

from typing import Any, Literal, NamedTuple

import numpy as np

from tagnet.errors import InputError

Per = Literal["label", "image"]


class AtK(NamedTuple):
    """Precision and recall when every image is given its k best labels.

    Attributes:
        precision: mean over the labels (or images) that have one, a fraction.
        recall: mean over the labels (or images) that have one, a fraction.
        left_out: labels without an image (or images without a label): no recall.
        never_predicted: labels that no image was given: no precision.
    """

    precision: float
    recall: float
    left_out: int
    never_predicted: int


def average_precision(relevant: np.ndarray, scores: np.ndarray) -> float:
    """AP = Σ_j precision@j · rel_j / R, not interpolated; equal scores rank by index.

    Args:
        relevant: 0/1 [n], with R ones.
        scores: [n], the higher the better.

    Raises:
        InputError: shapes differ, values are not 0/1 or not finite, or R is 0.

    >>> average_precision(np.array([1, 0, 1]), np.array([.9, .8, .7]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    value, _ = mean_average_precision(np.array([relevant]), np.array([scores]), per="image")
    return value


def mean_average_precision(
    labels: np.ndarray, scores: np.ndarray, per: Per = "label"
) -> tuple[float, int]:
    """Mean AP over the labels, each ranking the images, or over the images, each ranking labels.

    Args:
        labels: 0/1 [n, L], the ground truth.
        scores: [n, L].
        per: "label" or "image".

    Returns:
        The mean AP and how many were left out of it: labels without an image, or
        images without a label.

    Raises:
        InputError: as `average_precision`; here R is 0 where no image has a label.

    >>> mean_average_precision(np.array([[1, 0], [0, 0]]), np.array([[.1, .9], [.2, .8]]))
    (0.5, 1)
    """
    labels, scores = _by_row(per, *_checked(labels, scores))
    positives = labels.sum(axis=1)
    counted = positives > 0
    order = np.argsort(-scores[counted], axis=1, kind="stable")
    relevant = np.take_along_axis(labels[counted], order, axis=1)
    precisions = np.cumsum(relevant, axis=1) / np.arange(1, labels.shape[1] + 1)
    values = (precisions * relevant).sum(axis=1) / positives[counted]
    return float(values.mean()), int((~counted).sum())


def precision_recall_at_k(
    labels: np.ndarray, scores: np.ndarray, k: int = 3, per: Per = "label"
) -> AtK:
    """Precision and recall when every image is given its k best labels; ties go by index.

    A label's precision is the fraction of the images given it that have it, its
    recall the fraction of the images having it that were given it. An image's
    precision is the fraction of its k labels that are right, its recall the
    fraction of its labels that are among the k; images without a label count for
    neither.

    Args:
        labels: 0/1 [n, L], the ground truth.
        scores: [n, L].
        k: how many labels each image is given.
        per: "label" or "image": what the mean is taken over.

    Raises:
        InputError: shapes differ, values are not 0/1 or not finite, no image has a
            label, or k is not from 1 to L.

    >>> precision_recall_at_k(np.array([[1, 0, 1]]), np.array([[3, 2, 1]]), k=2, per="image")
    AtK(precision=0.5, recall=0.5, left_out=0, never_predicted=0)
    """
    labels, scores = _checked(labels, scores)
    return _precision_recall(labels, _top(scores, k), per)


def upper_bound(labels: np.ndarray, k: int = 3) -> dict[str, float]:
    """What no scores can exceed: images do not have exactly k labels each.

    For an image with c labels, of which at most min(c, k) fit among its k:

    - map_label, map_image: 1.
    - recall_image: the mean of min(c, k) / c; precision_image: of min(c, k) / k.
    - recall_label: an image with more than k labels must drop some. Its share of
      Σ_l recall_l is the sum of 1 / n_l over the labels l that it keeps (n_l images
      have l), so an oracle that keeps the rarest ones reaches the maximum.
    - precision_label: 1 - mean(k - min(c, k)) / L. At least k - min(c, k) of an
      image's labels are wrong; a label given wrongly w times is given at most n
      times in all, so it loses at least w / n of its precision.

    All but precision_label are reached by some scores, and that one nearly: on the
    209,347 labelled images of NUS-WIDE it is .9876, where the most frequent labels
    as fill-ins reach .9824. The paper prints such bounds per image too, but .658
    and .607 per label. Those are the outcome of some oracle's choice rather than
    bounds: keeping the most frequent labels, the worst choice, gives a recall of
    .676 there where keeping the rarest gives .970, and the precision runs from .364
    to .982 with the fill-ins (uniformly random; most frequent).

    Args:
        labels: 0/1 [n, L], the ground truth.
        k: how many labels each image is given.

    Returns:
        The six fractions, under the names that `evaluate` uses.

    Raises:
        InputError: as `precision_recall_at_k`.

    >>> bound = upper_bound(np.array([[1, 0], [1, 1]]), k=1)
    >>> bound["recall_image"], bound["recall_label"]  # the second image keeps the rarer label
    (0.75, 0.75)
    """
    labels, _ = _checked(labels, labels)
    frequency = labels.mean(axis=0)
    rarest = _precision_recall(labels, _top(labels * (2 - frequency), k), "label")
    count = labels.sum(axis=1)
    fitting, labelled = np.minimum(count, k), count > 0
    return {
        "map_label": 1.0,
        "map_image": 1.0,
        "precision_label": float(1 - (k - fitting).mean() / labels.shape[1]),
        "recall_label": rarest.recall,
        "precision_image": float(fitting[labelled].mean() / k),
        "recall_image": float((fitting[labelled] / count[labelled]).mean()),
    }


def evaluate(labels: np.ndarray, scores: np.ndarray, k: int = 3) -> dict[str, Any]:
    """All metrics of a split, as fractions, and how many were skipped in which mean.

    Args:
        labels: 0/1 [n, L], the ground truth.
        scores: [n, L].
        k: how many labels each image is given for precision and recall; all, where there are
            fewer.

    Returns:
        `map_label`, `map_image`, `precision_label`, `recall_label`,
        `precision_image`, `recall_image`; `upper_bound` with the same six; `k`;
        `labels_left_out` (no image has them: no AP, no recall), `images_left_out`
        (they have no label), `labels_never_predicted` (no precision).

    Raises:
        InputError: as `precision_recall_at_k`.
    """
    map_label, labels_left_out = mean_average_precision(labels, scores, per="label")
    map_image, images_left_out = mean_average_precision(labels, scores, per="image")
    k = min(k, labels.shape[1])
    by_label = precision_recall_at_k(labels, scores, k, per="label")
    by_image = precision_recall_at_k(labels, scores, k, per="image")
    return {
        "map_label": map_label,
        "map_image": map_image,
        "precision_label": by_label.precision,
        "recall_label": by_label.recall,
        "precision_image": by_image.precision,
        "recall_image": by_image.recall,
        "upper_bound": upper_bound(labels, k),
        "k": k,
        "labels_left_out": labels_left_out,
        "images_left_out": images_left_out,
        "labels_never_predicted": by_label.never_predicted,
    }


def _precision_recall(labels: np.ndarray, given: np.ndarray, per: Per) -> AtK:
    """`precision_recall_at_k` for the labels that were `given`: bool [n, L]."""
    labels, given = _by_row(per, labels, given)
    right = (labels & given).sum(axis=1)
    positives, predicted = labels.sum(axis=1), given.sum(axis=1)
    has_recall = positives > 0
    has_precision = predicted > 0 if per == "label" else has_recall
    return AtK(
        precision=float((right[has_precision] / predicted[has_precision]).mean()),
        recall=float((right[has_recall] / positives[has_recall]).mean()),
        left_out=int((~has_recall).sum()),
        never_predicted=int((predicted == 0).sum()),
    )


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Which labels are among the k best of their image: bool [n, L]."""
    if not 1 <= k <= scores.shape[1]:
        raise InputError(
            f"metrics: k must be from 1 to the number of labels ({scores.shape[1]}); received {k}"
        )
    top = np.zeros(scores.shape, bool)
    np.put_along_axis(top, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
    return top


def _by_row(per: Per, *arrays: np.ndarray) -> list[np.ndarray]:
    """Transposes [n, L] so that the axis of the mean comes first."""
    if per not in ("label", "image"):
        raise ValueError(f"per must be 'label' or 'image'; received {per!r}")
    return [np.ascontiguousarray(array.T) if per == "label" else array for array in arrays]


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and scores as float64, after the checks that all metrics need."""
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise InputError(
            "metrics: labels and scores must have the same shape [images, labels]; "
            f"received {labels.shape} and {scores.shape}"
        )
    for name, rule, values, wrong in [
        ("labels", "0 or 1", labels, (labels != 0) & (labels != 1)),
        ("scores", "finite", scores, ~np.isfinite(scores)),
    ]:
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            raise InputError(
                f"metrics: {name} must be {rule}; "
                f"received {values[row, column]} at image {row}, label {column}"
            )
    if not labels.any():
        raise InputError(
            f"metrics: at least one image must have a label; none of {len(labels):,} has"
        )
    return labels.astype(bool), scores.astype(np.float64)
