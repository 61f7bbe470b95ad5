"""What `ltwin_kernel`, which is not the paper's, adds to `ltwin` and to logistic regression.

    python -m benchmarks.studies.kernel_path --out=runs/kernel-path [--data=DIR]

Trains all three on a prepared data set, the demo unless given (preset `auto`, neighbours by `id`,
tags fed as `id`) and scores the test images as they are, with 60 and 90 % of their tags dropped,
and with a wrong tag for each true one. Runs that are there are not made again; several of this
command may work in one folder. Printed are means over the splits and paired differences with the p
of a t-test and, in brackets, of one that is corrected for overlapping splits (Nadeau and Bengio
2003).

`--weights` prints another table of these runs: how good `ltwin_kernel` would be on the validation
images if its kernel path had another weight in the mean.
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import machine
from experiments.paper.conditions import UNCHANGED, Perturbation
from experiments.paper.curves import Curve, Measurement, Series, title_of
from experiments.paper.perturbed import Setup
from experiments.paper.published import Row
from experiments.paper.study import Study, Training, trainings
from experiments.runs import plan, results, runner
from experiments.runs.demo_data import demo_data
from experiments.runs.options import Flags
from experiments.runs.results import Run
from tagnet.data.dataset import Part, PreparedDataset
from tagnet.data.tables import Tables, TagLookup, lookup_tables
from tagnet.data.tags import TagLists
from tagnet.evaluation import metrics
from tagnet.evaluation.scoring import Scorer
from tagnet.models.parts import Parts, fixed_paths
from tagnet.system.files import read_json

OURS = Row("ltwin_kernel", "id", "id")
OTHERS = (Row("ltwin", "id", "id"), Row("logistic_both", "", "id", m=0, max_rank=0))
TESTS = {
    "60 % of tags dropped": Perturbation(dropped=0.6),
    "90 % of tags dropped": Perturbation(dropped=0.9),
    "wrong tags": Perturbation(wrong=1.0),
}


def under(test: Perturbation, metric: str) -> Callable[[Run], float]:
    """What a run gave under a condition."""
    place = f"conditions/{test.name}.json"
    return lambda run: read_json(run.directory / place)["test"][metric]


def rarest_third(run: Run) -> float:
    """The mean AP of the labels that the fewest test images have, a third of all."""
    counts = run.predictions["labels"].sum(axis=0)
    rare = np.argsort(counts, kind="stable")[: len(counts) // 3]
    return float(run.label_precisions[rare].mean())


WEIGHTS = (0, 0.25, 0.33, 0.5, 0.6, 0.67, 0.75, 0.85, 1)
DROPPED = (UNCHANGED, Perturbation(dropped=0.6), Perturbation(dropped=0.9))
MEASURES: dict[str, Callable[[Run], float]] = {
    "validation, mAP per label": lambda run: run.results["validation"]["map_label"],
    "test, mAP per label": lambda run: run.results["test"]["map_label"],
    "test, mAP per image": lambda run: run.results["test"]["map_image"],
    "test, rarest third of the labels": rarest_third,
    **{f"{name}, mAP per label": under(test, "map_label") for name, test in TESTS.items()},
    **{f"{name}, mAP per image": under(test, "map_image") for name, test in TESTS.items()},
}


def table(study: Study) -> str:
    """A line for each measure, from the splits of which all three runs are done."""
    runs: dict[Row, dict[int, Run]] = {row: {} for row in (OURS, *OTHERS)}
    for job in study.jobs:
        if study.is_done(job):
            directory = study.directory(job)
            config, found = (
                read_json(directory / f"{name}.json") for name in ("config", "metrics")
            )
            runs[job.row][job.split] = Run(directory, config, found)
    splits = sorted(set.intersection(*(set(found) for found in runs.values())))
    names = [f"`{row.arch}`" for row in (OURS, *OTHERS)]
    pairs = list(itertools.combinations((OURS, *OTHERS), 2))
    heads = [f"`{one.arch}` − `{other.arch}`" for one, other in pairs]
    lines = [f"| splits {splits} | {' | '.join([*names, *heads])} |", "|---" * 7 + "|"]
    for name, measure in MEASURES.items():
        values = {
            row: np.array([100 * measure(found[split]) for split in splits])
            for row, found in runs.items()
        }
        parts = runs[OURS][splits[0]].results["images"]
        overlap = parts["validation" if name.startswith("validation") else "test"] / parts["train"]
        cells = [f"{v.mean():.2f} ± {v.std(ddof=1):.2f}" for v in values.values()]
        for one, other in pairs:
            told = results.paired(values[one] - values[other], overlap)
            cells.append(f"{told.difference:+.2f}, p {told.p:.4f} ({told.p_corrected:.4f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def weights(study: Study) -> str:
    """A line for each weight of the kernel path: mAP per label / per image on validation images."""
    found: dict[tuple[float, Perturbation], list[tuple[float, float]]] = {}
    for job in study.jobs:
        if job.row == OURS and study.is_done(job):
            for test in DROPPED:
                labels, twin, kernel = paths_of(study, job, test)
                for weight in WEIGHTS:
                    scores = (1 - weight) * twin + weight * kernel
                    figures = metrics.evaluate(labels, scores)
                    pair = 100 * figures["map_label"], 100 * figures["map_image"]
                    found.setdefault((weight, test), []).append(pair)
    heads = [f"{100 * test.dropped:.0f} % of tags dropped" for test in DROPPED]
    lines = [f"| weight of the kernel path | {' | '.join(heads)} |", "|---" * 4 + "|"]
    for weight in WEIGHTS:
        means = [np.mean(found[weight, test], axis=0) for test in DROPPED]
        cells = [f"{label:.2f} / {image:.2f}" for label, image in means]
        lines.append(f"| {weight:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def paths_of(
    study: Study, job: Training, test: Perturbation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the validation images, and the logits of both paths of `ltwin_kernel`: [n, L]."""
    data, run = study.dataset, job.settings
    assert isinstance(run, runner.RunSettings)
    core = runner.restored(run, data, study.directory(job))
    rows = data.split(job.split)["validation"]
    setup = Setup(data, test, job.split, run.seed, "validation")
    near = setup.nearest("validation", run.neighbours, run.pool, run.settings.max_rank)
    pi = setup.encoded("id")
    assert isinstance(pi, TagLists)
    tables = Tables(data.tables(None).phi, pi, len(data.vocabulary))
    scorer = Scorer(core, lookup_tables(tables), runner.scoring_of(run.settings))
    mean = scorer(Part(rows, near.neighbours, near.distances), run.seed)
    inputs = [tensor for tensor in core.inputs if tensor.name.endswith("_x")]
    (path,) = fixed_paths(core)
    given = {"phi_x": data.features[rows].astype(np.float32), "pi_x": TagLookup(pi)(rows)}
    compared = keras.Model({tensor.name: tensor for tensor in inputs}, path.output)
    logits = compared({name: tf.convert_to_tensor(value) for name, value in given.items()})
    kernel = logits.numpy()
    names = [one.layer for one in Parts.of(core).paths]
    share = names.count(path.name) / len(names)
    return data.labels[rows], (mean - share * kernel) / (1 - share), kernel


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--data", type=Path, help="a prepared directory; the demo unless given")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--hidden", type=int, default=200, help="h")
    parser.add_argument("--table", action="store_true", help="of what is done, and stop")
    parser.add_argument("--weights", action="store_true", help="the table of weights, and stop")
    options = parser.parse_args()
    dataset = PreparedDataset(options.data or demo_data(), placement=None)
    flags = Flags(hidden=options.hidden, splits=tuple(options.splits.split(",")))
    common = plan.common_of(flags, dataset)
    tests, rows = TESTS.values(), [OURS, *OTHERS]
    series = [
        Series(title_of(row), tuple(Measurement(row, UNCHANGED, t) for t in tests)) for row in rows
    ]
    curve = Curve("", "", tuple(map(str, tests)), {"": tuple(series)})
    jobs = trainings([curve], rows, plan.splits_of(flags, dataset), common, dataset)
    study = Study(options.out, jobs, dataset)
    if options.weights:
        print(weights(study))
        return
    if not options.table:
        plan.settle(options.out, common)
        study.run()
    print(table(study))
    print(f"\nh {options.hidden}; {machine.described('tensorflow', 'keras', 'scikit-learn')}")


if __name__ == "__main__":
    main()
