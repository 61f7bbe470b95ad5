"""Makes the README's table: every architecture on the demo data set, three seeds each.

    python -m benchmarks.speed.demo_table --out=runs/demo-table [--models=ltwin,logistic_both]

Beside the graphs stand the baselines, so that one sees what the networks add. Their
settings are chosen on the validation split, as are those of the preset `auto`; the test
split is only scored. Finished runs are not run again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from experiments.runs.options import BASELINES
from tagnet.models.architectures import ARCHITECTURES, OURS

SEEDS = (0, 1, 2)
HEADER = (
    "| model | mAP per label | mAP per image | recall@3 per image | precision@3 per image "
    "| epochs | s an epoch |\n|---|---|---|---|---|---|---|"
)


def prepared(data: Path) -> Path:
    """Prepares the demo data set in `data`, which is returned."""
    command = [sys.executable, "-m", "data_tools.prepare", "--source=demo", f"--out={data}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return data


def figures(arch: str, seed: int, data: Path, out: Path, *further: str) -> dict[str, Any]:
    """The test figures of one run of the main command, with `further` flags."""
    flags = [f"--arch={arch}", f"--seed={seed}", f"--data={data}", *further]
    if arch in OURS or (arch in BASELINES and BASELINES[arch] == "feed"):
        flags.append("--feed=id")
    folder = out / f"{arch}-seed{seed}"
    command = [sys.executable, "-m", "experiments.run", *flags, f"--out={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((folder / "metrics.json").read_text())
    told = ("seconds_per_epoch", "epochs", "chosen")
    return results["test"] | {name: results.get(name) for name in told}


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """A line of the table: mean ± standard deviation in per cent."""
    cells = []
    for metric in ("map_label", "map_image", "recall_image", "precision_image"):
        values = [100 * run[metric] for run in runs]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.2f}{spread}")
    if runs[0]["epochs"]:
        cells.append(f"{np.mean([run['epochs'] for run in runs]):.0f}")
        cells.append(f"{np.mean([run['seconds_per_epoch'] for run in runs]):.1f}")
    else:
        cells += ["–", "–"]
    return f"| {name} | {' | '.join(cells)} |"


def versions() -> str:
    """When and on what the runs were made."""
    return (
        f"\n{machine.described('tensorflow', 'keras', 'numpy')}; test split of 1,000 images, "
        f"mean ± standard deviation of seeds {', '.join(map(str, SEEDS))}"
    )


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--models", default=",".join([*BASELINES, *ARCHITECTURES]))
    options = parser.parse_args()
    out = options.out
    data = prepared(out / "data")
    print(HEADER)
    for model in options.models.split(","):
        if model in BASELINES:  # nothing in them is random
            found = figures(model, 0, data, out)
            print(row(f"`{model}` ({found['chosen']:g})", [found]))
        else:
            print(row(f"`{model}`", [figures(model, seed, data, out) for seed in SEEDS]))
    print(versions())


if __name__ == "__main__":
    main()
