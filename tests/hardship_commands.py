"""The commands that meet hardships: where each works, and what it then gives."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from conftest import make_table
from corruption_subjects import TINY_ONE
from damage import contents, digest
from graphs import calibrated
from photographs import write, xmp

from data_tools import prepare
from experiments import annotate, report, run, sweep
from tagnet.serving import export
from tagnet.serving.annotator import Annotator
from tagnet.system import console
from tagnet.system.files import read_json

ROW = "ltn-n_id-m12-M24"
SMALL = ("--preset=demo", "--hidden=3", "--max_epochs=2")


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with what the commands read, and the disk that they write to."""

    folder: Path

    @property
    def out(self) -> Path:
        """What is written."""
        return self.folder / "disk" / "out"

    def make(self) -> None:
        """Makes what the commands read."""
        table = make_table(self.folder / "raw")
        (self.folder / "disk").mkdir()
        flags = [*table.flags, "--M=6", "--splits=2", f"--out={self.folder / 'data'}"]
        _must(prepare.OPTIONS, prepare, flags)
        for command in (COMMANDS["run"], COMMANDS["sweep"]):
            _must(command.options, command.module, command.flags(self))
            shutil.move(self.out, self.folder / command.name)
        trained = Path(shutil.copytree(self.folder / "run", self.folder / "trained"))
        for name in ("saved_model", "tensorboard"):
            shutil.rmtree(trained / name)
        for name in ("metrics.json", "checksums.sha256", "predictions.npz", "history.csv"):
            (trained / name).unlink()
        export.export(calibrated(backbone="tiny"), self.folder / "model")
        for number in range(4):
            words = xmp(dc_subject=[f"tag {number}"])
            write(self.folder / "photos" / f"{number}.png", words, colour=(60 * number, 0, 90))


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of the project.

    Attributes:
        name: what the table calls it.
        module: where it is.
        flags: in a place.
        inputs: the folder that it reads, below the place.
        result: all that it wrote, without what differs from time to time.
        begins: the folder, below the place, of what is there already.
    """

    name: str
    module: ModuleType
    flags: Callable[[Place], Sequence[str]]
    inputs: str
    result: Callable[[Path], Any]
    begins: str | None = None

    @property
    def options(self) -> Any:
        """The class of its options."""
        return self.module.OPTIONS if self.module is prepare else self.module.Options

    def __call__(self, place: Place) -> int:
        """Runs it in this process; the exit status."""
        usage = str(getattr(self.module, "USAGE", self.module.__doc__))
        with TINY_ONE:
            argv = [self.name, *self.flags(place)]
            return console.execute(self.options, self.module.main, usage, argv)


def _must(options: Any, module: ModuleType, flags: Sequence[str]) -> None:
    assert console.execute(options, module.main, "", ["", *flags]) == 0


def _prepare_flags(place: Place) -> list[str]:
    raw = place.folder / "raw"
    flags = [f"--raw={raw / 'manifest.csv'}", f"--features={raw / 'features.npz'}"]
    return [*flags, f"--word_vectors={raw / 'vectors.txt'}", "--M=6", f"--out={place.out}"]


def _run_flags(place: Place) -> list[str]:
    data = place.folder / "data"
    return ["--arch=ltwin", f"--data={data}", "--table=mmap", *SMALL, f"--out={place.out}"]


def _sweep_flags(place: Place) -> list[str]:
    data = place.folder / "data"
    flags = [f"--data={data}", "--table=2", f"--only={ROW}", "--splits=0,1"]
    return [*flags, *SMALL, f"--out={place.out}"]


def _annotate_flags(place: Place) -> list[str]:
    outputs = [f"--{ending}={place.out / f'answers.{ending}'}" for ending in ("jsonl", "csv")]
    outputs += [f"--html={place.out / 'page.html'}", f"--model={place.folder / 'model'}"]
    return [*outputs, str(place.folder / "photos")]


def run_result(out: Path) -> dict[str, str]:
    """Weights, figures, predictions and model of a run."""
    metrics = read_json(out / "metrics.json")
    told = {name: value for name, value in metrics.items() if not name.startswith("seconds")}
    history = pd.read_csv(out / "history.csv").drop(columns="seconds")
    found = {
        "metrics": told,
        "history": history.to_csv(),
        "predictions": (out / "predictions.npz").read_bytes(),
        "weights": (out / "checkpoints" / "best.weights.h5").read_bytes(),
    }
    if (out / "saved_model").exists():
        found["model"] = Annotator(export.load(out)).digest
    return {name: digest(value) for name, value in found.items()}


def sweep_result(out: Path) -> dict[str, dict[str, str]]:
    """The runs of a sweep, and what they have in common."""
    runs = {path.parent.name: run_result(path.parent) for path in sorted(out.glob("*/config.json"))}
    return runs | {"sweep": {"common": digest(read_json(out / "sweep.json"))}}


def report_result(out: Path) -> dict[str, str]:
    """All files of a report but the one that tells how long runs took."""
    written = contents(out / "report")
    return {file: told for file, told in written.items() if file != "costs.csv"}


def annotate_result(out: Path) -> dict[str, str]:
    """The files, and the answers up to the rounding of a batch of another size."""
    lines = (out / "answers.jsonl").read_text().splitlines()
    answers = [json.loads(line, parse_float=lambda text: round(float(text), 5)) for line in lines]
    for answer in answers:
        del answer["sum"]
    return contents(out) | {"answers.jsonl": digest(answers)}


COMMANDS = {
    command.name: command
    for command in (
        Command("prepare", prepare, _prepare_flags, "raw", contents),
        Command("run", run, _run_flags, "data", run_result),
        Command("export", run, _run_flags, "data", run_result, begins="trained"),
        Command("sweep", sweep, _sweep_flags, "data", sweep_result),
        Command(
            "report", report, lambda place: [str(place.out)], "disk/out", report_result, "sweep"
        ),
        Command("annotate", annotate, _annotate_flags, "photos", annotate_result),
    )
}
