"""Prepares a data set for training.

  python -m data_tools.prepare --source=demo --out=DIR
  python -m data_tools.prepare --source=table --raw=TABLE --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=nus_wide --raw=FOLDER --features=FEATURES --out=DIR
  python -m data_tools.prepare --source=photo_folder --raw=FOLDER --out=DIR

A rerun redoes only what has changed; an interrupted run resumes.
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
        ("out", Path | None, console.option(None, "directory to write (required)")),
        ("dry_run", bool, console.option(False, "print what would be done, and stop")),
        (
            "engine",
            str,
            console.option("local", "where to run: local, or ray (a cluster with a shared disk)"),
        ),
        (
            "address",
            str | None,
            console.option(None, "HOST:PORT of the Ray cluster [starts one on this machine]"),
        ),
    ],
)


def main(options: Any) -> None:
    """Runs the command."""
    settings = vars(options)
    out, dry_run, engine, address = map(settings.pop, ("out", "dry_run", "engine", "address"))
    if out is None:
        raise InputError("--out is missing: the prepared directory to write")
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
