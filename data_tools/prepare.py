"""Prepares a data set for training.

  python -m data_tools.prepare --source=demo --out=DIR
  python -m data_tools.prepare --source=table --raw=TABLE --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=nus_wide --raw=FOLDER --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=photo_folder --raw=FOLDER --out=DIR

A second run does only what has changed; a killed one goes on where it was.
"""

import dataclasses
from pathlib import Path
from typing import Any

from data_tools.settings import Settings, flags
from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.runtime import import_tensorflow

Options = dataclasses.make_dataclass(
    "Options",
    [
        *flags(),
        ("out", Path | None, console.option(None, "the prepared directory")),
        ("dry_run", bool, console.option(False, "only say what would be done")),
        (
            "engine",
            str,
            console.option(
                "local", "local, or ray: by a cluster whose machines see the same files"
            ),
        ),
        (
            "address",
            str | None,
            console.option(None, "HOST:PORT of the cluster [one on this machine]"),
        ),
    ],
)


def main(options: Any) -> None:
    """Runs the command."""
    settings = vars(options)
    out, dry_run, engine, address = map(settings.pop, ("out", "dry_run", "engine", "address"))
    if out is None:
        raise InputError("--out is missing: where should the prepared directory be?")
    chosen = Settings.of(**settings)
    # TensorFlow takes seconds to import, which a wrong flag must not wait for.
    import_tensorflow()
    from data_tools.engines import opened
    from data_tools.pipeline import prepare

    if dry_run:
        prepare(chosen, out, dry_run=True)
        return
    with opened(engine, address) as worker:
        prepare(chosen, out, engine=worker)


if __name__ == "__main__":
    console.run(Options, main, str(__doc__))
