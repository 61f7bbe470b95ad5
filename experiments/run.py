"""Trains one graph on a prepared data set, scores it and exports it.

    python -m experiments.run --arch=ltwin_2rnn

The flags of a run are here and nowhere else; `runner.train_and_evaluate` runs it.
"""

import dataclasses
import shlex
import textwrap
from pathlib import Path
from typing import Any

from experiments.baselines import BASELINES, BaselineSettings, fit_and_evaluate
from experiments.embedded import embedded
from experiments.presets import PRESETS, Preset
from experiments.results import TITLES
from experiments.runner import RunSettings, train_and_evaluate
from tagnet import console, export
from tagnet.architectures import ARCHITECTURES, JOINT, OURS, VISUAL
from tagnet.batches import Neighbourhood
from tagnet.console import option, require_at_least, require_one_of
from tagnet.dataset import TABLES, PreparedDataset
from tagnet.distributed import Workers
from tagnet.distributed import workers as workers_of
from tagnet.files import InputError

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
USAGE = f"""Trains one graph on a prepared data set, scores it on the test split and exports it.

  python -m experiments.run --arch=ltwin_2rnn [--data=DIR] [--out=RUN]

visual graphs: {", ".join(VISUAL)}
joint graphs: {", ".join(JOINT)}
  (not the paper's: {", ".join(OURS)})
{textwrap.fill("baselines: " + ", ".join(BASELINES), 100, subsequent_indent="  ")}"""
FOR_GRAPHS = (
    *("preset", "m", "M", "max_epochs", "hidden", "dropout", "learning_rate", "l2", "table"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of a run."""

    arch: str = option("ltwin_2rnn", "which graph, see above")
    data: Path | None = option(None, "a prepared directory [the embedded data set]")
    split: int = option(0, "which random split")
    neighbours: str = option("id", "encoding whose distance picks neighbours: id, w2v, wnet")
    feed: str | None = option(None, "encoding fed to a joint model: id, w2v, wnet [w2v if there]")
    pool: str = option("open", "where neighbours come from: open, closed, train")
    preset: str | None = option(None, f"{', '.join(PRESETS)} [paper; without --data demo]")
    m: int | None = option(None, "size of a neighbourhood [the preset's]")
    M: int | None = option(None, "how many nearest images it is drawn from [the preset's]")
    seed: int = option(0, "of weights, order, draws and dropout")
    max_epochs: int | None = option(None, "stop after so many epochs [the preset's]")
    hidden: int | None = option(None, "units of a hidden layer, h [the preset's]")
    dropout: float | None = option(None, "probability that a hidden unit drops out [the preset's]")
    learning_rate: float | None = option(None, "of RMSProp [the preset's]")
    l2: float | None = option(None, "weight of the squared kernels in the loss [the preset's]")
    table: str | None = option(None, f"{', '.join(TABLES)}: where features are [by their size]")
    workers: int = option(1, "devices of this machine, or processes of TF_CONFIG, that train")
    precision: str = option("float32", f"arithmetic: {', '.join(POLICIES)}")
    out: Path | None = option(None, "the run directory [runs/…, named after the settings]")

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("arch", self.arch, (*ARCHITECTURES, *BASELINES)),
            ("preset", self.preset or "paper", PRESETS),
            ("precision", self.precision, POLICIES),
        ):
            if value not in known:
                raise InputError(f"--{flag} must be one of {', '.join(known)}; received {value!r}")
        require_one_of("table", self.table, TABLES)
        if self.feed and self.arch in VISUAL:
            raise InputError(
                f"--feed is for joint models ({', '.join(JOINT)}); "
                f"received --feed={self.feed} with --arch={self.arch}"
            )
        if self.arch in BASELINES:
            self._check_baseline()
        require_at_least(self, workers=1, m=1, M=1, max_epochs=1, hidden=1, dropout=0, l2=0)
        if self.workers > 1 and self.precision == "mixed_float16":
            raise InputError(
                "--precision must be float32 or mixed_bfloat16 with --workers; "
                "received 'mixed_float16'"
            )
        if self.dropout is not None and self.dropout >= 1:
            raise InputError(f"--dropout must be below 1; received {self.dropout}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"--learning_rate must be above 0; received {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed must be 0 to {2**32 - 1}; received {self.seed}")

    def _check_baseline(self) -> None:
        unread = [flag for flag in FOR_GRAPHS if getattr(self, flag) is not None]
        if self.workers != 1:
            unread.append("workers")
        if self.precision != "float32":
            unread.append("precision")
        if self.feed and BASELINES[self.arch].reads != "feed":
            unread.append("feed")
        if unread:
            raise InputError(
                f"--{unread[0]} is not for the baseline {self.arch}; "
                f"received {getattr(self, unread[0])}"
            )


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
    out = options.out or Path("runs") / _default_name(dataset, run)
    _show(make(run, dataset, out, workers=workers), out)


def make(
    run: RunSettings | BaselineSettings,
    dataset: PreparedDataset,
    out: Path,
    *,
    exports: bool = True,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Makes a run of a graph or a baseline in `out`, or reads it back; what `metrics.json` holds.

    Raises:
        InputError: `out` holds a run with other settings, or the data set lacks something.
    """
    if isinstance(run, BaselineSettings):
        return fit_and_evaluate(run, dataset, out)
    return train_and_evaluate(run, dataset, out, exports=exports, workers=workers)


def resolve(options: Options, dataset: PreparedDataset) -> RunSettings | BaselineSettings:
    """The options over the preset over what the data set has.

    Raises:
        InputError: the data set lacks what the options ask for.
    """
    feed = None
    if options.arch in JOINT or _reads(options.arch, "feed"):
        feed = options.feed or ("w2v" if "w2v" in dataset.encodings else "id")
        if feed not in dataset.encodings:
            known = ", ".join(dataset.encodings)
            raise InputError(f"--feed must be one of {known}; received {feed!r}")
    if options.arch in BASELINES:
        return _resolved_baseline(options, dataset, feed)
    preset = options.preset or ("paper" if options.data else "demo")
    stored = dataset.max_rank(options.neighbours, options.pool)
    settings = _overridden(PRESETS[preset](options.arch), options, stored)
    if settings.max_rank > stored:
        raise InputError(
            f"--M must be at most {stored}, the neighbours stored in {dataset.directory}; "
            f"received {settings.max_rank}"
        )
    dataset.split(options.split)
    return RunSettings(
        arch=options.arch,
        data=str(dataset.directory.resolve()),
        split=options.split,
        neighbours=options.neighbours,
        feed=feed,
        pool=options.pool,
        preset=preset,
        seed=options.seed,
        precision=options.precision,
        settings=settings,
    )


def _reads(arch: str, flag: str) -> bool:
    return arch in BASELINES and BASELINES[arch].reads == flag


def _resolved_baseline(
    options: Options, dataset: PreparedDataset, feed: str | None
) -> BaselineSettings:
    dataset.max_rank(options.neighbours, options.pool)  # raises where either is unknown
    dataset.split(options.split)
    return BaselineSettings(
        arch=options.arch,
        data=str(dataset.directory.resolve()),
        split=options.split,
        neighbours=options.neighbours if _reads(options.arch, "neighbours") else "",
        feed=feed,
        seed=options.seed,
    )


def _overridden(preset: Preset, options: Options, stored: int) -> Preset:
    """The preset with what the options say instead; (m, M) shrinks to a small set unless given."""
    max_rank = options.M or max(options.m or 1, min(preset.max_rank, stored))
    m = options.m or min(preset.m, max(1, max_rank // 2))
    Neighbourhood(m, max_rank)
    changes = {"hidden": options.hidden, "dropout": options.dropout, "l2": options.l2}
    changes |= {"m": m, "max_rank": max_rank}
    epochs = options.max_epochs or preset.training.max_epochs
    training_changes = {
        "learning_rate": options.learning_rate,
        "max_epochs": epochs,
        "min_epochs": min(preset.training.min_epochs, epochs),
    }
    return dataclasses.replace(
        preset,
        training=dataclasses.replace(preset.training, **_given(training_changes)),
        **_given(changes),
    )


def command_line(options: Options) -> str:
    """What is typed to make a run with these options.

    >>> command_line(Options(arch="ltn", l2=3e-05))
    'python -m experiments.run --arch=ltn --l2=3e-05'
    """
    flags = [
        f"--{field.name}={value}"
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) != field.default
    ]
    return shlex.join(["python", "-m", "experiments.run", *flags])


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _default_name(dataset: PreparedDataset, run: RunSettings | BaselineSettings) -> str:
    flat = run.flat()
    parts = [flat[name] for name in ("arch", "neighbours", "feed", "pool", "preset")]
    size = [f"m{flat['m']}-M{flat['max_rank']}"] if flat["m"] else []
    numbers = [*size, f"split{run.split}", f"seed{run.seed}"]
    return "-".join([dataset.name, *filter(None, parts), *numbers])


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
