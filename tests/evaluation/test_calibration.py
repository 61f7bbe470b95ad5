"""Temperature, lines, expected calibration error and thresholds."""

import numpy as np
import pytest

from tagnet.evaluation.calibration import fit_lines, fit_temperature, reliability, thresholds


def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, size=(20_000, 3))
    labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.03)


def test_scores_that_separate_the_labels_keep_a_finite_temperature():
    assert 0 < fit_temperature(np.array([[5.0], [-5.0]]), np.array([[1], [0]])) < 1


def test_the_lines_that_made_the_labels_are_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, size=(20_000, 3))
    labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    slope, offset = np.array([0.8, 1, 1.25]), np.array([1, 0, -1])
    lines = fit_lines((logits - offset) / slope, labels)
    np.testing.assert_allclose(lines.slope, slope, rtol=0.05)
    np.testing.assert_allclose(lines.offset, offset, atol=0.05)


def test_lines_of_a_few_images_are_those_of_the_temperature():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 4, size=(6, 3)), rng.integers(0, 2, size=(6, 3))
    lines = fit_lines(scores, labels)
    np.testing.assert_allclose(lines.slope * fit_temperature(scores, labels), 1, atol=0.03)
    np.testing.assert_allclose(lines.offset, 0, atol=0.1)


def test_lines_without_scores_leave_them_as_they_are():
    lines = fit_lines(np.zeros([0, 2]), np.zeros([0, 2]))
    assert lines.slope.tolist() == [1, 1] and lines.offset.tolist() == [0, 0]


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
    ("precision", "expected"), [(0.95, np.inf), (0.9, 0.9), (0.755, 0.7), (0.75, 0.6), (0.0, 0.3)]
)
def test_the_lowest_threshold_that_keeps_the_precision(precision, expected):
    """Shares 1, 1/2, 2/3, 3/4, 3/5, 1/2 and mean probabilities .9, .85, .8, .75, .68, .617.

    A third of one and two of the other are .933, .733, .756, .75, .653, .578.
    """
    probabilities = np.array([[0.9], [0.8], [0.7], [0.6], [0.4], [0.3]])
    labels = np.array([[1], [0], [1], [1], [0], [0]])
    assert thresholds(probabilities, labels, precision) == [expected]


def test_equal_probabilities_are_given_together_or_not_at_all():
    probabilities, labels = np.array([[0.9], [0.6], [0.6]]), np.array([[1], [0], [0]])
    assert thresholds(probabilities, labels, 0.6) == [0.9]
    assert thresholds(probabilities, labels, 0.5) == [0.6]


def test_a_label_that_scores_say_nothing_about_is_not_given():
    probabilities, labels = np.full((100, 1), 0.82), np.repeat([[1], [0]], 50, axis=0)
    assert thresholds(probabilities, labels, 0.8) == [np.inf]


def test_a_label_without_a_positive_is_never_given():
    assert thresholds(np.array([[0.9], [0.8]]), np.zeros((2, 1)), 0.5) == [np.inf]
