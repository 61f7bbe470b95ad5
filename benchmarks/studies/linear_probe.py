"""How good the features of backbones are: a linear model on each, scored alike.

    python -m benchmarks.studies.linear_probe --table=FILE --photos=FOLDER [--backbones=A,B]

The table has the columns image_id and labels, separated by |; a photo is FOLDER/image_id.jpg.
Images are drawn and split 60/20/20 with a seed. One logistic regression a label; C is the value
that gives the best mAP on the validation part, one for all labels, and the test part is scored
once. The range is the middle 95 % of the difference to the first backbone when test images are
drawn again with replacement.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks import machine
from tagnet.backbones.features import BACKBONES, extract
from tagnet.errors import InputError
from tagnet.evaluation.metrics import mean_average_precision
from tagnet.system import console
from tagnet.system.console import option, say

PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # C, on features of variance 1
DRAWS = 500


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    table: Path = option(None, "CSV of image_id and labels (required)")
    photos: Path = option(None, "folder of the photos (required)")
    backbones: tuple[str, ...] = option(
        ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"), "names"
    )
    images: int = option(3000, "how many are drawn")
    seed: int = option(0, "of the draw")

    def __post_init__(self) -> None:
        if self.table is None or self.photos is None:
            raise InputError("give --table and --photos")


def main(options: Options) -> None:
    """Prints a line for each backbone."""
    rows = pd.read_csv(options.table).sample(options.images, random_state=options.seed)
    labels = rows["labels"].fillna("").str.get_dummies("|").to_numpy()
    photos = [options.photos / f"{name}.jpg" for name in rows["image_id"]]
    ends = [options.images * 6 // 10, options.images * 8 // 10]
    scores: dict[str, np.ndarray] = {}
    truth = labels[ends[1] :]
    for name in options.backbones:
        phi = extract(BACKBONES[name], photos)
        chosen, scores[name] = probed(np.split(phi, ends), np.split(labels, ends))
        value = mean_average_precision(truth, scores[name])[0]
        low, high = difference(scores[name], next(iter(scores.values())), truth)
        say(f"{name}: mAP {value:.2%} (C {chosen:g}); against the first {low:+.2%} to {high:+.2%}")
    say(f"{options.images:,} images, {labels.shape[1]} labels; {machine.described('tensorflow')}")


def probed(phi: list[np.ndarray], labels: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The best C, and the scores of the test part [N, L].

    Args:
        phi: features of train, validation and test.
        labels: 0 and 1 [N, L] of each.
    """
    scaler = StandardScaler().fit(phi[0])
    train, validation, test = map(scaler.transform, phi)
    tried = {}
    for penalty in PENALTIES:
        models = [
            LogisticRegression(C=penalty, max_iter=300).fit(train, column) for column in labels[0].T
        ]
        value = mean_average_precision(labels[1], _scores(models, validation))[0]
        tried[value] = penalty, _scores(models, test)
    return tried[max(tried)]


def _scores(models: list[LogisticRegression], phi: np.ndarray) -> np.ndarray:
    return np.stack([model.decision_function(phi) for model in models], axis=1)


def difference(scores: np.ndarray, others: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the difference in mAP over samples of the images."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        found.append(
            mean_average_precision(truth[rows], scores[rows])[0]
            - mean_average_precision(truth[rows], others[rows])[0]
        )
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
