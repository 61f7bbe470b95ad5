"""Temperature, expected calibration error and thresholds."""

import numpy as np
import pytest

from tagnet.evaluation.calibration import fit_temperature, reliability, thresholds


def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, size=(20_000, 3))
    labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.03)


def test_scores_that_separate_the_labels_keep_a_finite_temperature():
    assert 0 < fit_temperature(np.array([[5.0], [-5.0]]), np.array([[1], [0]])) < 1


def test_calibration_error_by_hand():
    """Bins [0, .5) and [.5, 1]: |.2 − .5| · 2/3 + |1 − 1| · 1/3; 1.0 belongs to the last bin."""
    probabilities, labels = np.array([[0.1, 0.3, 1.0]]), np.array([[0, 1, 1]])
    diagram = reliability(probabilities, labels, bins=2)
    assert diagram.said == pytest.approx([0.2, 1])
    assert diagram.true == [0.5, 1]
    assert diagram.error == pytest.approx(0.2)
    assert reliability(labels.astype(float), labels).error == 0


def test_an_empty_bin_counts_for_nothing():
    diagram = reliability(np.array([0.1]), np.array([1]), bins=2)
    assert diagram.pairs == [1, 0]
    assert (diagram.said[1], diagram.true[1]) == (0, 0)
    assert diagram.error == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("precision", "expected"), [(0.95, 0.9), (0.75, 0.6), (0.55, 0.3), (0.0, 0.3)]
)
def test_the_lowest_threshold_that_keeps_the_precision(precision, expected):
    """Ranked 1 0 1 1 0 0: shares 1, 1/2, 2/3, 3/4, 3/5, 1/2; mean probabilities .9 to .617.

    Their means are .95, .675, .733, .75, .65, .558.
    """
    probabilities = np.array([[0.9], [0.8], [0.7], [0.6], [0.4], [0.3]])
    labels = np.array([[1], [0], [1], [1], [0], [0]])
    assert thresholds(probabilities, labels, precision) == [expected]


def test_equal_probabilities_are_given_together_or_not_at_all():
    probabilities, labels = np.array([[0.9], [0.9], [0.1]]), np.array([[1], [0], [0]])
    assert thresholds(probabilities, labels, 0.9) == [np.inf]
    assert thresholds(probabilities, labels, 0.7) == [0.9]


def test_a_label_without_a_positive_is_never_given():
    assert thresholds(np.array([[0.9], [0.8]]), np.zeros((2, 1)), 0.5) == [np.inf]
