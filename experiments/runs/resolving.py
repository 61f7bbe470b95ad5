"""Resolves the flags of a run to its settings, and makes the run."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.runs import presets
from experiments.runs.baselines import BaselineSettings, fit_and_evaluate
from experiments.runs.options import BASELINES, WITH_TAGS, Options
from experiments.runs.presets import Preset
from experiments.runs.runner import RunSettings, train_and_evaluate
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.models.architectures import JOINT, VISUAL
from tagnet.settings import Neighbourhood
from tagnet.training.replicas import Workers


def make(
    run: RunSettings | BaselineSettings,
    dataset: PreparedDataset,
    out: Path,
    *,
    exports: bool = True,
    workers: Workers | None = None,
    jit: str = "auto",
) -> dict[str, Any]:
    """Makes a run of a model or a baseline in `out`, or reads it back; returns `metrics.json`.

    Raises:
        InputError: `out` holds a run with other settings, or the data set lacks something.
    """
    if isinstance(run, BaselineSettings):
        return fit_and_evaluate(run, dataset, out)
    return train_and_evaluate(run, dataset, out, exports=exports, workers=workers, jit=jit)


def resolve(options: Options, dataset: PreparedDataset) -> RunSettings | BaselineSettings:
    """Resolves the settings: options first, then the preset, then what the data set has.

    Raises:
        InputError: the data set lacks what the options ask for.
    """
    feed = None
    if not len(dataset.vocabulary) and (options.arch in JOINT or options.arch in WITH_TAGS):
        without = ", ".join([*VISUAL, *(name for name in BASELINES if name not in WITH_TAGS)])
        raise InputError(
            f"--arch={options.arch} reads tags, and {dataset.directory} has none; "
            f"without tags there are {without}"
        )
    if options.arch in JOINT or _reads(options.arch, "feed"):
        feed = options.feed or ("w2v" if "w2v" in dataset.encodings else "id")
        if feed not in dataset.encodings:
            known = ", ".join(dataset.encodings)
            raise InputError(
                f"--feed must be one of {known}; received {feed!r}; word vectors come from "
                "data_tools.prepare --word_vectors or --wordnet"
            )
    if options.arch in BASELINES:
        return _resolved_baseline(options, dataset, feed)
    preset = options.preset or default_preset(dataset)
    images = len(dataset.split(options.split)["train"])
    stored = dataset.max_rank(options.neighbours, options.pool)
    settings = _overridden(presets.PRESETS[preset](options.arch, images), options, stored)
    if settings.max_rank > stored:
        raise InputError(
            f"--M must be at most {stored} (neighbours stored in {dataset.directory}); "
            f"received {settings.max_rank}"
        )
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
        from_run=None if options.from_run is None else str(options.from_run.resolve()),
    )


def default_preset(dataset: PreparedDataset) -> str:
    """The name of the preset of runs on a data set that name none."""
    return presets.default(dataset.info.get("settings", {}).get("source", ""))


def _reads(arch: str, flag: str) -> bool:
    return BASELINES.get(arch) == flag


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
    """The preset with the options applied; (m, M) shrinks to a small data set unless given."""
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
        "class_weight": options.class_weight,
    }
    return dataclasses.replace(
        preset,
        training=dataclasses.replace(preset.training, **_given(training_changes)),
        **_given(changes),
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def default_name(dataset: PreparedDataset, run: RunSettings | BaselineSettings) -> str:
    """The name of a run directory, made from the settings."""
    flat = run.flat()
    parts = [flat[name] for name in ("arch", "neighbours", "feed", "pool", "preset")]
    size = [f"m{flat['m']}-M{flat['max_rank']}"] if flat["m"] else []
    numbers = [*size, f"split{run.split}", f"seed{run.seed}"]
    changed = [flat["class_weight"]] if flat.get("class_weight") else []
    if flat.get("from_run"):
        changed.append(f"from-{Path(flat['from_run']).name}")
    return "-".join([dataset.name, *filter(None, parts), *numbers, *changed])
