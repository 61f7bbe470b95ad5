"""Every architecture and baseline on one data set, over its splits.

    python -m benchmarks.studies.all_models --out=runs/models [--data=DIR] [--splits=0,1,2,3,4]

The data set is the demo unless given. Neighbours are found by `id`, tags are fed as `id`, pool
`open`, preset `auto`, seed 0. The baselines' settings are chosen on the validation images, test
images are only scored. Runs that are there are not made again, and each row has as many splits as
are done. `--only` names some models.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import machine
from experiments.paper.published import Row
from experiments.runs import plan
from experiments.runs.demo_data import demo_data
from experiments.runs.options import BASELINE_ROWS, Flags
from experiments.runs.plan import Job
from experiments.runs.sweeping import Sweep
from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import ARCHITECTURES, JOINT
from tagnet.system.files import read_json

ROWS = (
    *BASELINE_ROWS,
    *(Row(arch, "id", "id" if arch in JOINT else None) for arch in ARCHITECTURES),
)
METRICS = ("map_label", "map_image", "recall_image", "precision_image")
HEADER = (
    "| model | splits | mAP per label | mAP per image | recall@3 per image | precision@3 per image "
    "| epochs | ms a step | s to train |\n|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row, jobs: list[Job], sweep: Sweep[Job]) -> str | None:
    """A line of the table: means ± standard deviations; None if no run of the row is done."""
    found = [sweep.directory(job) for job in jobs if job.row == row and sweep.is_done(job)]
    if not found:
        return None
    results = [read_json(folder / "metrics.json") for folder in found]
    cells = [f"`{row.arch}`", str(len(found))]
    for metric in METRICS:
        values = [100 * result["test"][metric] for result in results]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.2f}{spread}")
    if row.arch not in ARCHITECTURES:
        return f"| {' | '.join([*cells, '–', '–', '–'])} |"
    histories = [pd.read_csv(folder / "history.csv") for folder in found]
    # The first epoch compiles.
    epoch = np.mean([history["seconds"].iloc[1:].mean() for history in histories])
    steps = -(-results[0]["images"]["train"] // read_json(found[0] / "config.json")["batch_size"])
    cells.append(f"{np.mean([len(history) for history in histories]):.0f}")
    cells.append(f"{1000 * epoch / steps:.1f}")
    cells.append(f"{np.mean([history['seconds'].sum() for history in histories]):.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--data", type=Path, help="a prepared directory; the demo unless given")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--only", help="models, comma-separated")
    parser.add_argument("--hidden", type=int, help="h; that of the preset unless given")
    parser.add_argument("--table", action="store_true", help="of what is done, and stop")
    options = parser.parse_args()
    dataset = PreparedDataset(options.data or demo_data(), placement=None)
    flags = Flags(hidden=options.hidden, splits=tuple(options.splits.split(",")))
    common = plan.common_of(flags, dataset)
    wanted = options.only.split(",") if options.only else [row.arch for row in ROWS]
    rows = [row for row in ROWS if row.arch in wanted]
    jobs = plan.jobs(rows, plan.splits_of(flags, dataset), common, dataset)
    sweep = Sweep(options.out, jobs, dataset)
    if not options.table:
        plan.settle(options.out, common)
        sweep.run()
    lines = [line(row, jobs, sweep) for row in rows]
    print("\n".join([HEADER, *filter(None, lines)]))
    print(f"\n{machine.described('tensorflow', 'keras', 'scikit-learn')}")


if __name__ == "__main__":
    main()
