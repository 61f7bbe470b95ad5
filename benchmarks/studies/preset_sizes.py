"""Which rate, h and epochs suit how many training images: what the preset `auto` was chosen by.

    python -m benchmarks.studies.preset_sizes --data=DIR --sizes=300,900,2700 --out=runs/sizes

For each size, that many images are drawn from the training part of a split and prepared again,
with all its validation images and a few test images that are never scored. An architecture is then
trained with each rate and each h, without early stopping, so that the history tells what any
patience would have done. Prints the best validation mAP per label of each, and the epoch it was
reached at. What is in `trials.csv` is not trained again.
"""

import argparse
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

import tagnet
from benchmarks import machine
from data_tools import pipeline
from data_tools.settings import Settings
from experiments.runs.demo_data import demo_data
from tagnet.data.dataset import PreparedDataset
from tagnet.models.architectures import JOINT, build
from tagnet.settings import TrainingSettings

UNSCORED = 50  # test images: prepare wants some
L2 = 3e-5


def smaller(dataset: PreparedDataset, split: int, size: int, out: Path) -> PreparedDataset:
    """A prepared directory with `size` of the training images of a split."""
    if not (out / "dataset.json").exists():
        rows = dict(dataset.split(split))
        rng = np.random.default_rng([split, size])
        rows["train"] = np.sort(rng.choice(rows["train"], size, replace=False))
        rows["test"] = rows["test"][:UNSCORED]
        manifest, features = (out.with_name(f"{out.name}.{ending}") for ending in ("jsonl", "npy"))
        with manifest.open("w", encoding="utf-8") as file:
            for part, chosen in rows.items():
                for row in chosen:
                    labels = np.flatnonzero(dataset.labels[row])
                    image = {
                        "image_id": dataset.image_ids[row],
                        "tags": list(dataset.vocabulary.decode(dataset.tags[row])),
                        "labels": [dataset.label_names[label] for label in labels],
                        "split": part,
                    }
                    file.write(json.dumps(image) + "\n")
        np.save(features, dataset.features[np.concatenate(list(rows.values()))])
        pipeline.prepare(Settings.of("table", raw=manifest, features=features), out)
    return tagnet.load(out)


def history(trial: dict[str, Any], dataset: PreparedDataset, out: Path, epochs: int) -> list[float]:
    """Trains once; the validation mAP per label after each epoch, in per cent."""
    joint = trial["arch"] in JOINT
    graph = dataset.graph_settings(
        m=12, feed="id" if joint else None, hidden=trial["hidden"], l2=L2
    )
    settings = TrainingSettings(
        learning_rate=trial["rate"], min_epochs=epochs, max_epochs=epochs, patience=epochs
    )
    keras.utils.set_random_seed(0)
    shutil.rmtree(out, ignore_errors=True)  # a killed trial's
    trained = tagnet.train(build(trial["arch"], graph), dataset, out, settings=settings)
    return [round(100 * epoch["validation_map_label"], 2) for epoch in trained]


def stopped(values: list[float], patience: int, least: int) -> tuple[int, float]:
    """The epoch, from 1, and the value that early stopping would have kept."""
    best = 0
    for epoch, value in enumerate(values):
        if value > values[best]:
            best = epoch
        if epoch + 1 >= least and epoch - best >= patience:
            break
    return best + 1, values[best]


def table(trials: pd.DataFrame) -> str:
    """The mean over splits of each size, rate and h: unstopped, and as early stopping leaves it."""
    lines = ["| arch | images | h | rate | best | at epoch | patience 4 | patience 8 |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for names, group in trials.groupby(["arch", "size", "hidden", "rate"]):
        values = [[float(v) for v in text.split()] for text in group["history"]]
        found = [[stopped(each, patience, 8) for each in values] for patience in (1000, 4, 8)]
        means = [np.mean([value for _, value in kept]) for kept in found]
        epoch = np.mean([epoch for epoch, _ in found[0]])
        cells = [*map(str, names), f"{means[0]:.2f}", f"{epoch:.0f}"]
        lines.append(f"| {' | '.join([*cells, *(f'{m:.2f}' for m in means[1:])])} |")
    return "\n".join(lines)


def numbers(text: str) -> list[float]:
    """Comma-separated numbers."""
    return [float(number) for number in text.split(",")]


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trials")
    parser.add_argument("--data", type=Path, help="a prepared directory; the demo unless given")
    parser.add_argument("--sizes", type=numbers, required=True, help="training images")
    parser.add_argument("--splits", type=numbers, default=[0.0, 1.0])
    parser.add_argument("--arch", default="ltwin")
    parser.add_argument("--rates", type=numbers, default=[1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--hidden", type=numbers, default=[200.0, 500.0])
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    dataset = tagnet.load(options.data or demo_data())
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "trials.csv"
    keys = ["arch", "size", "split", "hidden", "rate"]
    done = pd.read_csv(stored) if stored.exists() else pd.DataFrame(columns=[*keys, "history"])
    for size, split, hidden, rate in itertools.product(
        map(int, options.sizes), map(int, options.splits), map(int, options.hidden), options.rates
    ):
        trial = dict(zip(keys, (options.arch, size, split, hidden, rate), strict=True))
        if (done[keys] == pd.Series(trial)).all(axis=1).any():
            continue
        data = smaller(dataset, split, size, options.out / f"data-{size}-{split}")
        found = history(trial, data, options.out / "training", options.epochs)
        row = pd.DataFrame([{**trial, "history": " ".join(map(str, found))}])
        done = row if done.empty else pd.concat([done, row], ignore_index=True)
        done.to_csv(stored, index=False)
    print(table(done))
    print(f"\n{machine.described('tensorflow', 'keras')}")


if __name__ == "__main__":
    main()
