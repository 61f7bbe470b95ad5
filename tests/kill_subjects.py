"""The commands that are killed: where each begins, and what it made, to compare."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf
from conftest import Table, make_table
from graphs import calibrated
from photographs import write, xmp

from data_tools.pipeline import prepare
from experiments import run, sweep
from tagnet.serving import export
from tagnet.system import console

TIMED = "seconds"  # how the names of figures and columns begin that no two runs share
# TensorBoard gets a file from every start; costs are seconds; the others follow from files that
# are compared.
LEFT_OUT = ("tensorboard", "costs.csv", "checksums.sha256", "fingerprint.pb")
ROW = "ltn-n_id-m12-M24"


@dataclasses.dataclass(frozen=True)
class Subject:
    """A command, and where it begins.

    Attributes:
        name: what the table calls it.
        module: what `python -m` is given.
        flags: its flags, from the folder that it works in.
        begin: makes that folder's first content.
    """

    name: str
    module: str
    flags: Callable[[Path], Sequence[str]]
    begin: Callable[[Path], object]


def executed(command: Any, *flags: object) -> None:
    """Runs a command of the project in this process."""
    with contextlib.redirect_stdout(io.StringIO()):
        status = console.execute(
            command.Options, command.main, command.USAGE, ["", *map(str, flags)]
        )
    if status:
        raise RuntimeError(f"{command.__name__} ended with status {status}")


def subjects(place: Path) -> list[Subject]:
    """All commands; what one reads is made in a folder when it is begun."""
    table = make_table(place / "raw", num_images=400, dim=16)
    data = place / "data"
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(table.settings(), data)
    run_flags = [f"--data={data}", "--arch=ltwin_2rnn", "--preset=demo"]
    run_flags += ["--hidden=8", "--m=2", "--M=4", "--max_epochs=6"]
    sweep_flags = [f"--data={data}", "--table=2", f"--only={ROW}", "--preset=demo"]
    sweep_flags += ["--hidden=4", "--max_epochs=2"]

    @functools.cache
    def trained() -> Path:
        executed(run, *run_flags, f"--out={place / 'run'}")
        (place / "run" / "metrics.json").unlink()
        shutil.rmtree(place / "run" / "saved_model")
        return place / "run"

    @functools.cache
    def swept() -> Path:
        executed(sweep, *sweep_flags, f"--out={place / 'sweep'}")
        return place / "sweep"

    @functools.cache
    def exported() -> Path:
        return export.export(calibrated(backbone="tiny"), place / "model").parent

    @functools.cache
    def photographed() -> Path:
        rng = np.random.default_rng(0)
        for number in range(40):
            colour = tuple(rng.integers(0, 256, 3).tolist())
            keywords = xmp(dc_subject=[f"tag {number % 10}"])
            write(place / "photos" / f"{number:04}.jpg", keywords, colour=colour)
        return place / "photos"

    return [
        Subject("prepare", "data_tools.prepare", lambda at: prepare_flags(table, at), Path.mkdir),
        Subject("run", "experiments.run", lambda at: [*run_flags, f"--out={at}/run"], Path.mkdir),
        Subject(
            "export, at the end of a run",
            "experiments.run",
            lambda at: [*run_flags, f"--out={at}/run"],
            lambda at: shutil.copytree(trained(), at / "run"),
        ),
        Subject(
            "sweep",
            "experiments.sweep",
            lambda at: [*sweep_flags, f"--out={at}/sweep"],
            Path.mkdir,
        ),
        Subject(
            "report",
            "experiments.report",
            lambda at: [f"{at}/sweep"],
            lambda at: shutil.copytree(swept(), at / "sweep"),
        ),
        Subject(
            "annotate",
            "experiments.annotate",
            lambda at: [
                *(f"--model={exported()}", "--xmp", "--threshold=0.3"),
                *(f"--jsonl={at}/a.jsonl", f"--csv={at}/a.csv", "."),
            ],
            lambda at: shutil.copytree(photographed(), at),
        ),
    ]


def prepare_flags(table: Table, place: Path) -> list[str]:
    """The flags of a preparation of the table into a folder."""
    return [*table.flags, "--M=6", "--splits=1", "--pools=train", f"--out={place}/data"]


def made(place: Path) -> dict[str, str]:
    """The checksum of what each file tells, without how long it took."""
    return {
        path.relative_to(place).as_posix(): told(path)
        for path in sorted(place.rglob("*"))
        if path.is_file() and not set(LEFT_OUT) & set(path.relative_to(place).parts)
    }


def told(path: Path) -> str:
    """The checksum of a file without how long things took."""
    found = hashlib.sha256()
    if path.suffix == ".json":
        found.update(json.dumps(untimed(json.loads(path.read_text()))).encode())
    elif path.name == "history.csv":
        rows = [line.split(",") for line in path.read_text().splitlines()]
        kept = [at for at, name in enumerate(rows[0]) if not name.startswith(TIMED)]
        found.update(repr([[row[at] for at in kept] for row in rows]).encode())
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            for name in sorted(arrays.files):
                array = arrays[name]
                if name == "history":
                    array = np.array(json.dumps(untimed(json.loads(array.item()))))
                found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: (
                    found.update(name.encode() + np.asarray(item).tobytes())
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    elif path.name == "saved_model.pb":
        for name, answer in sorted(answers(path.parent).items()):
            found.update(f"{name} {answer.numpy().tolist()}".encode())
    else:
        found.update(path.read_bytes())
    return found.hexdigest()


def answers(folder: Path) -> dict[str, tf.Tensor]:
    """What a SavedModel answers; TensorFlow names its functions otherwise in each process."""
    annotate = tf.saved_model.load(folder).signatures["annotate_features"]
    phi = annotate.structured_input_signature[1]["phi"]
    features = np.random.default_rng(0).random([5, phi.shape[1]], np.float32)
    tags = [["sky", "sea"], ["dog", ""], ["", ""], ["cat", "car"], ["unheard of", ""]]
    return annotate(phi=tf.constant(features), tags=tf.constant(tags))


def untimed(value: Any) -> Any:
    """What JSON holds, without the entries that say how long something took."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if not k.startswith(TIMED)}
    if isinstance(value, list):
        return [untimed(one) for one in value]
    return value
