"""How long a training step takes: ours, in plain Keras (naive.py), and its products (floor.py).

    python -m benchmarks.speed.steps [--arch=ltn,ltwin] [--feed=id,w2v] [--repeats=5] [--steps=5]

In every repeat each of them runs some steps, one after the other, so that whatever else
the machine does hits all alike. Ours and the plain way run under `model.fit` and are
timed from one step's end to the next; the plain batches are packed ahead of the step.
Before that both train 20 steps without dropout from the same weights on the same batches;
the largest differences of their weights and scores are printed. On a busy machine
`--clock=processor` counts the time of the processors instead, of both together.
"""

import argparse
import os
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import machine, naive, workload
from benchmarks.speed import floor
from tagnet.data.tables import fed_by_rows, lookup_tables
from tagnet.models.architectures import ARCHITECTURES, JOINT, OURS, build
from tagnet.settings import TrainingSettings
from tagnet.training.loop import compiled
from tagnet.training.optimizer import PenalisedRMSprop

SEED = 0  # of the weights and of dropout
CHECKED_STEPS = 20
FLOOR_RUNS = 3  # of the products in a repeat
UPDATES = 5

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
Times = dict[str, np.ndarray]  # one figure a repeat


class _Ends(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.ends.append(self._clock())


def fit(model: keras.Model, batches: tf.data.Dataset, clock: Clock) -> np.ndarray:
    """Trains on the batches; the seconds of every step but the first."""
    ends = _Ends(clock)
    model.fit(batches, callbacks=[ends], shuffle=False, verbose=0)
    return np.diff(ends.ends)


class Contest:
    """Ours and the plain model of one graph, from the same weights and on the same data."""

    def __init__(
        self,
        arch: str,
        feed: str,
        sizes: workload.Sizes,
        dropout: float = 0.5,
        by_xla: bool = False,
    ) -> None:
        keras.utils.set_random_seed(SEED)
        settings = sizes.graph(arch, feed, dropout)
        self.sizes = sizes
        self.data = workload.make(sizes, feed)
        self.core, self.plain = build(arch, settings), naive.build(arch, settings)
        naive.copy_weights(self.core, self.plain)
        naive.compile_model(self.plain)
        self.packer = naive.Packer(self.data.tables)
        self.gather_inputs = lookup_tables(self.data.tables, one_size=by_xla)
        self.ours = compiled(self.core, self.gather_inputs, TrainingSettings(), by_xla)

    def fit_ours(self, steps: int, clock: Clock = time.perf_counter) -> np.ndarray:
        """Trains ours; the seconds of every step but the first."""
        rows, neighbours = workload.draws(self.data, self.sizes, steps)
        columns = (self._inputs(rows, neighbours), self.data.labels[rows])
        examples = tf.data.Dataset.from_tensor_slices(columns)
        batches = examples.batch(self.sizes.batch_size, drop_remainder=self.ours.by_xla)
        return fit(self.ours, batches.prefetch(2), clock)

    def fit_plain(self, steps: int, clock: Clock = time.perf_counter) -> np.ndarray:
        """Trains the plain model; the seconds of every step but the first."""
        rows, neighbours = workload.draws(self.data, self.sizes, steps)
        labels, batch_size = self.data.labels[rows], self.sizes.batch_size
        batches = self.packer.batches(self.plain, rows, neighbours, labels, batch_size)
        return fit(self.plain, batches, clock)

    def differences(self) -> tuple[float, float]:
        """The largest difference between their weights, and between scores of a batch."""
        weights = [
            float(np.abs(theirs - ours).max())
            for layer in self.plain.layers
            if layer.weights
            for theirs, ours in zip(
                layer.get_weights(), self.core.get_layer(layer.name).get_weights(), strict=True
            )
        ]
        rows, neighbours = workload.draws(self.data, self.sizes, 1, seed=1)
        scored = fed_by_rows(self.core, self.gather_inputs)
        ours = scored(self._inputs(rows, neighbours)).numpy()
        theirs = naive.score(self.plain, self.packer, rows, neighbours[:, None])
        return max(weights), float(np.abs(ours - theirs).max())

    def _inputs(self, rows: np.ndarray, neighbours: np.ndarray) -> dict[str, tf.Tensor]:
        given = {"row": rows, "neighbours": neighbours}
        return {t.name: tf.constant(given[t.name], tf.int32) for t in self.ours.inputs}


def optimizer_step(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> Callable[[], None]:
    """One update of all weights, by gradients that are there already."""
    gradients = [tf.random.normal(variable.shape) for variable in variables]
    optimizer.build(variables)
    return tf.function(lambda: optimizer.apply(gradients))


def seconds(run: Callable[[], None], times: int, clock: Clock) -> list[float]:
    """How long each of some runs takes."""
    taken = []
    for _ in range(times):
        began = clock()
        run()
        taken.append(clock() - began)
    return taken


def measure(
    contest: Contest, products: list[floor.Product], repeats: int, steps: int, clock: Clock
) -> Times:
    """The median milliseconds in each repeat of a step, and of the update of the weights."""
    began = time.perf_counter()
    contest.fit_ours(1)
    first = 1e3 * (time.perf_counter() - began)
    contest.fit_plain(1)
    variables = contest.core.trainable_variables
    step = floor.step(products)
    update = optimizer_step(PenalisedRMSprop(1e-4), variables)
    keras_update = optimizer_step(keras.optimizers.RMSprop(1e-4), variables)
    runs: dict[str, Callable[[], np.ndarray | list[float]]] = {
        "ours": lambda: contest.fit_ours(steps + 1, clock),
        "plain": lambda: contest.fit_plain(steps + 1, clock),
        "floor": lambda: seconds(step, FLOOR_RUNS, clock),
        "update": lambda: seconds(update, UPDATES, clock),
        "keras update": lambda: seconds(keras_update, UPDATES, clock),
    }
    for compiling in (step, update, keras_update):
        compiling()  # the first one compiles
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(1e3 * float(np.median(np.array(run()))))
    return {"first": np.array([first])} | {name: np.array(ms) for name, ms in taken.items()}


def row(arch: str, feed: str, times: Times, differences: tuple[float, float]) -> str:
    """A line of the table; ratios are taken within each repeat."""

    def cell(values: np.ndarray, digits: int) -> str:
        return (
            f"{np.median(values):.{digits}f} ({values.min():.{digits}f}–{values.max():.{digits}f})"
        )

    cells = [f"`{arch}`", feed]
    cells += [cell(times[name], 0) for name in ("ours", "plain", "floor")]
    cells += [cell(times["ours"] / times["floor"], 2), cell(times["plain"] / times["ours"], 2)]
    cells += [cell(times["update"], 1), cell(times["keras update"], 1)]
    cells += [f"{times['first'][0] / 1e3:.1f}", *(f"{value:.0e}" for value in differences)]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| graph | feed | ours, ms | plain Keras, ms | floor, ms | ours / floor | plain / ours "
    "| update, ms | Keras' RMSProp, ms | first step, s | weights differ | scores differ |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Checks and measures what is asked for and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    # A step of `ltwin_kernel` is one of `ltwin`: training leaves its other path as it is.
    papers = [arch for arch in ARCHITECTURES if arch not in OURS]
    parser.add_argument("--arch", default=",".join(papers), help="graphs of the paper")
    parser.add_argument("--feed", default="id,w2v", help="feeds of the joint ones")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps of each kind in a repeat")
    parser.add_argument("--tags", type=int, default=workload.Sizes.num_tags, help="τ")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    if others := set(options.arch.split(",")) - set(papers):
        parser.error(f"--arch must be among {', '.join(papers)}; received {', '.join(others)}")
    sizes = workload.Sizes(num_tags=options.tags)
    print(HEADER)
    for arch in options.arch.split(","):
        for feed in options.feed.split(",") if arch in JOINT else ["–"]:
            check = Contest(arch, feed, sizes, dropout=0.0)
            check.fit_ours(CHECKED_STEPS)
            check.fit_plain(CHECKED_STEPS)
            differences = check.differences()
            products = floor.products(arch, sizes.graph(arch, feed), sizes.batch_size)
            contest, clock = Contest(arch, feed, sizes), CLOCKS[options.clock]
            times = measure(contest, products, options.repeats, options.steps, clock)
            print(row(arch, feed, times, differences), flush=True)
            keras.backend.clear_session()
    print(
        f"\n{machine.described('tensorflow', 'keras', 'numpy')}; "
        f"TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS', '')}; "
        f"median (least–most) of {options.repeats} repeats, {options.clock} clock"
    )


if __name__ == "__main__":
    main()
