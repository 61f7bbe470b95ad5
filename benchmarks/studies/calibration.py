"""Which calibration a model should carry: a temperature, a line for each label, or between.

    python -m benchmarks.studies.calibration RUN ...

On the validation images that travel with each model, never on the test split: judged on each
fifth in turn, fitted on the other four, on a quarter of those, or on a twentieth. Values are means
over the runs of a model. Temperature scaling is Guo et al. 2017, a line for each label Platt 1999;
`calibration.fit_lines` lies between the two, by the precisions of its priors.
"""

import dataclasses
import datetime
import functools
import itertools
import platform
from collections.abc import Callable

import numpy as np
import scipy
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from tagnet.errors import InputError
from tagnet.evaluation import metrics
from tagnet.evaluation.calibration import fit_lines, fit_temperature, reliability
from tagnet.serving import export
from tagnet.system import console
from tagnet.system.console import option, say

FOLDS = 5
SHARES = (4 / 5, 1 / 5, 1 / 25)  # of the images, that a fit sees
UNPENALISED = 1e6  # C of a logistic regression that is to be a plain fit

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""Scores and labels [n, L] → what makes logits of other scores."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    seed: int = option(0, "of the folds")
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.arguments:
            raise InputError("the directory of a run must be given; received none")


def none(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The scores as they are."""
    return lambda other: other


def temperature(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """One temperature for all labels."""
    fitted = fit_temperature(scores, labels)
    return lambda other: other / fitted


def platt(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A slope and an offset for each label, between Platt's targets, which are never 0 or 1."""
    slopes, offsets = np.ones(labels.shape[1]), np.zeros(labels.shape[1])
    for label in np.flatnonzero(labels.any(axis=0)):
        x, positive = scores[:, label : label + 1], labels[:, label] > 0
        likely = (positive.sum() + 1) / (positive.sum() + 2)
        unlikely = 1 / ((~positive).sum() + 2)
        target = np.where(positive, likely, unlikely)
        both = np.repeat([1, 0], len(x))
        weights = np.concatenate([target, 1 - target])
        fitted = LogisticRegression(C=UNPENALISED).fit(np.concatenate([x, x]), both, weights)
        slopes[label], offsets[label] = fitted.coef_[0, 0], fitted.intercept_[0]
    return lambda other: other * slopes + offsets


def lines(
    scores: np.ndarray, labels: np.ndarray, priors: tuple[float, float]
) -> Callable[[np.ndarray], np.ndarray]:
    """Lines drawn towards the temperature."""
    fitted = fit_lines(scores, labels, priors)
    return lambda other: other * fitted.slope + fitted.offset


METHODS: dict[str, Fit] = {
    "none": none,
    "temperature": temperature,
    "a line a label": platt,
    **{
        f"between, {slope:g} and {offset:g}": functools.partial(lines, priors=(slope, offset))
        for slope, offset in ((10, 10), (30, 30), (100, 30), (100, 100), (1000, 1000))
    },
}


def main(options: Options) -> None:
    """Compares and prints."""
    found: dict[tuple[str, int, str], list[tuple[float, ...]]] = {}
    for folder in options.arguments:
        deployment = export.load(folder)
        scores = deployment.validation_scores.numpy().astype(np.float64)
        labels = deployment.validation_labels.numpy()
        for share, (name, fit) in itertools.product(SHARES, METHODS.items()):
            logits, fitted_on = _held_out(scores, labels, fit, share, options.seed)
            key = (deployment.settings.arch, fitted_on, name)
            found.setdefault(key, []).append(_judged(logits, labels))
    heads = ("model", "fitted on", "calibration", "log loss", "error, %", "error by label, %")
    say(f"| {' | '.join(heads)} | mAP per image, % |")
    say(f"|{'---|' * (len(heads) + 1)}")
    for (arch, fitted_on, name), values in found.items():
        loss, *rest = np.mean(values, axis=0)
        cells = (f"`{arch}`", f"{fitted_on:,}", name, f"{loss:.5f}", *(f"{x:.2f}" for x in rest))
        say(f"| {' | '.join(cells)} |")
    say(
        f"\n{datetime.date.today()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}; {len(options.arguments)} runs, "
        f"{len(labels):,} validation images, {labels.shape[1]} labels, {FOLDS} folds, "
        f"seed {options.seed}"
    )


def _held_out(
    scores: np.ndarray, labels: np.ndarray, fit: Fit, share: float, seed: int
) -> tuple[np.ndarray, int]:
    """Logits [n, L], each of a fit that did not see its image, and how many a fit saw."""
    folds = np.array_split(np.random.default_rng(seed).permutation(len(scores)), FOLDS)
    count = round(share * len(scores))
    logits = np.empty_like(scores)
    for one, judged in enumerate(folds):
        seen = np.concatenate(folds[:one] + folds[one + 1 :])[:count]
        logits[judged] = fit(scores[seen], labels[seen])(scores[judged])
    return logits, count


def _judged(logits: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Log loss, calibration error, its mean over labels, mAP per image; all but the first in %."""
    probabilities = expit(logits)
    by_label = [
        reliability(probabilities[:, label], labels[:, label]).error
        for label in range(labels.shape[1])
    ]
    return (
        (np.logaddexp(0, logits) - labels * logits).mean(),
        100 * reliability(probabilities, labels).error,
        100 * float(np.mean(by_label)),
        100 * metrics.evaluate(labels, logits)["map_image"],
    )


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
