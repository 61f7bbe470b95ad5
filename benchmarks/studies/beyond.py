"""What was tried beyond the paper's nine graphs: mAP per label on the validation split.

    python -m benchmarks.studies.beyond --out=trials.jsonl --trials="base; attention" --splits=0,1

Every trial of trials.py changes one thing, or some, of `ltwin` fed with w2v (`base`), on the
demo data set with the preset `auto`: same neighbourhoods, RMSProp, early stopping and choice
of the epoch on the validation split for all. Training draws 12 of 24 neighbours, scores are exact
expectations. What is done is written to `--out` at once and not done again; all of the file is
printed as a table, with paired differences to `base`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import machine
from benchmarks.studies.trials import PRESET, TRIALS, Network, Problem, Trial, loss_of
from experiments.runs.demo_data import demo_data
from tagnet.data.dataset import PreparedDataset
from tagnet.evaluation import metrics
from tagnet.training.loop import best_epoch, should_stop

SCORED_AT_ONCE = 600


class Trainer:
    """Trains a network with RMSProp, penalties as in `tagnet.training.optimizer`."""

    def __init__(self, trial: Trial, problem: Problem, hidden: int, seed: int) -> None:
        tf.keras.utils.set_random_seed(seed)
        self._trial, self._problem = trial, problem
        self._rng = np.random.default_rng(seed)
        self._network = Network(trial, problem, hidden, seed)
        self._loss = loss_of(trial, problem.frequency)
        given = problem.batch("train", np.arange(2), np.tile(np.arange(PRESET.m), (2, 1)))
        self._network(given, True)  # makes the weights
        self._weights = list(self._network.weights.of.values())
        self._squares = [tf.Variable(tf.zeros_like(weight)) for weight in self._weights]
        self._means = [tf.Variable(weight) for weight in self._weights]
        self._steps = tf.Variable(0.0)
        self._step = tf.function(self._train_step, reduce_retracing=True)
        self._infer = tf.function(lambda *batch: self._network(batch, False))

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(int(np.prod(weight.shape)) for weight in self._weights)

    def _train_step(self, labels: tf.Tensor, *batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = self._loss(labels, self._network(batch, True))
        gradients = tape.gradient(loss, self._weights)
        rate = PRESET.training.learning_rate
        self._steps.assign_add(1.0)
        penalties = self._network.weights.penalties.values()
        for weight, square, mean, gradient, l2 in zip(
            self._weights, self._squares, self._means, gradients, penalties, strict=True
        ):
            gradient = tf.convert_to_tensor(gradient) + 2 * l2 * weight
            square.assign(0.9 * square + 0.1 * gradient**2)
            weight.assign_sub(rate * gradient * tf.math.rsqrt(square + 1e-7))
            if self._trial.average:
                decay = tf.minimum(self._trial.average, (1 + self._steps) / (10 + self._steps))
                mean.assign(decay * mean + (1 - decay) * weight)

    def epoch(self) -> None:
        """Trains on every image once."""
        labels = self._problem.labels[self._problem.split["train"]].astype(np.float32)
        order, size = self._rng.permutation(len(labels)), PRESET.training.batch_size
        for first in range(0, len(order), size):
            places = order[first : first + size]
            draw = None
            if not self._trial.exact:
                keys = self._rng.random((len(places), PRESET.max_rank))
                draw = np.sort(np.argsort(keys, axis=1)[:, : PRESET.m], axis=1)
            self._step(tf.constant(labels[places]), *self._problem.batch("train", places, draw))

    def score(self, part: str) -> np.ndarray:
        """The logits of a part, by the averaged weights where they are averaged."""
        trained = [weight.numpy() for weight in self._weights]
        if self._trial.average:
            for weight, mean in zip(self._weights, self._means, strict=True):
                weight.assign(mean)
        places = np.arange(len(self._problem.split[part]))
        scores = [
            self._infer(*self._problem.batch(part, places[first : first + SCORED_AT_ONCE])).numpy()
            for first in range(0, len(places), SCORED_AT_ONCE)
        ]
        for weight, value in zip(self._weights, trained, strict=True):
            weight.assign(value)
        return np.concatenate(scores)


def run(trial: Trial, problem: Problem, hidden: int, seed: int) -> dict[str, float]:
    """Trains until early stopping; the figures of the best epoch, and what it took."""
    trainer = Trainer(trial, problem, hidden, seed)
    labels = problem.labels[problem.split["validation"]]
    history: list[dict[str, float]] = []
    seconds = 0.0
    while not should_stop(history, PRESET.training):
        began = time.process_time()
        trainer.epoch()
        seconds += time.process_time() - began
        found = metrics.evaluate(labels, trainer.score("validation"))
        history.append({f"validation_{n}": found[n] for n in ("map_label", "map_image")})
    took = {"epochs": len(history), "seconds": seconds / len(history)}
    return history[best_epoch(history)] | took | {"parameters": trainer.parameters}


def table(done: list[dict[str, Any]]) -> str:
    """A line for each trial; differences to `base` on the runs that both have."""
    runs: dict[str, dict[tuple, dict]] = {}
    for one in done:
        runs.setdefault(one["trial"], {})[one["hidden"], one["split"], one["seed"]] = one
    lines = ["| trial | runs | mAP per label | to base | per image | epochs | s an epoch |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, found in runs.items():
        values = np.array([100 * one["validation_map_label"] for one in found.values()])
        image = np.mean([100 * one["validation_map_image"] for one in found.values()])
        both = [key for key in found if key in runs.get("base", {})]
        change = [
            100 * (found[key]["validation_map_label"] - runs["base"][key]["validation_map_label"])
            for key in both
        ]
        told = f"{np.mean(change):+.2f} ({len(both)})" if both else "–"
        epochs, took = (np.mean([one[n] for one in found.values()]) for n in ("epochs", "seconds"))
        lines.append(
            f"| {name} | {len(found)} | {values.mean():.2f} | {told} | {image:.2f} "
            f"| {epochs:.0f} | {took:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="; ".join(TRIALS), help="separated by ;")
    parser.add_argument("--splits", default="0,1")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--data", type=Path, help="a prepared directory [the demo data set]")
    parser.add_argument("--out", type=Path, required=True, help="a JSON line for every run")
    options = parser.parse_args()
    dataset = PreparedDataset(options.data or demo_data())
    problems: dict[int, Problem] = {}
    for name in map(str.strip, options.trials.split(";")):
        for split in map(int, options.splits.split(",")):
            for seed in map(int, options.seeds.split(",")):
                key = {"trial": name, "hidden": options.hidden, "split": split, "seed": seed}
                if any(key.items() <= one.items() for one in _read(options.out)):
                    continue
                if split not in problems:
                    problems[split] = Problem(dataset, split)
                figures = run(TRIALS[name], problems[split], options.hidden, seed)
                with options.out.open("a") as file:
                    file.write(json.dumps(key | figures) + "\n")
    print(table(_read(options.out)))
    print(f"\n{machine.described('tensorflow', 'numpy')}; seconds of the processor")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
