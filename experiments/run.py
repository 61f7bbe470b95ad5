"""Trains one graph on a prepared data set, scores it and exports it.

    python -m experiments.run --arch=ltwin_2rnn

The flags of a run are here and nowhere else; `resolve` and `train_and_evaluate` can be
imported.
"""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

import tagnet
from experiments.presets import PRESETS, Preset
from tagnet import architectures, console, export, layers, metrics, tensorboard, training
from tagnet.architectures import ARCHITECTURES, JOINT, VISUAL, GraphSettings
from tagnet.console import option
from tagnet.dataset import Neighbourhood, PreparedDataset, training_batches
from tagnet.files import InputError, read_json, remove_leftovers, write_arrays, write_json
from tagnet.scoring import Scorer, ScoringSettings

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
METRICS = {
    "map_label": "mAP per label",
    "map_image": "mAP per image",
    "recall_label": "recall per label",
    "precision_label": "precision per label",
    "recall_image": "recall per image",
    "precision_image": "precision per image",
}

USAGE = f"""Trains one graph on a prepared data set, scores it on the test split and exports it.

  python -m experiments.run --arch=ltwin_2rnn [--data=DIR] [--out=RUN]

visual graphs: {", ".join(VISUAL)}
joint graphs: {", ".join(JOINT)}"""


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
    learning_rate: float | None = option(None, "of RMSProp [the preset's]")
    l2: float | None = option(None, "weight of the squared kernels in the loss [the preset's]")
    precision: str = option("float32", f"arithmetic: {', '.join(POLICIES)}")
    out: Path | None = option(None, "the run directory [runs/…, named after the settings]")

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("arch", self.arch, ARCHITECTURES),
            ("preset", self.preset or "paper", PRESETS),
            ("precision", self.precision, POLICIES),
        ):
            if value not in known:
                raise InputError(f"--{flag} must be one of {', '.join(known)}; received {value!r}")
        if self.feed and self.arch in VISUAL:
            raise InputError(
                f"--feed is for joint models ({', '.join(JOINT)}); "
                f"received --feed={self.feed} with --arch={self.arch}"
            )
        for flag, number, least in (
            ("m", self.m, 1),
            ("M", self.M, 1),
            ("max_epochs", self.max_epochs, 1),
            ("hidden", self.hidden, 1),
            ("l2", self.l2, 0),
        ):
            if number is not None and not number >= least:  # nan is no number either
                raise InputError(f"--{flag} must be at least {least}; received {number}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"--learning_rate must be above 0; received {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed must be 0 to {2**32 - 1}; received {self.seed}")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """One run, resolved: with these and the data set its numbers repeat."""

    arch: str
    data: str
    split: int
    neighbours: str
    feed: str | None
    pool: str
    preset: str
    seed: int
    precision: str
    settings: Preset

    def flat(self) -> dict[str, Any]:
        """All settings by name, without nesting."""
        values = dataclasses.asdict(self)
        settings = values.pop("settings")
        return values | settings.pop("training") | settings


def main(options: Options) -> None:
    """Runs the command."""
    dataset = PreparedDataset(options.data or _embedded())
    run = resolve(options, dataset)
    train_and_evaluate(run, dataset, options.out or Path("runs") / _default_name(dataset, run))


def _embedded() -> Path:
    """The embedded data set, prepared on first use."""
    cache = Path(os.environ.get("TAGNET_CACHE", Path.home() / ".cache" / "tagnet"))
    prepared = cache / f"demo-{tagnet.__version__}"
    if not (prepared / "dataset.json").exists():
        command = [sys.executable, "-m", "data_tools.prepare", "--source=demo"]
        if status := subprocess.run([*command, f"--out={prepared}"]).returncode:
            raise InputError(f"{prepared}: the embedded data set was not prepared (exit {status})")
    return prepared


def resolve(options: Options, dataset: PreparedDataset) -> RunSettings:
    """The options over the preset over what the data set has.

    Raises:
        InputError: the data set lacks what the options ask for.
    """
    preset = options.preset or ("paper" if options.data else "demo")
    feed = None
    if options.arch in JOINT:
        feed = options.feed or ("w2v" if "w2v" in dataset.encodings else "id")
        if feed not in dataset.encodings:
            known = ", ".join(dataset.encodings)
            raise InputError(f"--feed must be one of {known}; received {feed!r}")
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


def _overridden(preset: Preset, options: Options, stored: int) -> Preset:
    """The preset with what the options say instead; (m, M) shrinks to a small set unless given."""
    max_rank = options.M or max(options.m or 1, min(preset.max_rank, stored))
    m = options.m or min(preset.m, max(1, max_rank // 2))
    Neighbourhood(m, max_rank)
    changes = {"hidden": options.hidden, "l2": options.l2, "m": m, "max_rank": max_rank}
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


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _default_name(dataset: PreparedDataset, run: RunSettings) -> str:
    parts = [dataset.name, run.arch, run.neighbours, run.feed, run.pool, run.preset]
    numbers = f"m{run.settings.m}-M{run.settings.max_rank}-split{run.split}-seed{run.seed}"
    return "-".join([part for part in parts if part] + [numbers])


def train_and_evaluate(run: RunSettings, dataset: PreparedDataset, out: Path) -> dict[str, Any]:
    """Runs `run` into the run directory `out` and returns what `metrics.json` holds.

    A finished run is shown again, an unfinished one goes on.

    Raises:
        InputError: `out` holds a run with other settings, or the data set lacks something.
    """
    _claim(run, out)
    if (out / "metrics.json").exists():
        results = read_json(out / "metrics.json")
        _show(results, out)
        return results

    remove_leftovers(out)
    keras.utils.set_random_seed(run.seed)
    keras.config.set_dtype_policy(run.precision)
    tables = dataset.tables(run.feed)
    preset = run.settings
    graph = GraphSettings(
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        m=preset.m,
        feed=run.feed,
        tag_dim=tables.tag_dim,
        hidden=preset.hidden,
        dropout=preset.dropout,
        l2=preset.l2,
    )
    core = architectures.build(run.arch, graph)
    lookups = layers.lookups(tables)
    parts = {
        part: dataset.part(run.split, run.neighbours, run.pool, part, preset.max_rank)
        for part in ("validation", "test")
    }
    split = dataset.split(run.split)
    _announce(run, dataset, split, core, out)
    scorer = Scorer(
        core, lookups, ScoringSettings(preset.m, preset.exact, preset.samples, preset.average)
    )

    def evaluate(part: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        scores = scorer(parts[part], seed=run.seed)
        labels = dataset.labels[parts[part].rows]
        return scores, labels, metrics.evaluate(labels, scores)

    def validate() -> dict[str, float]:
        figures = evaluate("validation")[2]
        return {name: figures[name] for name in ("map_label", "map_image")}

    def on_epoch(epoch: training.Epoch) -> None:
        console.say(
            f"epoch {epoch['epoch']:>2}/{preset.training.max_epochs}  loss {epoch['loss']:.4f}  "
            f"validation mAP per label {100 * epoch['validation_map_label']:.2f}, "
            f"per image {100 * epoch['validation_map_image']:.2f}  {epoch['seconds']:.1f} s"
        )
        for name in ("loss", "validation_map_label", "validation_map_image"):
            tf.summary.scalar(f"epoch/{name}", epoch[name], step=epoch["epoch"])

    with tf.summary.create_file_writer(str(out / "tensorboard")).as_default():
        tensorboard.write_graph(core)
        history = training.train(
            core,
            lookups=lookups,
            batches=lambda inputs, epochs: training_batches(
                dataset,
                split=run.split,
                encoding=run.neighbours,
                pool=run.pool,
                neighbourhood=Neighbourhood(preset.m, preset.max_rank),
                inputs=inputs,
                batch_size=preset.training.batch_size,
                seed=run.seed,
                epochs=epochs,
            ),
            num_images=len(split["train"]),
            validate=validate,
            settings=preset.training,
            directory=out,
            on_epoch=on_epoch,
        )
        scores, labels, test = evaluate("test")
        results = {
            "arch": run.arch,
            "epochs": len(history),
            "best_epoch": training.best_epoch(history) + 1,
            "seconds_per_epoch": float(np.mean([epoch["seconds"] for epoch in history])),
            "parameters": core.count_params(),
            "validation": evaluate("validation")[2],
            "test": test,
        }
        tensorboard.write_hparams(run.flat(), {name: test[name] for name in METRICS})
        tensorboard.write_pr_curves(labels, expit(scores), dataset.label_names)
    if run.feed:
        vectors = _tag_vectors(core, dataset, run.feed)
        tensorboard.write_projector(
            out / "tensorboard", vectors, dataset.vocabulary.words, run.feed
        )
    write_arrays(
        out / "predictions.npz", {"scores": scores, "labels": labels, "rows": parts["test"].rows}
    )
    export.export(core, out / "saved_model")
    write_json(out / "metrics.json", results)  # last: it marks the run as finished
    _show(results, out)
    return results


def _claim(run: RunSettings, out: Path) -> None:
    """Writes `config.json`, or checks that the run which is there already is the same one."""
    config = out / "config.json"
    flat = run.flat()
    if not config.exists():
        versions = {
            package: importlib.metadata.version(package)
            for package in ("tensorflow", "keras", "numpy")
        }
        try:
            write_json(config, flat | {"versions": versions | {"tagnet": tagnet.__version__}})
        except OSError as error:
            raise InputError(f"{out}: cannot be written to ({error.strerror})") from error
        return
    there = read_json(config)
    for name, value in flat.items():
        if there.get(name) != value:
            raise InputError(
                f"{out}: holds a run with {name} {there.get(name)!r}; received {value!r}; "
                "choose another --out or remove the folder"
            )


def _tag_vectors(core: keras.Model, dataset: PreparedDataset, feed: str) -> np.ndarray:
    """The vectors [τ, n] that π gives the tags: β, or for `id` the learned kernel rows."""
    if feed != "id":
        return dataset.embedding(feed).vectors
    names = {layer.name for layer in core.layers}
    layer = core.get_layer("W_xu" if "W_xu" in names else "W_x")  # W_x ends with π's rows
    return layer.get_weights()[0][-len(dataset.vocabulary) :]


def _announce(
    run: RunSettings,
    dataset: PreparedDataset,
    split: dict[str, np.ndarray],
    core: keras.Model,
    out: Path,
) -> None:
    preset = run.settings
    sizes = " / ".join(f"{len(rows):,}" for rows in split.values())
    fed = f"feed {run.feed}" if run.feed else "no tags fed"
    console.say(
        f"{run.arch} on {dataset.name}: {dataset.num_images:,} images, "
        f"{len(dataset.label_names)} labels; split {run.split}: {sizes} "
        "(train / validation / test)"
    )
    console.say(
        f"neighbours by {run.neighbours}, pool {run.pool}, (m, M) = ({preset.m}, "
        f"{preset.max_rank}); {fed}; preset {run.preset}, seed {run.seed}"
    )
    console.say(
        f"{core.count_params():,} parameters, {preset.training.min_epochs} to "
        f"{preset.training.max_epochs} epochs; into {out}"
    )


def _show(results: dict[str, Any], out: Path) -> None:
    """Prints the table of metrics, in per cent, and where everything is."""
    k = results["test"]["k"]
    console.say()
    console.say(f"{results['arch']:<24}{'validation':>12}{'test':>8}{'upper bound':>14}")
    for name, title in METRICS.items():
        title += "" if name.startswith("map") else f" @{k}"
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
    console.say(
        f"{results['epochs']} epochs of {results['seconds_per_epoch']:.1f} s, "
        f"best {results['best_epoch']}; {results['parameters']:,} parameters"
    )
    console.say(f"SavedModel   {out / 'saved_model' / export.VERSION}")
    console.say(f"TensorBoard  tensorboard --logdir={out / 'tensorboard'}")
    console.say(f"all of it    {out}")


if __name__ == "__main__":
    console.run(Options, main, USAGE)
