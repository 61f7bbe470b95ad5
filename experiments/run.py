"""Trains one model on a prepared data set, scores it and exports it.

    python -m experiments.run --arch=ltwin_2rnn

The flags of a run are here and nowhere else; `runner.train_and_evaluate` runs it.
"""

import textwrap
from pathlib import Path

from experiments.runs.options import BASELINES, Options
from tagnet.errors import InputError
from tagnet.models.architectures import JOINT, OURS, VISUAL
from tagnet.system import console
from tagnet.system.runtime import import_tensorflow

USAGE = f"""Trains one model on a prepared data set, scores it on the test split and exports it.

  python -m experiments.run --arch=ltwin_2rnn [--data=DIR] [--out=RUN]

visual architectures: {", ".join(VISUAL)}
joint architectures: {", ".join(f"{arch} (ours)" if arch in OURS else arch for arch in JOINT)}
{textwrap.fill("baselines: " + ", ".join(BASELINES), 100, subsequent_indent="  ")}"""


def main(options: Options) -> None:
    """Runs the command."""
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from experiments.runs.demo_data import demo_data
    from experiments.runs.precision import with_precision
    from experiments.runs.resolving import default_name, make, resolve
    from experiments.runs.results import show
    from experiments.runs.runner import RunSettings
    from tagnet.data.dataset import PreparedDataset
    from tagnet.system.devices import make_deterministic
    from tagnet.training.replicas import workers as workers_of

    jit = options.jit
    if options.deterministic:
        make_deterministic()
        jit = "off" if jit == "auto" else jit  # XLA chooses among a GPU's kernels by their time
    workers = workers_of(options.workers)  # before TensorFlow computes anything
    dataset = PreparedDataset(options.data or demo_data(), options.placement)
    if workers is not None and workers.devices > 1 and dataset.placement == "device":
        if options.placement:
            raise InputError(
                "--placement must be host or mmap with several devices; received device"
            )
        dataset = PreparedDataset(dataset.directory, "host")
    run = resolve(options, dataset)
    out = options.out or Path("runs") / default_name(dataset, run)
    if isinstance(run, RunSettings):  # baselines have no arithmetic of their own
        run = with_precision(run, dataset, out, jit)
    show(make(run, dataset, out, workers=workers, jit=jit), out)


if __name__ == "__main__":
    console.run(Options, main, USAGE)
