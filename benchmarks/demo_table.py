"""Makes the README's table: every architecture on the embedded data set, three seeds each.

    python benchmarks/demo_table.py --out=runs/demo-table

Beside the nine graphs stand the baselines, so that one sees what the networks add. Their
settings are chosen on the validation split, as are those of the `demo` preset; the test
split is only scored. Finished runs are not run again.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from experiments.baselines import BASELINES
from tagnet.architectures import ARCHITECTURES

SEEDS = (0, 1, 2)
HEADER = (
    "| model | mAP per label | mAP per image | recall@3 per image | precision@3 per image "
    "| epochs | s an epoch |\n|---|---|---|---|---|---|---|"
)


def figures(arch: str, seed: int, data: Path, out: Path) -> dict[str, Any]:
    """The test figures of one run of the main command."""
    flags = [f"--arch={arch}", f"--seed={seed}", f"--data={data}"]
    if arch in ARCHITECTURES:
        flags.append("--preset=demo")
    folder = out / f"{arch}-seed{seed}"
    command = [sys.executable, "-m", "experiments.run", *flags, f"--out={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((folder / "metrics.json").read_text())
    return results["test"] | {name: results[name] for name in ("seconds_per_epoch", "epochs")}


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
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    return (
        f"\n{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, {packages}; test split of 1,000 images, "
        f"mean ± standard deviation of seeds {', '.join(map(str, SEEDS))}."
    )


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    out = parser.parse_args().out
    data = out / "data"
    prepare = [sys.executable, "-m", "data_tools.prepare", "--source=demo", f"--out={data}"]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    print(HEADER)
    for arch in BASELINES:  # nothing in them is random
        print(row(f"`{arch}`", [figures(arch, 0, data, out)]))
    for arch in ARCHITECTURES:
        print(row(f"`{arch}`", [figures(arch, seed, data, out) for seed in SEEDS]))
    print(versions())


if __name__ == "__main__":
    main()
