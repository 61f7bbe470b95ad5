"""A run directory: who makes it, with which settings, and what is there already."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tagnet
from experiments.runs.results import METRICS, VALIDATION, read_checked
from tagnet.errors import InputError
from tagnet.system.checksums import CHECKSUMS, HINT_RERUN
from tagnet.system.files import Check, read_json, remove_leftovers, write_json
from tagnet.system.locks import exclusive
from tagnet.system.runtime import version_of


@contextlib.contextmanager
def being_made(
    flat: dict[str, Any], out: Path, results: str = METRICS
) -> Iterator[tuple[dict[str, Any] | None, Check | None]]:
    """Yields a finished run's results, or locks `out` so that the run can be made.

    If there are no results it yields None and a function to call before each file of the run
    is written, see `files.atomic_write`.

    Args:
        flat: the settings of the run.
        out: the run directory.
        results: the file's name.

    Raises:
        InputError: `out` holds a run with other settings, another process is making it,
            or it cannot be written to.
    """
    file = out / results
    if file.exists() and not asks_for_more_epochs(flat, out):
        settle_run(flat, out)
        yield read_checked(out, results), None
        return
    with exclusive(out, "run") as lock:
        if asks_for_more_epochs(flat, out):
            _reopen(flat, out)
        settle_run(flat, out)
        remove_leftovers(out)
        yield (read_checked(out, results) if file.exists() else None), lock.check


def asks_for_more_epochs(flat: dict[str, Any], out: Path) -> bool:
    """Whether `out` holds a run with these settings but fewer epochs, so that it can go on."""
    config = out / "config.json"
    if not config.exists() or "max_epochs" not in flat:  # a baseline has no epochs
        return False
    there = read_checked(out, config.name)
    epochs = there.get("max_epochs")
    return _different(flat, there) == ["max_epochs"] and flat["max_epochs"] > (epochs or 0)


def _reopen(flat: dict[str, Any], out: Path) -> None:
    """Gives a run other settings and makes it unfinished; it goes on from its last epoch."""
    for name in (METRICS, VALIDATION, CHECKSUMS):
        (out / name).unlink(missing_ok=True)
    _write_settings(flat, out / "config.json")


def settle_run(flat: dict[str, Any], out: Path) -> None:
    """As `settle`, but reports damaged or missing settings as such.

    Settings with which nothing was made yet (another flag was wrong) give way.
    """
    config = out / "config.json"
    begun = any((out / name).exists() for name in (METRICS, VALIDATION, "checkpoints"))
    if config.exists() and begun:
        read_checked(out, config.name)
    elif config.exists():
        config.unlink()
    elif begun:
        raise InputError(f"{config}: is missing from an existing run; {HINT_RERUN}")
    settle(flat, out)


def settle(settings: dict[str, Any], out: Path, what: str = "run", file: str = "config") -> None:
    """Writes settings to a file of `out`, or checks that existing ones are the same.

    Args:
        settings: by name, as JSON has them.
        out: the folder.
        what: what it holds, for the message.
        file: the file's name without `.json`.

    Raises:
        InputError: `out` holds others, or cannot be written to.
    """
    config = out / f"{file}.json"
    if not config.exists():
        _write_settings(settings, config)
        return
    there = read_json(config)
    for name in _different(settings, there):
        raise InputError(
            f"{config}: holds a {what} with {name} {there.get(name)!r}; received "
            f"{settings[name]!r}; choose another --out or remove the folder"
        )


def _write_settings(settings: dict[str, Any], file: Path) -> None:
    """Writes settings with the versions of what their results depend on."""
    versions = {package: version_of(package) for package in ("tensorflow", "keras", "numpy")}
    write_json(file, settings | {"versions": versions | {"tagnet": tagnet.__version__}})


def _different(settings: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """The names of the settings that differ, without those that follow from another one."""
    names = [name for name, value in settings.items() if there.get(name) != value]
    if "max_epochs" in names and "min_epochs" in names:  # at most as many
        names.remove("min_epochs")
    return names
