"""What `ltwin_kernel`, which is not the paper's, adds to `ltwin` and to logistic regression.

    python -m benchmarks.studies.kernel_path --out=runs/kernel-path [--data=DIR]

Trains all three on a prepared data set, the demo unless given (preset `auto`, neighbours by `id`,
tags fed as `id`) and scores the test images as they are, with 60 and 90 % of their tags dropped,
and with a wrong tag for each true one. Runs that are there are not made again; several of this
command may work in one folder. Printed are means over the splits and paired differences with the p
of a t-test and, in brackets, of one that is corrected for overlapping splits (Nadeau and Bengio
2003).
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import machine
from experiments.paper.conditions import UNCHANGED, Perturbation
from experiments.paper.curves import Curve, Measurement, Series, title_of
from experiments.paper.published import Row
from experiments.paper.study import Study, trainings
from experiments.runs import plan, results
from experiments.runs.demo_data import demo_data
from experiments.runs.options import Flags
from experiments.runs.results import Run
from tagnet.data.dataset import PreparedDataset
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


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--data", type=Path, help="a prepared directory; the demo unless given")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--hidden", type=int, default=200, help="h")
    parser.add_argument("--table", action="store_true", help="of what is done, and stop")
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
    if not options.table:
        plan.settle(options.out, common)
        study.run()
    print(table(study))
    print(f"\nh {options.hidden}; {machine.described('tensorflow', 'keras', 'scikit-learn')}")


if __name__ == "__main__":
    main()
