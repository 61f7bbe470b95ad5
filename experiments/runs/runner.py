"""Makes one run in a run directory; called by `run.py` and importable."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from experiments import plots
from experiments.runs.presets import Preset
from experiments.runs.results import METRICS, TITLES, VALIDATION, check, finish, read_checked
from experiments.runs.run_directory import asks_for_more_epochs, being_made, settle_run
from experiments.runs.warm_start import begin_with
from tagnet.data.dataset import PreparedDataset, available_memory
from tagnet.errors import InputError
from tagnet.evaluation.calibration import CalibrationReport
from tagnet.models import architectures
from tagnet.models.parts import Parts
from tagnet.serving.export import write_saved_model
from tagnet.serving.model import build_serving_model
from tagnet.serving.portable import KERAS_FILE, WEIGHTS_FILE, write_keras, write_weights
from tagnet.settings import BatchSettings, GraphSettings, Neighbourhood, ScoringSettings
from tagnet.system import console
from tagnet.system.devices import described
from tagnet.system.files import Check, write_arrays
from tagnet.training import loop, tensorboard
from tagnet.training.experiment import Evaluation, Experiment
from tagnet.training.replicas import Workers, company, is_chief

WATCHED = ("map_label", "map_image")  # after every epoch


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The resolved settings of a run; with these and the data set its numbers repeat.

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
        from_run: the finished run whose weights it begins with; None to begin anew.
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
    from_run: str | None = None

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
    jit: str = "auto",
) -> dict[str, Any]:
    """Trains, scores and (by default) exports into the run directory `out`.

    A finished run is read back, an unfinished one resumes. The placement of the features does
    not affect the result; the number of workers affects it only by rounding. With several
    processes, all call this and share the disk that `out` is on. Whether XLA compiles the steps,
    `jit`, affects the result by rounding and by other draws of dropout; see `Experiment`.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: `out` holds a run with other settings, the data set lacks something, or
            another process of the run has ended.
    """
    with company(workers):
        if workers is not None and not is_chief(workers):
            return _help(run, dataset, out, workers)
        with being_made(run.flat(), out) as (finished, check):
            return finished or _train_and_evaluate(run, dataset, out, check, exports, workers, jit)


def _help(
    run: RunSettings, dataset: PreparedDataset, out: Path, workers: Workers
) -> dict[str, Any]:
    """Trains as a worker of a run whose files another process writes."""
    if (out / METRICS).exists() and not asks_for_more_epochs(run.flat(), out):
        settle_run(run.flat(), out)
    else:
        experiment_of(run, dataset, workers).fit(out)
        workers.wait()
    return read_checked(out, METRICS)


def _train_and_evaluate(
    run: RunSettings,
    dataset: PreparedDataset,
    out: Path,
    check: Check | None,
    exports: bool,
    workers: Workers | None,
    jit: str,
) -> dict[str, Any]:
    """As `train_and_evaluate`, in a directory that only this process uses."""
    begun = time.perf_counter()
    with _trained(run, dataset, out, check, workers, jit) as (experiment, history):
        test = experiment.evaluate("test")
        _write_dashboards(run, experiment, test, out / "tensorboard")
        calibration_report = _export(run, experiment, out, check) if exports else None
    results = {
        "arch": run.arch,
        "epochs": len(history),
        "best_epoch": loop.best_epoch(history) + 1,
        "seconds": time.perf_counter() - begun,
        "seconds_per_epoch": float(np.mean([epoch["seconds"] for epoch in history])),
        "parameters": experiment.model.count_params(),
        "validation": experiment.evaluate("validation").figures,
    }
    if calibration_report is not None:
        results["calibration"] = dataclasses.asdict(calibration_report)
    written = write_results(out, results, test, dataset, experiment.split, check)
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
    with being_made(run.flat(), out, VALIDATION) as (finished, check):
        if finished:
            return finished
        with _trained(run, dataset, out, check) as (experiment, history):
            figures = experiment.evaluate("validation").figures
            _write_hparams(run, experiment, "validation", figures)
        results = {"best_epoch": loop.best_epoch(history) + 1, "validation": figures}
        finish(out, results, check, VALIDATION)
        return results


@contextlib.contextmanager
def _trained(
    run: RunSettings,
    dataset: PreparedDataset,
    out: Path,
    check: Check | None,
    workers: Workers | None = None,
    jit: str = "auto",
) -> Iterator[tuple[Experiment, list[loop.Epoch]]]:
    """Trains a run and yields it with its best weights, and its history; opens its TensorBoard."""
    experiment = experiment_of(run, dataset, workers, jit)
    _announce(run, experiment, out)
    with tf.summary.create_file_writer(str(out / "tensorboard")).as_default():
        tensorboard.write_graph(experiment.model)
        yield experiment, experiment.fit(out, functools.partial(_say_epoch, run), check)


def _export(
    run: RunSettings, experiment: Experiment, out: Path, check: Check | None
) -> CalibrationReport | None:
    """Writes the model in three formats, and its calibration to TensorBoard."""
    deployment = build_serving_model(
        experiment.model,
        experiment.dataset,
        split=run.split,
        neighbours=run.neighbours,
        max_rank=run.settings.max_rank,
        samples=run.settings.samples,
    )
    write_saved_model(deployment, out / "saved_model", check)
    write_keras(deployment.core, out / KERAS_FILE, check)
    write_weights(deployment.core, out / WEIGHTS_FILE, check)
    if (calibration_report := deployment.calibration_report) is not None:
        with plots.style():
            drawing = plots.png(plots.reliability([(run.arch, calibration_report)]))
        tensorboard.write_calibration(calibration_report, drawing)
    return calibration_report


def write_results(
    out: Path,
    results: dict[str, Any],
    test: Evaluation,
    dataset: PreparedDataset,
    split: dict[str, np.ndarray],
    check: Check | None,
) -> dict[str, Any]:
    """Writes `predictions.npz`, and `metrics.json` from `results` and what all runs have.

    `check` is called before each of them takes its place, see `files.atomic_write`.

    Returns:
        What `metrics.json` holds.
    """
    arrays = {
        "scores": test.scores,
        "labels": test.labels,
        "rows": split["test"],
        "label_names": np.array(dataset.label_names),
    }
    write_arrays(out / "predictions.npz", arrays, check)
    results |= {
        "dataset": dataset.name,
        "images": {part: len(rows) for part, rows in split.items()},
        "test": test.figures,
    }
    finish(out, results, check)
    return results


def restored(run: RunSettings, dataset: PreparedDataset, out: Path) -> keras.Model:
    """The model of a finished run, with the weights that it was scored with.

    Args:
        run: its settings.
        dataset: what it was trained on.
        out: the run directory.

    Raises:
        InputError: another version of tagnet wrote the weights.
    """
    core = architectures.build(run.arch, _graph_settings(run, dataset))
    weights = loop.best_weights(out)
    check(out, weights.relative_to(out).as_posix())
    try:
        core.load_weights(weights)
    except ValueError as error:  # they are whole, as was checked
        raise InputError(
            f"{weights}: must hold the weights of {run.arch} as this version of tagnet names them; "
            f"received other ones; remove {out} to train it again"
        ) from error
    return core


def scoring_of(preset: Preset) -> ScoringSettings:
    """How a run with this preset averages over neighbourhoods."""
    return ScoringSettings(preset.m, preset.exact, preset.samples, preset.average)


def _graph_settings(run: RunSettings, dataset: PreparedDataset) -> GraphSettings:
    preset = run.settings
    return dataset.graph_settings(
        preset.m,
        run.feed,
        hidden=preset.hidden,
        dropout=preset.dropout,
        l2=preset.l2,
    )


def experiment_of(
    run: RunSettings,
    dataset: PreparedDataset,
    workers: Workers | None = None,
    jit: str = "auto",
) -> Experiment:
    """The untrained model of a run, with its training and scoring data."""
    keras.utils.set_random_seed(run.seed)
    keras.config.set_dtype_policy(run.precision)
    preset = run.settings
    batches = BatchSettings(
        split=run.split,
        encoding=run.neighbours,
        pool=run.pool,
        neighbourhood=Neighbourhood(preset.m, preset.max_rank),
        batch_size=preset.training.batch_size,
        seed=run.seed,
    )
    model = architectures.build(run.arch, _graph_settings(run, dataset))
    if run.from_run is not None:
        begin_with(model, Path(run.from_run), dataset)
    return Experiment(model, dataset, batches, preset.training, scoring_of(preset), workers, jit)


def _say_epoch(run: RunSettings, epoch: loop.Epoch) -> None:
    """Prints the figures of an epoch, and writes them for TensorBoard."""
    console.say(
        f"epoch {epoch['epoch']:>2}/{run.settings.training.max_epochs}  "
        f"loss {epoch['loss']:.4f}  "
        f"validation mAP per label {100 * epoch['validation_map_label']:.2f}, "
        f"per image {100 * epoch['validation_map_image']:.2f}  {epoch['seconds']:.1f} s"
        + (", compilation included" if epoch["epoch"] == 1 else "")
    )
    for name in ("loss", *(f"validation_{name}" for name in WATCHED)):
        tf.summary.scalar(f"epoch/{name}", epoch[name], step=epoch["epoch"])


def _announce(run: RunSettings, experiment: Experiment, out: Path) -> None:
    dataset, preset = experiment.dataset, run.settings
    sizes = " / ".join(f"{len(rows):,}" for rows in experiment.split.values())
    console.say(
        f"{run.arch} on {dataset.name}: {console.counted(dataset.num_images, 'image')}, "
        f"{console.counted(len(dataset.label_names), 'label')}; split {run.split}: {sizes} "
        "(train / validation / test)"
    )
    fed = f"feed {run.feed}" if run.feed else "no tags fed"
    console.say(
        f"neighbours by {run.neighbours}, pool {run.pool}, "
        f"(m, M) = ({preset.m}, {preset.max_rank}); {fed}; preset {run.preset}, seed {run.seed}"
    )
    compiled = ", steps compiled by XLA" if experiment.by_xla else ""
    console.say(f"on {described()}; {run.precision}{compiled}")
    console.say(
        f"features on {dataset.placement}: "
        f"{dataset.table_bytes / 1e9:.2f} GB of features, "
        f"{available_memory() / 1e9:.2f} GB of memory available"
    )
    console.say(
        f"{experiment.model.count_params():,} parameters, {preset.training.min_epochs} to "
        f"{preset.training.max_epochs} epochs; into {out}"
    )


def _write_dashboards(
    run: RunSettings, experiment: Experiment, test: Evaluation, directory: Path
) -> None:
    """What TensorBoard shows of a finished run."""
    dataset = experiment.dataset
    _write_hparams(run, experiment, "test", test.figures)
    tensorboard.write_pr_curves(test.labels, expit(test.scores), dataset.label_names)
    if run.feed:
        vectors = _tag_vectors(experiment.model, dataset, run.feed)
        tensorboard.write_projector(directory, vectors, dataset.vocabulary.words, run.feed)


def _write_hparams(
    run: RunSettings, experiment: Experiment, part: str, figures: dict[str, Any]
) -> None:
    """Writes the settings, and beside them the figures of a part."""
    settings = run.flat() | {"data": experiment.dataset.name}
    tensorboard.write_hparams(settings, {f"{part}/{name}": figures[name] for name in TITLES})


def _tag_vectors(core: keras.Model, dataset: PreparedDataset, feed: str) -> np.ndarray:
    """The vectors [τ, n] of the tags: β, or for `id` the learned kernel rows."""
    if feed != "id":
        return dataset.embedding(feed).vectors
    reads = Parts.of(core).reads
    name = next(name for name, inputs in reads.items() if inputs[-1] == "pi_x")  # π's rows are last
    return core.get_layer(name).get_weights()[0][-len(dataset.vocabulary) :]
