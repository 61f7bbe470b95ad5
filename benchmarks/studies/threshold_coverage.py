"""Do thresholds for a precision keep it on images that they were not chosen on?

    python -m benchmarks.studies.threshold_coverage RUN ...

Chooses, for each label of a run with a SavedModel, the threshold for a target precision on the
validation images, and counts what it gives on the test images. By `share`, the threshold is the
lowest that reaches the target on the validation images; `tagnet` is `calibration.thresholds`. A
threshold holds if the target is within the 95 % interval (Clopper and Pearson 1934) of the test
precision, or below it. Printed are means over the runs of: the labels with a threshold that hold,
the precision and the recall of all labels together, and the share of labels with a threshold.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import beta

from benchmarks import machine
from tagnet.evaluation import calibration
from tagnet.serving import export
from tagnet.system.files import read_arrays

TARGETS = (0.7, 0.8, 0.9)
LEVEL = 0.95


def by_share(probabilities: np.ndarray, labels: np.ndarray, precision: float) -> np.ndarray:
    """The lowest thresholds [L] above which a share of the images has the label."""
    chosen = np.full(labels.shape[1], np.inf)
    for label in range(labels.shape[1]):
        order = np.argsort(-probabilities[:, label], kind="stable")
        shares = np.cumsum(labels[order, label]) / np.arange(1, len(order) + 1)
        good = np.flatnonzero(shares >= precision)
        if len(good):
            chosen[label] = probabilities[order[good[-1]], label]
    return chosen


RULES = {"share": by_share, "tagnet": calibration.thresholds}


def judged(
    thresholds: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, precision: float
) -> tuple[float, float, float, float]:
    """Labels that hold, precision, recall and labels with a threshold, in per cent."""
    given = probabilities >= thresholds
    true, count = (given * labels).sum(axis=0), given.sum(axis=0)
    some = count > 0
    missed = count[some] - true[some]
    # The upper end of the interval; 1 where all are true.
    highest = beta.ppf((1 + LEVEL) / 2, true[some] + 1, np.maximum(missed, 1))
    holds = np.where(missed == 0, 1.0, highest) >= precision
    return (
        100 * holds.mean(),
        100 * true.sum() / count.sum(),
        100 * true.sum() / labels.sum(),
        100 * np.isfinite(thresholds).mean(),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options = parser.parse_args()
    found: dict[tuple[float, str], list[tuple[float, ...]]] = {}
    for run in options.runs:
        model = export.load(run)
        validation = model.probabilities(model.validation_scores).numpy()
        known = model.validation_labels.numpy()
        test = read_arrays(run / "predictions.npz", "scores", "labels")
        probabilities = model.probabilities(test["scores"]).numpy()
        for target in TARGETS:
            for name, rule in RULES.items():
                chosen = rule(validation, known, target)
                judgement = judged(chosen, probabilities, test["labels"], target)
                found.setdefault((target, name), []).append(judgement)
    print("| target | rule | labels that hold, % | precision | recall | labels with a threshold |")
    print("|---|---|---|---|---|---|")
    for (target, name), values in found.items():
        cells = [f"{value:.1f}" for value in np.mean(values, axis=0)]
        print(f"| {target:.0%} | {name} | {' | '.join(cells)} |")
    print(f"\n{len(options.runs)} runs; {machine.described('tensorflow', 'numpy', 'scipy')}")


if __name__ == "__main__":
    main()
