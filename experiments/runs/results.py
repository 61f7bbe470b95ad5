"""Reads run directories and groups them into rows: one model, several splits."""

import dataclasses
import functools
import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.paper.published import ROWS, Row
from tagnet.errors import InputError
from tagnet.evaluation import metrics
from tagnet.system import console
from tagnet.system.checksums import HINT_RERUN, verify_known, write_checksums
from tagnet.system.files import Check, as_json, read_arrays, read_json, with_hint, write_text

TITLES = {
    "map_label": "mAP per label",
    "map_image": "mAP per image",
    "recall_label": "recall per label",
    "precision_label": "precision per label",
    "recall_image": "recall per image",
    "precision_image": "precision per image",
}
SKIPPED = {  # of the averages
    "labels_left_out": ("label", "without a positive"),
    "images_left_out": ("image", "without a label"),
    "labels_never_predicted": ("label", "never predicted (precision)"),
}
FEW = 50  # test images; one more or less that is right is then 2 points
METRICS = "metrics.json"
VALIDATION = "validation.json"
CHECKED = (
    *("config.json", "history.csv", "predictions.npz", VALIDATION),
    *("checkpoints/best.weights.h5", "model.keras", "weights.h5"),
)
REPLICATE = ("split", "seed")  # in these runs of one row differ
NAMED = ("arch", "neighbours", "feed", "m", "max_rank")  # these are in a row's name
TOLD = ("data", "pool", "preset", "hidden", "precision")  # these beside it, where groups differ
BASELINE = "baseline"  # the preset of runs that have none
FIELDS = (*NAMED, *REPLICATE, "data", "pool", "preset")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: the run directory.
        config: what `config.json` holds.
        results: what `metrics.json` holds.
    """

    directory: Path
    config: dict[str, Any]
    results: dict[str, Any]

    @property
    def replicate(self) -> tuple[int, int]:
        """Its split and its seed."""
        return self.config["split"], self.config["seed"]

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """Scores [n, L], labels [n, L], rows [n] and label_names [L] of the test split."""
        names = ("scores", "labels", "rows", "label_names")
        with with_hint(HINT_RERUN):
            arrays = read_arrays(self.directory / "predictions.npz", *names)
        check(self.directory, "predictions.npz")
        return arrays

    @functools.cached_property
    def label_precisions(self) -> np.ndarray:
        """AP of every label on the test split [L], a fraction; nan for one without an image."""
        labels, scores = self.predictions["labels"], self.predictions["scores"]
        return np.array(
            [
                metrics.average_precision(relevant, values) if relevant.any() else math.nan
                for relevant, values in zip(labels.T, scores.T, strict=True)
            ]
        )

    @property
    def history(self) -> pd.DataFrame | None:
        """One row per epoch; None if the run was not trained in epochs."""
        path = self.directory / "history.csv"
        check(self.directory, path.name)
        return pd.read_csv(path) if path.exists() else None


def finish(
    directory: Path, results: dict[str, Any], check: Check | None, file: str = METRICS
) -> None:
    """Writes a run's results, its last file, and the checksums of its files.

    Args:
        directory: the run directory.
        results: what the file holds.
        check: see `files.atomic_write`.
        file: its name.
    """
    text = as_json(results)
    files = [name for name in CHECKED if (directory / name).exists()]
    write_checksums(directory, files, {file: text}, check=check)
    write_text(directory / file, text, check)


def check(directory: Path, *files: str) -> None:
    """Compares files of a finished run with their checksums.

    Raises:
        InputError: one is not as it was when the run ended.
    """
    with with_hint(HINT_RERUN):
        verify_known(directory, *files)  # a baseline has no weights and no history


def read_checked(directory: Path, file: str = METRICS) -> dict[str, Any]:
    """Reads a JSON file of a run and verifies its checksum.

    Raises:
        InputError: it is not as it was written.
    """
    with with_hint(HINT_RERUN):
        values = read_json(directory / file)
    check(directory, file)
    return values


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one row: equal but for split and seed.

    Attributes:
        name: tells it from the other groups of a report.
        row: what it is in the paper's terms.
        runs: in the order of split and seed.
    """

    name: str
    row: Row
    runs: tuple[Run, ...]

    def values(self, metric: str) -> np.ndarray:
        """A test metric of every run, in per cent."""
        return np.array([100 * run.results["test"][metric] for run in self.runs])

    def upper_bounds(self, metric: str) -> np.ndarray:
        """The upper bound of a test metric in every run, a fraction."""
        return np.array([run.results["test"]["upper_bound"][metric] for run in self.runs])

    def mean(self, metric: str) -> float:
        """Its mean over the runs."""
        return float(self.values(metric).mean())

    def sd(self, metric: str) -> float | None:
        """Its standard deviation over the runs (n - 1); None for a single run."""
        return deviation(self.values(metric))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison of two rows on their common splits.

    Attributes:
        pairs: how many.
        difference: mean of one minus the other, in points.
        p: of the paired t-test.
        p_corrected: of the same with the variance of Nadeau and Bengio (2003), since random
            splits of one data set overlap; None where a split comes more than once.
    """

    pairs: int
    difference: float
    p: float
    p_corrected: float | None


def deviation(values: np.ndarray) -> float | None:
    """The standard deviation with n - 1; None for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def find(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Finds run directories in folders, or folders that are one: finished and unfinished.

    Raises:
        InputError: a folder is missing, or there is no finished run in any.
    """
    finished: list[Path] = []
    unfinished: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        inside = sorted(path.parent for path in folder.glob("*/config.json"))
        for directory in [folder] if (folder / "config.json").exists() else inside:
            done = (directory / "metrics.json").exists()
            (finished if done else unfinished).append(directory)
    if not finished:
        raise InputError(
            f"{', '.join(map(str, folders))}: no finished run (config.json and metrics.json) found"
        )
    return finished, unfinished


def read_groups(directories: Sequence[Path]) -> list[Group]:
    """Reads and groups finished runs; the paper's rows come first, in its order.

    Raises:
        InputError: a file lacks something, or one row has two runs of the same split and seed.
    """
    gathered: dict[tuple, list[Run]] = {}
    for directory in directories:
        run = _read(directory)
        fixed = {k: v for k, v in run.config.items() if k not in (*REPLICATE, "versions")}
        key = (_row(run), *sorted((name, str(value)) for name, value in fixed.items()))
        gathered.setdefault(key, []).append(run)
    rows = list(ROWS.values())
    ordered = sorted(
        gathered.items(),
        key=lambda item: (rows.index(item[0][0]) if item[0][0] in rows else len(rows), item[0][1:]),
    )
    settings = [_settings(runs[0].config) for _, runs in ordered]
    apart = [name for name in TOLD if len({s[name] for s in settings if name in s}) > 1]
    groups = []
    for ((row, *_), runs), own in zip(ordered, settings, strict=True):
        runs.sort(key=lambda run: run.replicate)
        _check_once(runs)
        told = [f"{name}={own[name]}" for name in apart if name in own]
        groups.append(Group(" ".join([row.name, *told]), row, tuple(runs)))
    return groups


def common_runs(one: Group, other: Group) -> list[tuple[Run, Run]]:
    """The runs of two rows on the splits and seeds of a data set that both have."""

    def key(run: Run) -> tuple[Any, ...]:
        return (run.config["data"], *run.replicate)

    theirs = {key(run): run for run in other.runs}
    return [(run, theirs[key(run)]) for run in one.runs if key(run) in theirs]


def compare(one: Group, other: Group, metric: str) -> Comparison | None:
    """Tests whether two rows differ over their common splits; None below two of them."""
    pairs = common_runs(one, other)
    if len(pairs) < 2:
        return None
    differences = np.array(
        [100 * (a.results["test"][metric] - b.results["test"][metric]) for a, b in pairs]
    )
    parts = pairs[0][0].results["images"]
    corrected = len({run.config["split"] for run, _ in pairs}) == len(pairs)
    return paired(differences, parts["test"] / parts["train"] if corrected else None)


def paired(differences: np.ndarray, overlap: float | None) -> Comparison:
    """Tests whether the mean difference of at least two pairs differs from zero.

    Args:
        differences: one for each split, in points.
        overlap: images that are scored for each one that is trained on; None where a split
            comes more than once.
    """
    count = len(differences)
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    return Comparison(
        pairs=count,
        difference=mean,
        p=_p(mean, spread, 1 / count, count),
        p_corrected=None if overlap is None else _p(mean, spread, 1 / count + overlap, count),
    )


def _p(mean: float, spread: float, factor: float, count: int) -> float:
    """Two-sided p of t = mean / (spread √factor) with count - 1 degrees of freedom."""
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (spread * math.sqrt(factor)), count - 1))


def _read(directory: Path) -> Run:
    config, results = read_checked(directory, "config.json"), read_checked(directory)
    for name, values, fields in (
        ("config", config, FIELDS),
        ("metrics", results, ("test", "validation", "dataset", "images")),
    ):
        if missing := [field for field in fields if field not in values]:
            raise InputError(
                f"{directory / name}.json: lacks the field {missing[0]!r}; "
                f"received {sorted(values)}"
            )
    return Run(directory, config, results)


def _row(run: Run) -> Row:
    """The paper's row of a sweep's run, by its folder's name; of another run, by its settings."""
    name = run.directory.resolve().name.rpartition("-split")[0]
    if name in ROWS and (run.directory.resolve().parent / "sweep.json").exists():
        return ROWS[name]
    row = Row(**{name: run.config[name] for name in NAMED})
    return ROWS.get(row.name, row)


def _settings(config: dict[str, Any]) -> dict[str, str]:
    """The settings in `TOLD` that apply to a run: for a baseline, only the data."""
    names = TOLD[:1] if config["preset"] == BASELINE else TOLD
    return {name: str(config.get(name)) for name in names}


def _check_once(runs: Sequence[Run]) -> None:
    for one, other in zip(runs, runs[1:], strict=False):
        if one.replicate == other.replicate:
            raise InputError(
                f"{other.directory}: same settings, split {other.replicate[0]} and seed "
                f"{other.replicate[1]} as {one.directory}; report only one of them"
            )


def show(results: dict[str, Any], out: Path) -> None:
    """Prints the table of metrics, in per cent, and the paths of the results."""
    from tagnet.serving.export import VERSION
    from tagnet.serving.portable import KERAS_FILE

    k = results["test"]["k"]
    console.say()
    console.say(
        f"{results['arch']:<24}{'validation':>12}{'test':>8}{'upper bound':>14}", result=True
    )
    for name, metric in TITLES.items():
        title = metric + ("" if name.startswith("map") else f" @{k}")
        values = (
            results["validation"][name],
            results["test"][name],
            results["test"]["upper_bound"][name],
        )
        console.say(
            f"{title:<24}{100 * values[0]:>12.2f}{100 * values[1]:>8.2f}{100 * values[2]:>14.2f}",
            result=True,
        )
    test = results["test"]
    skipped = [
        f"{console.counted(test[name], noun)} {why}"
        for name, (noun, why) in SKIPPED.items()
        if test[name]
    ]
    if skipped:
        console.say(f"skipped in the test averages: {', '.join(skipped)}")
    if (count := results["images"]["test"]) < FEW:
        console.say(f"only {console.counted(count, 'test image')}: these figures say little")
    if results["epochs"] is None:
        console.say(f"chosen on the validation split: {results['chosen']:g}")
    else:
        console.say(
            f"{console.counted(results['epochs'], 'epoch')}, "
            f"{results['seconds_per_epoch']:.1f} s/epoch, best epoch {results['best_epoch']}; "
            f"{results['parameters']:,} parameters"
        )
        console.say(f"SavedModel     {out / 'saved_model' / VERSION}")
        console.say(f"Keras model    {out / KERAS_FILE}")
        console.say(f"TensorBoard    tensorboard --logdir={shlex.quote(str(out / 'tensorboard'))}")
    console.say(f"run directory  {out}")
