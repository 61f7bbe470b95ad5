"""Trains one graph on a prepared data set, scores it and exports it.

    python -m experiments.run --arch=ltwin_2rnn

The flags of a run are here and nowhere else; `train_and_evaluate` can be imported.
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
from absl import flags
from scipy.special import expit

import tagnet
from experiments.presets import PRESETS, Preset
from tagnet import architectures, console, export, layers, metrics, tensorboard, training
from tagnet.architectures import ARCHITECTURES, JOINT, GraphSettings
from tagnet.dataset import Neighbourhood, PreparedDataset, training_batches
from tagnet.files import InputError, read_json, write_arrays, write_json
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

FLAGS = flags.FLAGS
flags.DEFINE_string("arch", "ltwin_2rnn", f"the graph: {', '.join(ARCHITECTURES)}")
flags.DEFINE_string("data", None, "a prepared directory; without it the embedded data set")
flags.DEFINE_integer("split", 0, "which random split")
flags.DEFINE_string("neighbours", "id", "encoding whose distance picks neighbours: id, w2v, wnet")
flags.DEFINE_string("feed", None, "encoding fed to a joint model: id, w2v, wnet [w2v if there]")
flags.DEFINE_string("pool", "open", "where neighbours come from: open, closed, train")
flags.DEFINE_string("preset", None, f"settings: {', '.join(PRESETS)} [paper; demo without --data]")
flags.DEFINE_integer("m", None, "size of a neighbourhood [the preset's]")
flags.DEFINE_integer("M", None, "how many nearest images it is drawn from [the preset's]")
flags.DEFINE_integer("seed", 0, "of weights, order, draws and dropout")
flags.DEFINE_integer("max_epochs", None, "stop after so many epochs [the preset's]")
flags.DEFINE_integer("hidden", None, "units of a hidden layer, h [the preset's]")
flags.DEFINE_float("learning_rate", None, "of RMSProp [the preset's]")
flags.DEFINE_float("l2", None, "weight of the squared kernels in the loss [the preset's]")
flags.DEFINE_string("precision", "float32", f"arithmetic: {', '.join(POLICIES)}")
flags.DEFINE_string("out", None, "the run directory [runs/…, named after the settings]")

USAGE = """Trains one graph on a prepared data set, scores it on the test split and exports it.

  python -m experiments.run --arch=ltwin_2rnn [--data=DIR] [--out=RUN]"""


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


def main(arguments: list[str]) -> None:
    """Reads the flags and runs."""
    if arguments:
        raise InputError(f"unexpected argument {arguments[0]!r}; flags start with --")
    dataset = PreparedDataset(FLAGS.data or _embedded())
    run = _resolve(dataset)
    out = Path(FLAGS.out or Path("runs") / _default_name(dataset, run))
    train_and_evaluate(run, dataset, out)


def _embedded() -> Path:
    """The embedded data set, prepared on first use."""
    cache = Path(os.environ.get("TAGNET_CACHE", Path.home() / ".cache" / "tagnet"))
    prepared = cache / f"demo-{tagnet.__version__}"
    if not (prepared / "dataset.json").exists():
        command = [sys.executable, "-m", "data_tools.prepare", "--source=demo"]
        if status := subprocess.run([*command, f"--out={prepared}"]).returncode:
            raise InputError(f"{prepared}: the embedded data set was not prepared (exit {status})")
    return prepared


def _resolve(dataset: PreparedDataset) -> RunSettings:
    """Flags over the preset over what the data set has; checks what cannot be combined."""
    preset = FLAGS.preset or ("paper" if FLAGS.data else "demo")
    _check("arch", FLAGS.arch, ARCHITECTURES)
    _check("preset", preset, PRESETS)
    _check("precision", FLAGS.precision, POLICIES)
    joint = FLAGS.arch in JOINT
    if FLAGS.feed and not joint:
        raise InputError(
            f"--feed is for joint models ({', '.join(JOINT)}); "
            f"received --feed={FLAGS.feed} with --arch={FLAGS.arch}"
        )
    feed = FLAGS.feed or ("w2v" if "w2v" in dataset.encodings else "id") if joint else None
    if feed:
        _check("feed", feed, dataset.encodings)
    stored = dataset.max_rank(FLAGS.neighbours, FLAGS.pool)
    settings = _overridden(PRESETS[preset](FLAGS.arch), stored)
    if settings.max_rank > stored:
        raise InputError(
            f"--M must be at most {stored}, the neighbours stored in {dataset.directory}; "
            f"received {settings.max_rank}"
        )
    dataset.split(FLAGS.split)
    return RunSettings(
        arch=FLAGS.arch,
        data=str(dataset.directory.resolve()),
        split=FLAGS.split,
        neighbours=FLAGS.neighbours,
        feed=feed,
        pool=FLAGS.pool,
        preset=preset,
        seed=FLAGS.seed,
        precision=FLAGS.precision,
        settings=settings,
    )


def _overridden(preset: Preset, stored: int) -> Preset:
    """The preset with what the flags say instead; (m, M) shrinks to a small set unless given."""
    max_rank = FLAGS.M or max(FLAGS.m or 1, min(preset.max_rank, stored))
    m = FLAGS.m or min(preset.m, max(1, max_rank // 2))
    Neighbourhood(m, max_rank)
    changes = {"hidden": FLAGS.hidden, "l2": FLAGS.l2, "m": m, "max_rank": max_rank}
    training_changes = {"learning_rate": FLAGS.learning_rate}
    if FLAGS.max_epochs is not None:
        training_changes["max_epochs"] = FLAGS.max_epochs
        training_changes["min_epochs"] = min(preset.training.min_epochs, FLAGS.max_epochs)
    return dataclasses.replace(
        preset,
        training=dataclasses.replace(preset.training, **_given(training_changes)),
        **_given(changes),
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check(flag: str, value: str, known: Any) -> None:
    if value not in known:
        raise InputError(f"--{flag} must be one of {', '.join(known)}; received {value!r}")


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
    console.run(main, USAGE)
