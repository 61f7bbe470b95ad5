"""Runs on the demo data set with three seeds, as studies of one change compare them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine

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
    folder = out / f"{arch}-seed{seed}"
    flags = [f"--arch={arch}", f"--seed={seed}", f"--data={data}", *further, f"--out={folder}"]
    command = [sys.executable, "-m", "experiments.run", *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((folder / "metrics.json").read_text())
    return results["test"] | {name: results[name] for name in ("seconds_per_epoch", "epochs")}


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """A line of the table: mean ± standard deviation in per cent."""
    cells = []
    for metric in ("map_label", "map_image", "recall_image", "precision_image"):
        values = [100 * run[metric] for run in runs]
        cells.append(f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}")
    cells.append(f"{np.mean([run['epochs'] for run in runs]):.0f}")
    cells.append(f"{np.mean([run['seconds_per_epoch'] for run in runs]):.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def versions() -> str:
    """When and on what the runs were made."""
    return (
        f"\n{machine.described('tensorflow', 'keras', 'numpy')}; test split of 1,000 images, "
        f"mean ± standard deviation of seeds {', '.join(map(str, SEEDS))}"
    )
