"""Makes the README's table: every architecture on the embedded data set, three seeds each.

    python benchmarks/demo_table.py --out=runs/demo-table

Beside the nine graphs stand two logistic regressions, on the tags alone and on the
CNN features alone, so that one sees what the networks add. Their inverse penalty C
is chosen on the validation split, as are the settings of the `demo` preset; the
test split is only scored. Finished runs are not run again.
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

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tagnet import metrics
from tagnet.architectures import ARCHITECTURES
from tagnet.dataset import PreparedDataset

SEEDS = (0, 1, 2)
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
HEADER = (
    "| model | mAP per label | mAP per image | recall@3 per image | precision@3 per image "
    "| epochs | s an epoch |\n|---|---|---|---|---|---|---|"
)


def logistic_regression(inputs: np.ndarray, dataset: PreparedDataset) -> dict[str, float]:
    """One regression a label on `inputs` [N, n]; C by validation mAP_lab; the test figures."""
    split = dataset.split(0)

    def scored(penalty: float, part: str) -> dict[str, float]:
        regression = OneVsRestClassifier(LogisticRegression(C=penalty, max_iter=2000), n_jobs=2)
        model = make_pipeline(StandardScaler(with_std=False), regression)
        model.fit(inputs[split["train"]], dataset.labels[split["train"]])
        scores = model.decision_function(inputs[split[part]])
        return metrics.evaluate(dataset.labels[split[part]], scores)

    best = max(PENALTIES, key=lambda penalty: scored(penalty, "validation")["map_label"])
    return scored(best, "test") | {"penalty": best}


def network(arch: str, seed: int, data: Path, out: Path) -> dict[str, float]:
    """The test figures of one run of the main command."""
    flags = [f"--arch={arch}", f"--seed={seed}", f"--data={data}", "--preset=demo"]
    folder = out / f"{arch}-seed{seed}"
    command = [sys.executable, "-m", "experiments.run", *flags, f"--out={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((folder / "metrics.json").read_text())
    return results["test"] | {name: results[name] for name in ("seconds_per_epoch", "epochs")}


def row(name: str, runs: list[dict[str, float]]) -> str:
    """A line of the table: mean ± standard deviation in per cent."""
    cells = []
    for metric in ("map_label", "map_image", "recall_image", "precision_image"):
        values = [100 * run[metric] for run in runs]
        spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.2f}{spread}")
    if "epochs" in runs[0]:
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
    dataset = PreparedDataset(data)
    tags = dataset.tags.multi_hot(len(dataset.vocabulary))
    print(HEADER)
    for name, inputs in (
        ("logistic regression, features", dataset.features.astype(np.float32)),
        ("logistic regression, tags", tags),
    ):
        figures = logistic_regression(inputs, dataset)
        print(row(f"{name} (C {figures['penalty']:g})", [figures]))
    for arch in ARCHITECTURES:
        print(row(f"`{arch}`", [network(arch, seed, data, out) for seed in SEEDS]))
    print(versions())


if __name__ == "__main__":
    main()
