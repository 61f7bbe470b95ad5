"""The runs of a sweep: the paper's rows times the splits, in one folder.

A sweep's folder holds runs of one data set with one preset, pool and seed, of any number
of tables and figures; the rows that these share are run once. `sweep.json` says what they
have in common, each `ROW-splitK/` is a run directory, `locks/` tells who is at work on
what, and `failed/` has a record of each run that did not come to its end.
"""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.paper.published import Row
from experiments.runs.baselines import BaselineSettings
from experiments.runs.options import BASELINES, Flags, Options
from experiments.runs.resolving import default_preset, resolve
from experiments.runs.runner import RunSettings
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.system.files import read_json, write_json

LARGEST = 24  # M of the paper's tables


@dataclasses.dataclass(frozen=True)
class Common:
    """The settings that all runs of a sweep share; the fields of `sweep.json`.

    Attributes:
        data: the prepared directory.
        dataset: its name.
        encodings, pools: what it has.
        stored: how many neighbours it has for each image.
        preset, pool, seed, hidden, max_epochs: the flags of every run.
    """

    data: str
    dataset: str
    encodings: tuple[str, ...]
    stored: int
    preset: str
    pool: str
    seed: int
    hidden: int | None
    max_epochs: int | None


def common_of(options: Flags, dataset: PreparedDataset) -> Common:
    """The settings that all runs of a command with these options share."""
    return Common(
        data=str(dataset.directory.resolve()),
        dataset=dataset.name,
        encodings=tuple(dataset.encodings),
        stored=min(dataset.max_rank(encoding, options.pool) for encoding in dataset.encodings),
        preset=options.preset or default_preset(dataset),
        pool=options.pool,
        seed=options.seed,
        hidden=options.hidden,
        max_epochs=options.max_epochs,
    )


def splits_of(options: Flags, dataset: PreparedDataset) -> tuple[int, ...]:
    """The requested splits; by default all."""
    return tuple(map(int, options.splits)) or tuple(range(dataset.num_splits))


def default_folder(common: Common) -> Path:
    """The default folder of runs with these settings."""
    name = f"sweep-{common.dataset}-{common.preset}-{common.pool}-seed{common.seed}"
    return Path("runs") / name


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    row: Row
    split: int
    settings: RunSettings | BaselineSettings

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return f"{self.row.name}-split{self.split}"


def scaled(row: Row, stored: int) -> tuple[int, int]:
    """(m, M) for a data set with `stored` neighbours per image: the row's own if they suffice.

    >>> row = Row("ltn", "id", None, 6, 12)
    >>> scaled(row, 24), scaled(row, 12)
    ((6, 12), (3, 6))
    """
    share = min(stored, LARGEST)
    return max(1, row.m * share // LARGEST), max(1, row.max_rank * share // LARGEST)


def lacking(row: Row, encodings: tuple[str, ...]) -> str | None:
    """Why a row cannot be run on a data set with these encodings; None if it can."""
    if missing := [name for name in row.encodings if name not in encodings]:
        return f"the data set has no {' and no '.join(missing)} (it has {', '.join(encodings)})"
    return None


def jobs(
    rows: list[Row], splits: tuple[int, ...], common: Common, dataset: PreparedDataset
) -> list[Job]:
    """The runs of the rows that the data set supports, split by split.

    Raises:
        InputError: the data set lacks a split, the pool, or features.
    """
    found = []
    for split in splits:
        for row in rows:
            if lacking(row, common.encodings):
                continue
            options = Options(
                arch=row.arch,
                split=split,
                neighbours=row.neighbours or "id",
                feed=row.feed,
                seed=common.seed,
                pool=common.pool,
                **_flags_of_graphs(row, common),
            )
            found.append(Job(row, split, resolve(options, dataset)))
    return found


def _flags_of_graphs(row: Row, common: Common) -> dict[str, Any]:
    if row.arch in BASELINES:
        return {}
    m, max_rank = scaled(row, common.stored)
    chosen = {"preset": common.preset, "hidden": common.hidden, "max_epochs": common.max_epochs}
    return {"m": m, "M": max_rank, **chosen}


def settle(out: Path, common: Common) -> None:
    """Writes `sweep.json`, or checks that an existing one has the same settings.

    Raises:
        InputError: it has others, or `out` cannot be written to.
    """
    path = out / "sweep.json"
    if not path.exists():
        write_json(path, dataclasses.asdict(common))
    there = read_common(out)
    for field in dataclasses.fields(Common):
        old, new = getattr(there, field.name), getattr(common, field.name)
        if old != new:
            raise InputError(
                f"{out}: holds a sweep with {field.name} {old!r}; received {new!r}; "
                "choose another --out"
            )


def read_common(out: Path) -> Common:
    """Reads `sweep.json`.

    Raises:
        InputError: it is missing or lacks a field.
    """
    path = out / "sweep.json"
    values: dict[str, Any] = read_json(path)
    fields = [field.name for field in dataclasses.fields(Common)]
    if missing := [name for name in fields if name not in values]:
        raise InputError(f"{path}: lacks the field {missing[0]!r}; received {sorted(values)}")
    chosen = {name: values[name] for name in fields}
    return Common(**chosen | {"encodings": tuple(chosen["encodings"])})
