"""Writes the model of a finished run in a format for other programs.

    python -m experiments.export RUN --out=model.onnx

The formats are in `tagnet/serving`: `portable.py`, `onnx_file.py`, `litert_file.py`,
`photoprism.py` and `preset.py`.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.annotation.shipped import say_shipped
from tagnet.errors import InputError
from tagnet.settings import SHIPPED_MODEL
from tagnet.system import console
from tagnet.system.console import option
from tagnet.system.files import remove_unfinished, write_json
from tagnet.system.runtime import import_tensorflow

if TYPE_CHECKING:
    from tagnet.serving.model import ServingModel

USAGE = """Writes the model of a finished run in a format for other programs.

  python -m experiments.export [RUN] --out=model.onnx

RUN is a run directory, a SavedModel or a preset; the default is the model that comes with tagnet.
OUT.json, beside the file, lists its labels and settings."""

ENDINGS = {"keras": ".keras", "onnx": ".onnx", "litert": ".tflite", "weights": ".h5"}
PHOTOPRISM, PRESET = FOLDERS = "photoprism", "preset"  # which need no ending
FORMATS = (*ENDINGS, *FOLDERS)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of an export."""

    arguments: tuple[str, ...] = ()
    format: str | None = option(None, f"one of {', '.join(FORMATS)} [by the ending of --out]")
    out: Path | None = option(
        None,
        f"file, {', '.join(ENDINGS.values())}, or folder, for {' and '.join(FOLDERS)} (required)",
    )

    def __post_init__(self) -> None:
        console.require_one_of("format", self.format, FORMATS)
        if len(self.arguments) > 1:
            raise InputError(
                f"give one run directory, SavedModel or preset; received {' '.join(self.arguments)}"
            )
        if self.out is None:
            raise InputError("--out is missing: the file to write")
        endings = [ENDINGS[self.format]] if self.format in ENDINGS else list(ENDINGS.values())
        if self.out.suffix not in endings and self.format not in FOLDERS:
            raise InputError(
                f"--out must end in {' or '.join(endings)}; received {str(self.out)!r}"
            )
        for path in written_by(self):
            if path.exists():
                raise InputError(f"{path}: exists; choose another --out or remove it")


def written_by(options: Options) -> list[Path]:
    """The model, and for a file the labels and settings beside it."""
    assert options.out is not None  # checked above
    card = options.out.with_name(f"{options.out.name}.json")
    return [options.out] if options.format in FOLDERS else [options.out, card]


def main(options: Options) -> None:
    """Runs the command."""
    folder = Path(*options.arguments or [SHIPPED_MODEL])
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow(f"TensorFlow and the model {folder}")
    from tagnet.serving.portable import card
    from tagnet.serving.preset import open_model

    deployment = open_model(folder)
    say_shipped(folder, deployment.settings.labels)
    out, *cards = written_by(options)
    remove_unfinished([out, *cards])
    _write(deployment, options.format, out)
    for path in cards:
        write_json(path, card(deployment))
    console.say(f"wrote {' and '.join(map(str, [out, *cards]))}: {deployment.settings.arch}")


def _write(deployment: "ServingModel", kind: str | None, out: Path) -> None:
    from tagnet.serving import litert_file, onnx_file, photoprism, portable, preset

    core, lines = deployment.core, deployment.lines
    if kind == PHOTOPRISM:
        photoprism.write_photoprism(deployment, out)
    elif kind == PRESET:
        preset.write_preset(deployment, out)
    elif out.suffix == ENDINGS["keras"]:
        portable.write_keras(core, out)
    elif out.suffix == ENDINGS["weights"]:
        portable.write_weights(core, out)
    elif out.suffix == ENDINGS["onnx"]:
        onnx_file.write_onnx(core, lines, out)
    else:
        litert_file.write_litert(core, lines, portable.neighbours_given(deployment), out)


if __name__ == "__main__":
    console.run(Options, main, USAGE)
