"""Prepares a data set for training.

  python -m data_tools.prepare --source=demo --out=DIR
  python -m data_tools.prepare --source=table --raw=TABLE --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=nus_wide --raw=FOLDER --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=photo_folder --raw=FOLDER --out=DIR

A second run does only what has changed; a killed one goes on where it was.
"""

from dataclasses import dataclass
from pathlib import Path

from data_tools.pipeline import prepare
from data_tools.settings import Settings
from tagnet import console
from tagnet.files import InputError


@dataclass(frozen=True)
class Options(Settings):
    """The settings of a preparation, and where and whether."""

    out: Path | None = console.option(None, "the prepared directory")
    dry_run: bool = console.option(False, "only say what would be done")


def main(options: Options) -> None:
    """Runs the command."""
    if options.out is None:
        raise InputError("--out is missing: where should the prepared directory be?")
    prepare(options, options.out, dry_run=options.dry_run)


if __name__ == "__main__":
    console.run(Options, main, str(__doc__))
