"""What is damaged: folders with all kinds of artefacts, and how they are read."""

import contextlib
import dataclasses
import functools
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import conftest  # and with it tagnet, before TensorFlow reads how much it shall log
import numpy as np
import tensorflow as tf
from damage import Subject, artefact, contents, digest
from graphs import TINY, L, deployed
from photographs import write, xmp

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from data_tools.stages import MARKS
from experiments import robustness
from experiments.annotation.batch import Batch, Choice, jobs_of
from experiments.paper import study
from experiments.paper.conditions import USUAL, Condition
from experiments.paper.curves import LTN, Curve, Measure, Series
from experiments.runs import plan, results
from experiments.runs.presets import demo
from experiments.runs.runner import RunSettings, restored, train_and_evaluate, train_and_validate
from experiments.runs.sweeping import SharedTables
from tagnet.backbones import features
from tagnet.data.batches import training_batches
from tagnet.data.cache import CACHE
from tagnet.data.dataset import PreparedDataset
from tagnet.serving import export
from tagnet.serving.annotator import Annotator
from tagnet.settings import PARTS, Neighbourhood
from tagnet.system.checksums import CHECKSUMS

TINY_ONE = mock.patch.dict(features.BACKBONES, tiny=TINY)


def subjects(place: Path) -> list[Subject]:
    """All of them, made in a folder."""
    prepared = prepared_subjects(place)
    datasets = [prepared[0].folder, prepared[0].other]
    return [
        *prepared,
        *photograph_subjects(place),
        *run_subjects(place, datasets),
        condition_subject(place, datasets),
        model_subject(place),
        answers_subject(place),
    ]


# --- What reads a prepared directory --------------------------------------------------------------


def read_by_a_run(
    folder: Path, layout: str = "rows", neighbours: Sequence[str] = ("id", "w2v")
) -> dict[str, str]:
    """All that a run reads of a prepared directory, with neighbours by these encodings."""
    data = PreparedDataset(folder)
    info = {name: data.info[name] for name in ("name", "backbone", "neighbours")}
    found = {
        "info": [info, data.num_images, data.feature_dim, data.encodings, data.pools],
        "names": [data.vocabulary.words, data.label_names, data.image_ids],
        "images": [data.features, data.tags.ids, data.tags.offsets, data.labels],
        "embedding": [data.embedding("w2v").vectors, data.embedding("w2v").known],
    }
    for index in range(data.num_splits):
        found[f"split {index}"] = data.split(index)
        for encoding in neighbours:
            for pool in data.pools:
                for part in PARTS:
                    read = data.part(index, encoding, pool, part, 3)
                    key = f"{part} {index} {encoding} {pool}"
                    found[key] = [read.rows, read.neighbours, read.distances]
                if layout == "packed":
                    found[f"packed {index} {encoding} {pool}"] = batches_of(
                        data, index, encoding, pool
                    )
    return {name: digest(value) for name, value in found.items()}


def batches_of(data: PreparedDataset, split: int, encoding: str, pool: str) -> list:
    """An epoch of packed training records."""
    try:
        return list(
            training_batches(
                data,
                split=split,
                encoding=encoding,
                pool=pool,
                neighbourhood=Neighbourhood(2, 3),
                inputs=["phi_x", "phi_z", "pi_x", "pi_z"],
                batch_size=64,
                seed=0,
                epochs=range(1),
                layout="packed",
                feed="w2v",
            )
        )
    except tf.errors.DataLossError as error:
        raise AssertionError("damage was found only in the middle of an epoch") from error


def read_mapped(folder: Path) -> dict[str, str]:
    """What a run reads of a prepared directory that is mapped from disk."""
    data = PreparedDataset(folder, "mmap")
    tables = data.tables("w2v")
    found = {"phi": tables.phi, "pi": tables.pi, "tags": data.tags.ids, "names": data.image_ids}
    return {name: digest(value) for name, value in found.items()} | contents(folder / CACHE)


def prepared_subjects(place: Path) -> list[Subject]:
    """A prepared directory as a run reads it, mapped or not, and as the next preparation does."""
    settings: list[Settings] = []
    for seed in (0, 1):
        table = conftest.make_table(place / f"raw-{seed}", num_images=40, dim=5, seed=seed)
        settings.append(table.settings(splits=1, pools=("train",), M=3, layout="packed"))
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(settings[seed], place / f"prepared-{seed}" / "data")
    folder, other = (place / f"prepared-{seed}" / "data" for seed in (0, 1))
    whole = contents(folder)
    packed = [file for file in whole if file.startswith("packed/")]
    # What stands in these has no part in how neighbours are read.
    tables = [file for file in whole if file.startswith(("images-", "embeddings/"))]
    tables += ["vocabulary.txt", "labels.txt"]
    by_run = [file for file in whole if file.startswith(("neighbours/", "splits/"))]
    by_run = ["dataset.json", CHECKSUMS, *by_run]
    mapped = []
    for one in (folder, other):
        mapped.append(Path(shutil.copytree(one, place / f"mapped-{one.parent.name}" / "data")))
        with contextlib.redirect_stdout(io.StringIO()):
            read_mapped(mapped[-1])
    cached = [f"{CACHE}/{path.name}" for path in sorted((mapped[0] / CACHE).iterdir())]
    # Names in the cache tell the data set: the other's stand under this one's.
    for mine, theirs in zip(cached, sorted((mapped[1] / CACHE).iterdir()), strict=True):
        theirs.rename(mapped[1] / mine)

    def prepared_again(copy: Path) -> dict[str, str]:
        prepare(settings[0], copy)
        return contents(copy)

    older = {"dataset.json": lambda content: changed_json(content, format=0)}
    return [
        Subject("prepared directory, read by a run", folder, other, by_run, read_by_a_run, older),
        Subject(
            "its tables, read by a run",
            folder,
            other,
            tables,
            lambda copy: read_by_a_run(copy, neighbours=()),
        ),
        Subject(
            "packed records, read by a run",
            folder,
            other,
            packed,
            lambda copy: read_by_a_run(copy, "packed"),
        ),
        Subject("cache of a prepared directory", mapped[0], mapped[1], cached, read_mapped),
        Subject(
            "prepared directory, prepared again",
            folder,
            other,
            [file for file in whole if file not in (*by_run, *tables, *packed)],
            prepared_again,
        ),
        Subject(
            "what a run reads, prepared again",
            folder,
            other,
            # One of each kind: how a file is looked at does not depend on what is in it.
            list({artefact(file): file for file in (*by_run, *tables, *packed)}.values()),
            prepared_again,
        ),
    ]


def photograph_subjects(place: Path) -> list[Subject]:
    """A preparation of photographs that goes on, and a finished one that is prepared again."""
    settings: list[Settings] = []
    prepared, stopped = [], []
    for number in (0, 1):
        photos = place / f"photographs-{number}"
        for index in range(6):
            folder = photos / ("sea", "town")[index % 2]
            words = xmp(dc_subject=[f"word {index % 3}"])
            write(folder / f"{index}.png", words, colour=(40 * index, 90 * number, 0))
        (photos / "sea" / f"{number}.jpg").write_text("this is no photograph")
        prepared.append(place / f"photographed-{number}" / "data")
        with TINY_ONE, contextlib.redirect_stdout(io.StringIO()):
            own = {"source": "photo_folder", "raw": photos, "backbone": "tiny"}
            settings.append(Settings.of(**own, splits=1, pools=("train",), M=1))
            prepare(settings[number], prepared[-1])
        # Nothing but its features is left of a preparation that was killed in its first stage.
        chunks = Path(MARKS, "photographs")
        stopped.append(place / f"begun-{number}" / "data")
        shutil.copytree(prepared[-1] / chunks, stopped[-1] / chunks)
    files = list(contents(stopped[0]))
    # Names tell the photographs: the other's stand under this one's.
    for mine, theirs in zip(files, list(contents(stopped[1])), strict=True):
        (stopped[1] / theirs).rename(stopped[1] / mine)

    def prepared_on(copy: Path) -> dict[str, str]:
        with TINY_ONE:
            prepare(settings[0], copy)
        return contents(copy)

    return [
        Subject("stopped preparation of photographs", *stopped, files, prepared_on),
        Subject("photographs, prepared again", *prepared, ["left_out.jsonl"], prepared_on),
    ]


def changed_json(content: bytes, **fields: Any) -> bytes:
    """A JSON object with other values."""
    return json.dumps(json.loads(content) | fields, indent=2).encode()


# --- What reads a run -----------------------------------------------------------------------------


def run_subjects(place: Path, datasets: Sequence[Path]) -> list[Subject]:
    """A finished run as a report and other commands read it, and a stopped one that goes on.

    Args:
        place: where to.
        datasets: one prepared directory, or another one too, whose run is then the other.
    """
    preset = demo("ltwin")
    epochs = dataclasses.replace(preset.training, min_epochs=2, max_epochs=2)
    preset = dataclasses.replace(preset, hidden=3, m=2, max_rank=3, training=epochs)
    run = RunSettings("ltwin", "data", 0, "id", "w2v", "train", "demo", 0, "float32", preset)
    folders = [place / f"runs-{number}" / "run" for number in range(len(datasets))]
    for seed, (data, folder) in enumerate(zip(datasets, folders, strict=True)):
        with contextlib.redirect_stdout(io.StringIO()):
            settings = dataclasses.replace(run, seed=seed)
            train_and_evaluate(settings, PreparedDataset(data), folder, exports=False)
    dataset = PreparedDataset(datasets[0])

    def reported(copy: Path) -> dict[str, str]:
        (group,) = results.read_groups(results.find([copy])[0])
        (one,) = group.runs
        assert one.history is not None
        found = {
            "config": one.config,
            "results": one.results,
            "predictions": one.predictions,
            "history": one.history.to_csv(),
            "weights": restored(run, dataset, copy).get_weights(),
            "shown": train_and_evaluate(run, dataset, copy),
        }
        return {name: digest(value) for name, value in found.items()}

    stopped = []
    for one in folders:
        stopped.append(Path(shutil.copytree(one, place / f"stopped-{one.parent.name}" / "run")))
        for file in (results.METRICS, CHECKSUMS, "predictions.npz", "history.csv"):
            (stopped[-1] / file).unlink()

    def gone_on(copy: Path) -> dict[str, str]:
        """It was stopped when all epochs were done, unless they are lost."""
        found = train_and_evaluate(run, dataset, copy, exports=False)
        predictions = dict(np.load(copy / "predictions.npz"))
        parts = {"test": found["test"], "validation": found["validation"], "scores": predictions}
        weights = restored(run, dataset, copy).get_weights()
        return {name: digest(value) for name, value in (parts | {"weights": weights}).items()}

    validated = [place / f"tried-{number}" / "run" for number in range(len(datasets))]
    for seed, (data, folder) in enumerate(zip(datasets, validated, strict=True)):
        with contextlib.redirect_stdout(io.StringIO()):
            train_and_validate(dataclasses.replace(run, seed=seed), PreparedDataset(data), folder)

    def tried(copy: Path) -> str:
        return digest(train_and_validate(run, dataset, copy))

    files = list(contents(folders[0]))
    read = ["config.json", results.VALIDATION, CHECKSUMS]
    left = ["config.json", *(file for file in files if file.startswith("checkpoints/"))]
    return [
        Subject("finished run", folders[0], folders[-1], files, reported),
        Subject("stopped run that goes on", stopped[0], stopped[-1], left, gone_on),
        Subject("run of a search", validated[0], validated[-1], read, tried),
    ]


def condition_subject(place: Path, datasets: Sequence[Path]) -> Subject:
    """What came out under conditions, as the curves read it."""
    tests = USUAL, Condition(dropped=0.5)
    curve = Curve(
        "", "", ("", ""), {"": (Series("", tuple(Measure(LTN, USUAL, t) for t in tests)),)}
    )
    studies, folders = [], []
    for number, data in enumerate(datasets):
        folders.append(place / f"studies-{number}" / "study")
        flags = {"curve": ("wrong_tags",), "data": data, "pool": "train", "preset": "demo"}
        options = robustness.Options(**flags, hidden=3, max_epochs=1, seed=number)
        dataset = SharedTables(data)
        common = plan.common_of(options, dataset)
        jobs = study.trainings([curve], [LTN], (0,), common, dataset)
        plan.settle(folders[-1], common)
        studies.append(functools.partial(study.Study, jobs=jobs, dataset=dataset))

    def drawn(copy: Path, number: int = 0) -> dict[str, str]:
        study = studies[number](copy)
        study.run()
        (job,) = study.jobs
        found = study.results_of(study, curve, "train")
        results = {measure.test.name: digest(values) for measure, values in found.items()}
        return results | contents(copy / job.name / "conditions")

    for number, folder in enumerate(folders):
        with contextlib.redirect_stdout(io.StringIO()):
            drawn(folder, number)
    files = [file for file in contents(folders[0]) if "/conditions/" in file]
    return Subject("conditions of a curve", folders[0], folders[-1], files, drawn)


# --- What reads an exported model -----------------------------------------------------------------


def model_subject(place: Path) -> Subject:
    """A SavedModel as `annotate` and the app read it."""
    folders = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        deployment = deployed("ltn", None, hidden=4 + seed)
        labels = rng.integers(0, 2, size=(40, L))
        deployment.calibrate(rng.normal(size=(40, L)), labels)
        deployment.judge(rng.normal(size=(40, L)).astype(np.float32), labels)
        folders.append(export.export(deployment, place / f"model-{seed}"))
    older = {"assets/annotator.json": lambda content: changed_json(content, format=1)}
    return Subject("exported model", *folders, list(contents(folders[0])), loaded, older)


def loaded(folder: Path) -> dict[str, str]:
    """All that a deployed model answers by."""
    deployment = export.load(folder)
    return {
        "model": Annotator(deployment).digest,
        "settings": digest(dataclasses.asdict(deployment.settings)),
        "judgement": digest(deployment.judgement),
        "labels": digest(deployment.corpus.labels.numpy().ids),
        "validation": digest([deployment.validation_scores, deployment.validation_labels]),
    }


# --- What reads the answers of `annotate` --------------------------------------------------------


def answers_subject(place: Path) -> Subject:
    """Answers of `annotate`, as one that was stopped goes on from them."""
    for index in range(6):
        words = xmp(dc_subject=[f"tag {index}"])
        write(place / "photos" / f"{index}.png", words, colour=(40 * index, 0, 90))
    jobs = jobs_of([str(place / "photos")], None, "auto")
    folders = [place / f"answers-{number}" / "answers" for number in (0, 1)]
    annotators = [
        Annotator(deployed("ltn", None, hidden=4 + number, backbone="tiny")) for number in (0, 1)
    ]

    def annotated(folder: Path, number: int = 0) -> str:
        choice = Choice(dict.fromkeys(annotators[number].labels, 0.0), L)
        with TINY_ONE:
            answers = Batch(annotators[number], choice, folder / "answers.jsonl").run(jobs)
        # Some photographs alone may give sums in another order than all of them together.
        text = json.dumps(answers)
        return digest(json.loads(text, parse_float=lambda number: round(float(number), 4)))

    for number, folder in enumerate(folders):
        annotated(folder, number)
    return Subject("answers of annotate, gone on", *folders, ["answers.jsonl"], annotated)
