"""Metrics against worked cases, the oracle, scikit-learn, and all that scores could reach."""

import itertools

import numpy as np
import pytest
from helpers import oracle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from tagnet.errors import InputError
from tagnet.evaluation.metrics import (
    average_precision,
    evaluate,
    mean_average_precision,
    precision_recall_at_k,
    upper_bound,
)

# Four images and three labels; the third image has no label, and no image the third label.
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
SCORES = np.array([[0.9, 0.8, 0.1], [0.2, 0.7, 0.6], [0.4, 0.3, 0.5], [0.8, 0.9, 0.1]])
NAMES = (
    "map_label",
    "map_image",
    "precision_label",
    "recall_label",
    "precision_image",
    "recall_image",
)


@st.composite
def tied_splits(draw, most_images=7, most_labels=5):
    """(labels, scores, k) with few distinct scores, images and labels without positives."""
    shape = draw(st.tuples(st.integers(1, most_images), st.integers(1, most_labels)))
    labels = draw(hnp.arrays(np.int8, shape, elements=st.integers(0, 1)).filter(np.any))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.5, 0.0, 0.25, 2.0])))
    return labels, scores, draw(st.integers(1, shape[1]))


def test_map_worked_by_hand():
    # Label 0 ranks the images 0, 3, 2, 1; its own are first and fourth: (1/1 + 2/4) / 2 = 3/4.
    # Label 1 ranks them 3, 0, 1, 2; its own are first and third: (1/1 + 2/3) / 2 = 5/6.
    # Label 2 has no image and is left out.
    assert mean_average_precision(LABELS, SCORES) == (pytest.approx((3 / 4 + 5 / 6) / 2), 1)
    # Image 0 ranks its only label first: 1. Image 1 ranks 1, 2, 0, its own first and
    # third: 5/6. Image 3 ranks its only label first: 1. Image 2 is left out.
    value = mean_average_precision(LABELS, SCORES, per="image")
    assert value == (pytest.approx((1 + 5 / 6 + 1) / 3), 1)


def test_precision_and_recall_worked_by_hand():
    # With k = 2 the images are given {0, 1}, {1, 2}, {0, 2}, {0, 1}.
    # Label 0: three times given, once right (1/3), two images have it (1/2).
    # Label 1: three times given, twice right (2/3), two images have it (2/2).
    # Label 2: twice given, never right (0); nobody has it, so it has no recall.
    by_label = precision_recall_at_k(LABELS, SCORES, k=2)
    assert by_label == (pytest.approx((1 / 3 + 2 / 3 + 0) / 3), pytest.approx(3 / 4), 1, 0)
    # Of image 0's two one is right (1/2, 1/1), of image 1's one (1/2, 1/2), of image
    # 3's one (1/2, 1/1); image 2 has no label and counts for neither.
    by_image = precision_recall_at_k(LABELS, SCORES, k=2, per="image")
    assert by_image == (pytest.approx(1 / 2), pytest.approx(5 / 6), 1, 0)


def test_a_label_that_is_never_given_has_no_precision():
    # Label 1 is never first: precision 1/2 is that of label 0 alone; recall is (1 + 0) / 2.
    labels, scores = np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.1], [0.8, 0.2]])
    assert precision_recall_at_k(labels, scores, k=1) == (0.5, 0.5, 0, 1)
    assert evaluate(labels, scores, k=1)["labels_never_predicted"] == 1


def test_upper_bound_worked_by_hand():
    # The images have 1, 2, 0 and 1 labels. With k = 1, image 1 keeps one of two and
    # image 2 is given a wrong one, which costs a label at least 1/4 of its precision.
    assert upper_bound(LABELS, k=1) == pytest.approx(
        {
            "map_label": 1,
            "map_image": 1,
            "precision_label": 1 - (1 / 4) / 3,
            "recall_label": (1 + 1 / 2) / 2,
            "precision_image": 1,
            "recall_image": (1 + 1 / 2 + 1) / 3,
        }
    )
    # With k = 2 nothing is dropped, and 1 + 0 + 2 + 1 wrong ones are given.
    assert upper_bound(LABELS, k=2) == pytest.approx(
        {
            "map_label": 1,
            "map_image": 1,
            "precision_label": 1 - (4 / 4) / 3,
            "recall_label": 1,
            "precision_image": (1 / 2 + 2 / 2 + 1 / 2) / 3,
            "recall_image": 1,
        }
    )


def test_equal_scores_rank_by_index():
    same = np.zeros(3)
    assert average_precision(np.array([1, 0, 0]), same) == 1
    assert average_precision(np.array([0, 0, 1]), same) == pytest.approx(1 / 3)
    # Every image is given labels 0 and 1, so label 2 is never right.
    by_label = precision_recall_at_k(np.eye(3), np.zeros([3, 3]), k=2)
    assert by_label == (pytest.approx(1 / 3), pytest.approx(2 / 3), 0, 1)


@given(tied_splits())
def test_metrics_equal_the_oracle_with_ties(split):
    labels, scores, k = split
    for per in ("label", "image"):
        value, left_out = mean_average_precision(labels, scores, per)
        expected = oracle.mean_average_precision(labels, scores, per)
        assert (value, left_out) == (pytest.approx(expected[0], abs=1e-12), expected[1])
        found = precision_recall_at_k(labels, scores, k, per)
        precision, recall, *counts = oracle.precision_recall_at_k(labels, scores, k, per)
        assert found[:2] == pytest.approx((precision, recall), abs=1e-12)
        assert list(found[2:]) == counts


@pytest.mark.parametrize("per", ["label", "image"])
def test_average_precision_equals_scikit_learn_without_ties(per):
    rng = np.random.default_rng(0)
    labels = rng.random([60, 9]) < 0.3
    scores = rng.permutation(labels.size).reshape(labels.shape) / labels.size
    value, left_out = mean_average_precision(labels, scores, per)
    pairs = (
        zip(labels.T, scores.T, strict=True) if per == "label" else zip(labels, scores, strict=True)
    )
    expected = [average_precision_score(y, s) for y, s in pairs if y.any()]
    assert value == pytest.approx(np.mean(expected), abs=1e-12)
    assert left_out == (9 if per == "label" else 60) - len(expected)


@given(tied_splits())
def test_no_scores_exceed_the_upper_bound_and_all_is_finite(split):
    labels, scores, k = split
    result = evaluate(labels, scores, k)
    for name in NAMES:
        assert 0 <= result[name] <= result["upper_bound"][name] + 1e-12 <= 1 + 1e-9
    assert result["k"] == k


@given(tied_splits(most_images=4, most_labels=3))
def test_recall_and_image_bounds_are_the_best_of_all_choices(split):
    labels, _, k = split
    choices = list(itertools.combinations(range(labels.shape[1]), k))
    best = dict.fromkeys(NAMES[2:], 0.0)
    for given_labels in itertools.product(choices, repeat=len(labels)):
        scores = np.zeros(labels.shape)
        np.put_along_axis(scores, np.array(given_labels), 1, axis=1)
        for per in ("label", "image"):
            found = precision_recall_at_k(labels, scores, k, per)
            best[f"precision_{per}"] = max(best[f"precision_{per}"], found.precision)
            best[f"recall_{per}"] = max(best[f"recall_{per}"], found.recall)
    bound = upper_bound(labels, k)
    assert best["precision_label"] <= bound["precision_label"] + 1e-12
    for name in ("recall_label", "precision_image", "recall_image"):
        assert best[name] == pytest.approx(bound[name])


def test_evaluate_gathers_what_the_functions_return():
    result = evaluate(LABELS, SCORES, k=2)
    assert tuple(result) == (
        *NAMES,
        "upper_bound",
        "k",
        "labels_left_out",
        "images_left_out",
        "labels_never_predicted",
    )
    assert result["map_label"] == mean_average_precision(LABELS, SCORES)[0]
    assert result["map_image"] == mean_average_precision(LABELS, SCORES, "image")[0]
    by_label = precision_recall_at_k(LABELS, SCORES, 2)
    by_image = precision_recall_at_k(LABELS, SCORES, 2, "image")
    assert (result["precision_label"], result["recall_label"]) == by_label[:2]
    assert (result["precision_image"], result["recall_image"]) == by_image[:2]
    assert result["upper_bound"] == upper_bound(LABELS, 2)
    assert (result["labels_left_out"], result["images_left_out"]) == (1, 1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_labels_may_have_any_numeric_type(dtype):
    assert evaluate(LABELS.astype(dtype), SCORES, k=2) == evaluate(LABELS, SCORES, k=2)


@pytest.mark.parametrize(
    ("labels", "scores", "k", "line"),
    [
        (
            LABELS,
            SCORES[:, :2],
            1,
            "labels and scores must have the same shape [images, labels]; "
            "received (4, 3) and (4, 2)",
        ),
        (
            LABELS[0],
            SCORES[0],
            1,
            "labels and scores must have the same shape [images, labels]; received (3,) and (3,)",
        ),
        (LABELS * 2, SCORES, 1, "labels must be 0 or 1; received 2 at image 0, label 0"),
        (
            np.where(LABELS, np.nan, 0),
            SCORES,
            1,
            "labels must be 0 or 1; received nan at image 0, label 0",
        ),
        (
            LABELS,
            np.where(SCORES == 0.6, np.nan, SCORES),
            1,
            "scores must be finite; received nan at image 1, label 2",
        ),
        (
            LABELS,
            np.where(SCORES == 0.5, -np.inf, SCORES),
            1,
            "scores must be finite; received -inf at image 2, label 2",
        ),
        (LABELS, SCORES, 0, "k must be from 1 to the number of labels (3); received 0"),
        (LABELS * 0, SCORES, 1, "at least one image must have a label; none of 4 has"),
        (LABELS[:0], SCORES[:0], 1, "at least one image must have a label; none of 0 has"),
    ],
)
def test_what_cannot_be_evaluated_is_named(labels, scores, k, line):
    with pytest.raises(InputError) as error:
        evaluate(labels, scores, k)
    assert str(error.value) == f"metrics: {line}"


def test_of_few_labels_all_are_given():
    """A folder of cats and one of dogs make two."""
    assert evaluate(LABELS, SCORES, k=9) == evaluate(LABELS, SCORES, k=3)
    line = r"k must be from 1 to the number of labels \(3\); received 4"
    with pytest.raises(InputError, match=line):
        precision_recall_at_k(LABELS, SCORES, 4, per="label")


def test_per_has_two_values():
    with pytest.raises(ValueError, match="per must be 'label' or 'image'; received 'labels'"):
        mean_average_precision(LABELS, SCORES, per="labels")  # type: ignore[arg-type]
