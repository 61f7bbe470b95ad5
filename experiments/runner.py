"""Runs one experiment into a run directory; what `run.py` calls and others may import."""

import contextlib
import dataclasses
import importlib.metadata
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

import tagnet
from experiments import figures
from experiments.presets import Preset
from experiments.results import METRICS, TITLES, VALIDATION, check, finish, read_checked
from tagnet import architectures, console, export, layers, metrics, tensorboard, training
from tagnet.architectures import GraphSettings
from tagnet.batches import BatchSettings, Neighbourhood, training_batches
from tagnet.calibration import Judgement
from tagnet.checksums import RUN_AGAIN
from tagnet.claims import held
from tagnet.dataset import PARTS, PreparedDataset, Tables, available_memory
from tagnet.deployment import Deployment, DeploymentSettings, deploy
from tagnet.distributed import Workers, company, is_chief
from tagnet.files import InputError, read_json, remove_leftovers, write_arrays, write_json
from tagnet.scoring import Scorer, ScoringSettings

LINEAR_C = 0.4  # of a linear path; chosen on the validation split of the embedded data set
WATCHED = ("map_label", "map_image")  # after every epoch


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """One run, resolved: with these and the data set its numbers repeat.

    Attributes:
        arch: a key of `ARCHITECTURES`.
        data: the prepared directory.
        split: index of the random split.
        neighbours: encoding whose distance picks the neighbours.
        feed: encoding of the tags that a joint graph reads; None for a visual one.
        pool: where neighbours come from.
        preset: the name of the preset that `settings` began as.
        seed: of weights, order, draws and dropout.
        precision: Keras' dtype policy.
        settings: everything else.
    """

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


def train_and_evaluate(
    run: RunSettings,
    dataset: PreparedDataset,
    out: Path,
    *,
    exports: bool = True,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Trains, scores and, unless told otherwise, exports into the run directory `out`.

    A finished run is read back, an unfinished one goes on. Where the data set's table is
    changes no result; on how many workers it is trained changes it by rounding alone. Of
    several processes, which share the disk that `out` is on, all call this.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: `out` holds a run with other settings, the data set lacks something, or
            another process of the run has ended.
    """
    with company(workers):
        if workers is not None and not is_chief(workers):
            return _help(run, dataset, out, workers)
        with being_made(run.flat(), out) as finished:
            return finished or _train_and_evaluate(run, dataset, out, exports, workers)


def _help(
    run: RunSettings, dataset: PreparedDataset, out: Path, workers: Workers
) -> dict[str, Any]:
    """Takes part in the training of a run whose files another process writes."""
    if (out / METRICS).exists():
        _settle_run(run.flat(), out)
    else:
        _Experiment(run, dataset, workers).fit(out)
        workers.wait()
    return read_checked(out, METRICS)


def _train_and_evaluate(
    run: RunSettings,
    dataset: PreparedDataset,
    out: Path,
    exports: bool,
    workers: Workers | None,
) -> dict[str, Any]:
    """As `train_and_evaluate`, in a directory that is this process' alone."""
    begun = time.perf_counter()
    with _trained(run, dataset, out, workers) as (experiment, history):
        test = experiment.evaluate("test")
        _write_dashboards(experiment, test, out / "tensorboard")
        judgement = _export(experiment, out) if exports else None
    results = {
        "arch": run.arch,
        "epochs": len(history),
        "best_epoch": training.best_epoch(history) + 1,
        "seconds": time.perf_counter() - begun,
        "seconds_per_epoch": float(np.mean([epoch["seconds"] for epoch in history])),
        "parameters": experiment.core.count_params(),
        "validation": experiment.evaluate("validation").figures,
    }
    if judgement is not None:
        results["calibration"] = dataclasses.asdict(judgement)
    written = write_results(out, results, test, dataset, experiment.split)
    if workers is not None:
        workers.wait()  # so that no other process ends before the work is done
    return written


def train_and_validate(run: RunSettings, dataset: PreparedDataset, out: Path) -> dict[str, Any]:
    """Trains into the run directory `out` and scores the validation part, never the test part.

    What came out is read back where it is there. The run is unfinished: `train_and_evaluate`
    goes on from its trained weights.

    Returns:
        What `validation.json` holds: `best_epoch` from 1, and under `validation` what
        `metrics.json` holds there.

    Raises:
        Diverged: the loss is no number any more.
        InputError: `out` holds a run with other settings, or the data set lacks something.
    """
    with being_made(run.flat(), out, VALIDATION) as finished:
        if finished:
            return finished
        with _trained(run, dataset, out) as (experiment, history):
            figures = experiment.evaluate("validation").figures
            _write_hparams(experiment, "validation", figures)
        results = {"best_epoch": training.best_epoch(history) + 1, "validation": figures}
        finish(out, results, VALIDATION)
        return results


@contextlib.contextmanager
def _trained(
    run: RunSettings,
    dataset: PreparedDataset,
    out: Path,
    workers: Workers | None = None,
) -> Iterator[tuple["_Experiment", list[training.Epoch]]]:
    """A run with its best weights, and its history; summaries go to its TensorBoard meanwhile."""
    experiment = _Experiment(run, dataset, workers)
    _announce(experiment, out)
    with tf.summary.create_file_writer(str(out / "tensorboard")).as_default():
        tensorboard.write_graph(experiment.core)
        yield experiment, experiment.fit(out)


def _export(experiment: "_Experiment", out: Path) -> Judgement | None:
    """Writes the SavedModel, and shows in TensorBoard what its probabilities are worth."""
    deployment = experiment.deploy()
    export.export(deployment, out / "saved_model")
    if (judgement := deployment.judgement) is not None:
        with figures.style():
            drawing = figures.png(figures.reliability([(experiment.run.arch, judgement)]))
        tensorboard.write_calibration(judgement, drawing)
    return judgement


def write_results(
    out: Path,
    results: dict[str, Any],
    test: "Evaluation",
    dataset: PreparedDataset,
    split: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Writes `predictions.npz` and, from `results` and what all runs tell, `metrics.json`.

    Returns:
        What `metrics.json` holds.
    """
    arrays = {
        "scores": test.scores,
        "labels": test.labels,
        "rows": split["test"],
        "label_names": np.array(dataset.label_names),
    }
    write_arrays(out / "predictions.npz", arrays)
    results |= {
        "dataset": dataset.name,
        "images": {part: len(rows) for part, rows in split.items()},
        "test": test.figures,
    }
    finish(out, results)
    return results


def restored(run: RunSettings, dataset: PreparedDataset, out: Path) -> keras.Model:
    """The graph of a finished run, with the weights that it was scored with.

    Args:
        run: its settings.
        dataset: what it was trained on.
        out: the run directory.
    """
    core = architectures.build(run.arch, _graph(run, dataset, dataset.tables(run.feed)))
    weights = training.best_weights(out)
    check(out, weights.relative_to(out).as_posix())
    core.load_weights(weights)
    return core


def scoring_of(preset: Preset) -> ScoringSettings:
    """How a run with this preset averages over neighbourhoods."""
    return ScoringSettings(preset.m, preset.exact, preset.samples, preset.average)


def _graph(run: RunSettings, dataset: PreparedDataset, tables: Tables) -> GraphSettings:
    return GraphSettings(
        feature_dim=tables.feature_dim,
        num_labels=len(dataset.label_names),
        m=run.settings.m,
        feed=run.feed,
        tag_dim=tables.tag_dim,
        hidden=run.settings.hidden,
        dropout=run.settings.dropout,
        l2=run.settings.l2,
        # What logistic regression with this C has: of all images' loss, ‖W‖² / 2 against C.
        linear_l2=1 / (2 * LINEAR_C * len(dataset.split(run.split)["train"])),
    )


class Evaluation(NamedTuple):
    """Scores [n, L] and labels [n, L] of a part, and `metrics.evaluate` of them."""

    scores: np.ndarray
    labels: np.ndarray
    figures: dict[str, Any]


class _Experiment:
    """A graph, its tables, and the parts that it is scored on."""

    def __init__(
        self,
        run: RunSettings,
        dataset: PreparedDataset,
        workers: Workers | None,
    ) -> None:
        keras.utils.set_random_seed(run.seed)
        keras.config.set_dtype_policy(run.precision)
        preset = run.settings
        tables = dataset.tables(run.feed)
        graph = _graph(run, dataset, tables)
        self.run = run
        self.dataset = dataset
        self.split = dataset.split(run.split)
        # The training part streams; reading it here once finds damage before the work begins.
        self.parts = {
            part: dataset.part(run.split, run.neighbours, run.pool, part, preset.max_rank)
            for part in PARTS
        }
        self.core = architectures.build(run.arch, graph)
        self._graph = graph
        self._lookups = layers.lookups(tables)
        self._workers = workers
        # A training step looks rows up, or is given what stands in them.
        self._looks_up = tables.on_device
        self._scorer = Scorer(self.core, self._lookups, scoring_of(preset))

    def fit(self, out: Path) -> list[training.Epoch]:
        """Trains the graph; see `training.train`."""
        return training.train(
            self.core,
            lookups=self._lookups if self._looks_up else None,
            batches=self._batches,
            num_images=len(self.split["train"]),
            validate=self._validate,
            settings=self.run.settings.training,
            directory=out,
            on_epoch=self._on_epoch,
            workers=self._workers,
        )

    def evaluate(self, part: str) -> Evaluation:
        """Scores a part with the present weights."""
        scores = self._scorer(self.parts[part], seed=self.run.seed)
        labels = self.dataset.labels[self.parts[part].rows]
        return Evaluation(scores, labels, metrics.evaluate(labels, scores))

    def deploy(self) -> Deployment:
        """The graph with the training images to find neighbours among, as a server needs it."""
        run, dataset = self.run, self.dataset
        settings = DeploymentSettings(
            arch=run.arch,
            graph=self._graph,
            neighbours=run.neighbours,
            max_rank=run.settings.max_rank,
            samples=run.settings.samples,
            labels=dataset.label_names,
            backbone=dataset.info["backbone"],
        )
        return deploy(self.core, settings, dataset, self.split)

    def _batches(self, inputs: list[str], epochs: range) -> tf.data.Dataset:
        preset = self.run.settings
        settings = BatchSettings(
            split=self.run.split,
            encoding=self.run.neighbours,
            pool=self.run.pool,
            neighbourhood=Neighbourhood(preset.m, preset.max_rank),
            batch_size=preset.training.batch_size,
            seed=self.run.seed,
        )
        lookups = None if self._looks_up else self._lookups
        return training_batches(self.dataset, settings, inputs, epochs, lookups)

    def _validate(self) -> dict[str, float]:
        figures = self.evaluate("validation").figures
        return {name: figures[name] for name in WATCHED}

    def _on_epoch(self, epoch: training.Epoch) -> None:
        console.say(
            f"epoch {epoch['epoch']:>2}/{self.run.settings.training.max_epochs}  "
            f"loss {epoch['loss']:.4f}  "
            f"validation mAP per label {100 * epoch['validation_map_label']:.2f}, "
            f"per image {100 * epoch['validation_map_image']:.2f}  {epoch['seconds']:.1f} s"
        )
        for name in ("loss", *(f"validation_{name}" for name in WATCHED)):
            tf.summary.scalar(f"epoch/{name}", epoch[name], step=epoch["epoch"])


@contextlib.contextmanager
def being_made(
    flat: dict[str, Any], out: Path, results: str = METRICS
) -> Iterator[dict[str, Any] | None]:
    """Gives what a run's file of results holds, or holds `out` for it to be made.

    Args:
        flat: the settings of the run.
        out: the run directory.
        results: the file's name.

    Raises:
        InputError: `out` holds a run with other settings, another process is at work in it,
            or it cannot be written to.
    """
    file = out / results
    if file.exists():
        _settle_run(flat, out)
        yield read_checked(out, results)
        return
    with held(out, "run"):
        _settle_run(flat, out)
        remove_leftovers(out)
        yield read_checked(out, results) if file.exists() else None


def _settle_run(flat: dict[str, Any], out: Path) -> None:
    """As `settle`; settings that are damaged or lost are no settings of another run."""
    config = out / "config.json"
    if config.exists():
        read_checked(out, config.name)
    elif any((out / name).exists() for name in (METRICS, VALIDATION, "checkpoints")):
        raise InputError(f"{config}: is missing from a run that is there; {RUN_AGAIN}")
    settle(flat, out)


def settle(settings: dict[str, Any], out: Path, what: str = "run", file: str = "config") -> None:
    """Writes settings to a file of `out`, or checks that those which are there are the same.

    Args:
        settings: by name, as JSON has them.
        out: the folder.
        what: what it holds, for the message.
        file: the file's name without `.json`.

    Raises:
        InputError: `out` holds others, or cannot be written to.
    """
    config = out / f"{file}.json"
    if not config.exists():
        versions = {
            package: importlib.metadata.version(package)
            for package in ("tensorflow", "keras", "numpy")
        }
        write_json(config, settings | {"versions": versions | {"tagnet": tagnet.__version__}})
        return
    there = read_json(config)
    for name, value in settings.items():
        if there.get(name) != value:
            raise InputError(
                f"{config}: holds a {what} with {name} {there.get(name)!r}; received {value!r}; "
                "choose another --out or remove the folder"
            )


def _announce(experiment: _Experiment, out: Path) -> None:
    run, dataset, preset = experiment.run, experiment.dataset, experiment.run.settings
    sizes = " / ".join(f"{len(rows):,}" for rows in experiment.split.values())
    console.say(
        f"{run.arch} on {dataset.name}: {dataset.num_images:,} images, "
        f"{len(dataset.label_names)} labels; split {run.split}: {sizes} "
        "(train / validation / test)"
    )
    fed = f"feed {run.feed}" if run.feed else "no tags fed"
    console.say(
        f"neighbours by {run.neighbours}, pool {run.pool}, "
        f"(m, M) = ({preset.m}, {preset.max_rank}); {fed}; preset {run.preset}, seed {run.seed}"
    )
    console.say(
        f"table {dataset.table}: "
        f"{dataset.table_bytes / 1e9:.2f} GB of features, "
        f"{available_memory() / 1e9:.2f} GB of memory available"
    )
    console.say(
        f"{experiment.core.count_params():,} parameters, {preset.training.min_epochs} to "
        f"{preset.training.max_epochs} epochs; into {out}"
    )


def _write_dashboards(experiment: _Experiment, test: Evaluation, directory: Path) -> None:
    """What TensorBoard shows of a finished run."""
    run, dataset = experiment.run, experiment.dataset
    _write_hparams(experiment, "test", test.figures)
    tensorboard.write_pr_curves(test.labels, expit(test.scores), dataset.label_names)
    if run.feed:
        vectors = _tag_vectors(experiment.core, dataset, run.feed)
        tensorboard.write_projector(directory, vectors, dataset.vocabulary.words, run.feed)


def _write_hparams(experiment: _Experiment, part: str, figures: dict[str, Any]) -> None:
    """Writes the settings, and beside them the figures of a part."""
    settings = experiment.run.flat() | {"data": experiment.dataset.name}
    tensorboard.write_hparams(settings, {f"{part}/{name}": figures[name] for name in TITLES})


def _tag_vectors(core: keras.Model, dataset: PreparedDataset, feed: str) -> np.ndarray:
    """The vectors [τ, n] that π gives the tags: β, or for `id` the learned kernel rows."""
    if feed != "id":
        return dataset.embedding(feed).vectors
    names = {layer.name for layer in core.layers}
    layer = core.get_layer("W_xu" if "W_xu" in names else "W_x")  # W_x ends with π's rows
    return layer.get_weights()[0][-len(dataset.vocabulary) :]
