"""What every graph reaches on the demo data set after a few epochs, and what it once reached.

    python tests/golden.py --out=runs/golden            # how far the one is from the other
    python tests/golden.py --out=runs/golden --write    # make golden: stores what is reached now

Preset `auto`, seed 0, split 0. Two epochs are far from the best figures, but a change in data,
graphs, training, scoring or metrics shows in them as well. Runs that are in the folder are not
made again.

Sums of other threads and other libraries differ in their last bits, and training makes more of
that: at the preset's rate of 1e-3 for `lzip` a recall differed by 0.085 between one thread and two.
At `LEARNING_RATE` no figure of any graph differed by more than 5e-5 on one kind of processor. On
another (AVX-512 instead of AVX2) `lzip`'s loss differed by 5e-5, its mAP by 2e-3, and its precision
by 6e-3, since a tie that falls otherwise moves what counts the three highest labels of an image.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from experiments.runs.options import Options
from experiments.runs.resolving import make, resolve
from experiments.runs.results import TITLES
from experiments.runs.sweeping import forget_graphs
from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import ARCHITECTURES, OURS
from tagnet.system.files import read_json, write_json
from tagnet.system.runtime import version_of

STORE = Path(__file__).parent / "golden.json"
EPOCHS = 2
LEARNING_RATE = 3e-4
TOLERANCE = 1e-3  # of a loss, as a share
OF_MAP = 4e-3
OF_COUNTS = 1e-2  # of precision and recall
PACKAGES = ("tensorflow", "keras", "numpy")


def prepared(folder: Path) -> Path:
    """Prepares the demo data set in `folder`, with what the runs read; returns it."""
    prepare(Settings.of(source="demo", pools=("open",), encodings=("id", "w2v"), splits=1), folder)
    return folder


def reached(arch: str, dataset: PreparedDataset, out: Path, seed: int = 0) -> dict[str, float]:
    """Trains a graph in `out` and returns its figures: loss of the last epoch, both parts' scores.

    Args:
        arch: which graph.
        dataset: as `prepared` made it.
        out: the run directory.
        seed: of the run.
    """
    feed = "id" if arch in OURS else None
    options = Options(
        arch,
        neighbours="id",
        feed=feed,
        seed=seed,
        learning_rate=LEARNING_RATE,
        max_epochs=EPOCHS,
    )
    results = make(resolve(options, dataset), dataset, out, exports=False)
    forget_graphs()
    loss = pd.read_csv(out / "history.csv")["loss"].iloc[-1]
    scores = {
        f"{part}/{name}": results[part][name] for part in ("validation", "test") for name in TITLES
    }
    return {"loss": float(loss), **scores}


def distance(figures: dict[str, float], golden: dict[str, float]) -> dict[str, float]:
    """How far each of a graph's figures is from the stored one; losses as a share of it."""
    if set(figures) != set(golden):
        raise ValueError(f"the store must have {sorted(figures)}; received {sorted(golden)}")
    apart = {name: abs(value - golden[name]) for name, value in figures.items()}
    return {**apart, "loss": apart["loss"] / golden["loss"]}


def too_far(figures: dict[str, float], golden: dict[str, float]) -> dict[str, float]:
    """Those that are not within the tolerance, no number among them."""
    apart = distance(figures, golden)
    return {name: far for name, far in apart.items() if not far <= tolerance(name)}


def tolerance(name: str) -> float:
    """How far a figure may be."""
    if "precision" in name or "recall" in name:
        return OF_COUNTS
    return OF_MAP if "map" in name else TOLERANCE


def main() -> None:
    """Makes the runs that are missing, and compares or stores what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where data and runs are kept")
    parser.add_argument("--write", action="store_true", help="store today's figures")
    options = parser.parse_args()
    dataset = PreparedDataset(prepared(options.out / "data"))
    graphs = {arch: reached(arch, dataset, options.out / arch) for arch in ARCHITECTURES}
    if options.write:
        made: dict[str, Any] = {package: version_of(package) for package in PACKAGES}
        write_json(STORE, {"epochs": EPOCHS, "versions": made, "graphs": graphs})
        return
    stored, failed = read_json(STORE)["graphs"], False
    for arch, figures in graphs.items():
        apart = distance(figures, stored[arch])
        failed |= bool(too_far(figures, stored[arch]))
        loss = apart.pop("loss")
        furthest = max(apart, key=lambda name: apart[name])
        print(f"{arch:<12} loss {loss:.1e}  furthest {furthest} {apart[furthest]:.1e}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
