"""Trains one graph on a prepared data set, scores it and exports it.

    python -m experiments.run --arch=ltwin_2rnn

The flags of a run are here and nowhere else; `runner.train_and_evaluate` runs it.
"""

import textwrap
from pathlib import Path
from typing import Any

from experiments.runs.baselines import BASELINES
from experiments.runs.demo_data import embedded
from experiments.runs.options import Options, default_name, make, resolve
from experiments.runs.results import TITLES
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.models.architectures import JOINT, OURS, VISUAL
from tagnet.serving import export
from tagnet.system import console
from tagnet.training.replicas import workers as workers_of

USAGE = f"""Trains one graph on a prepared data set, scores it on the test split and exports it.

  python -m experiments.run --arch=ltwin_2rnn [--data=DIR] [--out=RUN]

visual graphs: {", ".join(VISUAL)}
joint graphs: {", ".join(JOINT)}
  (not the paper's: {", ".join(OURS)})
{textwrap.fill("baselines: " + ", ".join(BASELINES), 100, subsequent_indent="  ")}"""


def main(options: Options) -> None:
    """Runs the command."""
    workers = workers_of(options.workers)  # before TensorFlow computes anything
    dataset = PreparedDataset(options.data or embedded(), options.table)
    if workers is not None and workers.devices > 1 and dataset.table == "device":
        if options.table:
            raise InputError(
                "--table must be host or mmap where several devices share it; received device"
            )
        dataset = PreparedDataset(dataset.directory, "host")
    run = resolve(options, dataset)
    out = options.out or Path("runs") / default_name(dataset, run)
    _show(make(run, dataset, out, layout=options.layout, workers=workers), out)


def _show(results: dict[str, Any], out: Path) -> None:
    """Prints the table of metrics, in per cent, and where everything is."""
    k = results["test"]["k"]
    console.say()
    console.say(f"{results['arch']:<24}{'validation':>12}{'test':>8}{'upper bound':>14}")
    for name, metric in TITLES.items():
        title = metric + ("" if name.startswith("map") else f" @{k}")
        values = (
            results["validation"][name],
            results["test"][name],
            results["test"]["upper_bound"][name],
        )
        console.say(
            f"{title:<24}{100 * values[0]:>12.2f}{100 * values[1]:>8.2f}{100 * values[2]:>14.2f}"
        )
    test = results["test"]
    console.say(
        f"left out of the test means: {test['labels_left_out']} labels without a positive, "
        f"{test['images_left_out']} images without a label, "
        f"{test['labels_never_predicted']} labels never predicted (precision)"
    )
    if results["epochs"] is None:
        console.say(f"chosen on the validation split: {results['chosen']:g}")
    else:
        console.say(
            f"{results['epochs']} epochs of {results['seconds_per_epoch']:.1f} s, "
            f"best {results['best_epoch']}; {results['parameters']:,} parameters"
        )
        console.say(f"SavedModel   {out / 'saved_model' / export.VERSION}")
        console.say(f"TensorBoard  tensorboard --logdir={out / 'tensorboard'}")
    console.say(f"all of it    {out}")


if __name__ == "__main__":
    console.run(Options, main, USAGE)
