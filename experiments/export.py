"""Writes the model of a finished run in a format for other programs.

    python -m experiments.export RUN --out=model.onnx

The formats are in `tagnet/serving`: `portable.py`, `onnx_file.py`, `litert_file.py`.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option
from tagnet.system.files import remove_unfinished, write_json
from tagnet.system.runtime import import_tensorflow

if TYPE_CHECKING:
    from tagnet.serving.model import ServingModel

USAGE = """Writes the model of a finished run in a format for other programs.

  python -m experiments.export RUN --out=model.onnx

RUN is a run directory or a SavedModel. OUT.json, beside the file, lists its labels and settings."""

ENDINGS = {"keras": ".keras", "onnx": ".onnx", "litert": ".tflite", "weights": ".h5"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of an export."""

    arguments: tuple[str, ...] = ()
    format: str | None = option(None, f"one of {', '.join(ENDINGS)} [by the ending of --out]")
    out: Path | None = option(None, f"file to write, {', '.join(ENDINGS.values())} (required)")

    def __post_init__(self) -> None:
        console.require_one_of("format", self.format, ENDINGS)
        if len(self.arguments) != 1:
            raise InputError(
                "give one run directory or SavedModel; "
                f"received {' '.join(self.arguments) or 'none'}"
            )
        if self.out is None:
            raise InputError("--out is missing: the file to write")
        endings = [ENDINGS[self.format]] if self.format else list(ENDINGS.values())
        if self.out.suffix not in endings:
            raise InputError(
                f"--out must end in {' or '.join(endings)}; received {str(self.out)!r}"
            )
        for path in (self.out, card_of(self.out)):
            if path.exists():
                raise InputError(f"{path}: exists; choose another --out or remove it")


def card_of(out: Path) -> Path:
    """Where labels and settings are written for a model in `out`."""
    return out.with_name(f"{out.name}.json")


def main(options: Options) -> None:
    """Runs the command."""
    assert options.out is not None  # checked above
    (folder,) = options.arguments
    kind = next(name for name, ending in ENDINGS.items() if ending == options.out.suffix)
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow(f"TensorFlow and the model {folder}")
    from tagnet.serving import portable
    from tagnet.serving.export import load

    deployment = load(folder)
    remove_unfinished([options.out, card_of(options.out)])
    _write(deployment, kind, options.out)
    write_json(card_of(options.out), portable.card(deployment))
    console.say(f"wrote {options.out} and {card_of(options.out)}: {deployment.settings.arch}")


def _write(deployment: "ServingModel", kind: str, out: Path) -> None:
    from tagnet.serving import litert_file, onnx_file, portable

    core, temperature = deployment.core, float(deployment.temperature)
    if kind == "keras":
        portable.write_keras(core, out)
    elif kind == "weights":
        portable.write_weights(core, out)
    elif kind == "onnx":
        onnx_file.write_onnx(core, temperature, out)
    else:
        litert_file.write_litert(core, temperature, portable.neighbours_given(deployment), out)


if __name__ == "__main__":
    console.run(Options, main, USAGE)
