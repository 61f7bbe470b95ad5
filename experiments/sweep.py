"""Makes the runs of a table or figure of the paper: what is missing, and nothing else.

    python -m experiments.sweep --table=3 --data=DIR --splits=0,1,2,3,4

A sweep that was stopped goes on when it is started again. Several may work in one folder,
also from machines that share its disk; none makes a run that another is making.
"""

import dataclasses
import datetime
import functools
import gc
import sys
import time
import traceback
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import keras

from experiments import paper, plan
from experiments.baselines import BASELINES, ROWS
from experiments.embedded import embedded
from experiments.plan import Common, Job
from experiments.presets import PRESETS
from experiments.run import make
from tagnet import claims, console
from tagnet.console import option, require_at_least
from tagnet.dataset import PreparedDataset, Tables
from tagnet.files import InputError, read_json, write_json
from tagnet.layers import placed

POLL = 5.0  # seconds between looks at the runs that others are making

USAGE = """Makes the runs of a table or figure of the paper: what is missing, and nothing else.

  python -m experiments.sweep --table=3 [--data=DIR] [--splits=0,1,2,3,4] [--out=DIR]
  python -m experiments.report DIR"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of a sweep."""

    table: tuple[str, ...] = option((), f"tables of the paper: {', '.join(paper.TABLES)}")
    figure: tuple[str, ...] = option((), f"figures of the paper: {', '.join(paper.FIGURES)}")
    baselines: bool = option(False, "the baselines: " + ", ".join(BASELINES))
    only: tuple[str, ...] = option((), "of their rows only these, by the names that are printed")
    data: Path | None = option(None, "a prepared directory [the embedded data set]")
    splits: tuple[str, ...] = option((), "which random splits [all that the data set has]")
    pool: str = option("open", "where neighbours come from: open, closed, train")
    preset: str | None = option(None, f"{', '.join(PRESETS)} [paper; without --data demo]")
    seed: int = option(0, "of weights, order, draws and dropout")
    hidden: int | None = option(None, "units of a hidden layer, h [the preset's]")
    max_epochs: int | None = option(None, "stop after so many epochs [the preset's]")
    export: bool = option(False, "write every run's SavedModel, with its training images")
    dry_run: bool = option(False, "say what would be run, and stop")
    out: Path | None = option(None, "the folder of the runs [runs/…, named after the settings]")

    def __post_init__(self) -> None:
        if not (self.table or self.figure or self.baselines):
            raise InputError("--table, --figure or --baselines must be given; received none")
        _check("table", self.table, paper.TABLES)
        _check("figure", self.figure, paper.FIGURES)
        _check("only", self.only, [row.name for row in self.rows])
        if wrong := [split for split in self.splits if not split.isdecimal()]:
            raise InputError(f"--splits must be numbers from 0; received {wrong[0]!r}")
        require_at_least(self, hidden=1, max_epochs=1, seed=0)

    @property
    def rows(self) -> list[paper.Row]:
        """The rows of the tables, the figures and the baselines, each once."""
        shown: list[paper.Table | paper.Figure] = [paper.TABLES[number] for number in self.table]
        shown += [paper.FIGURES[number] for number in self.figure]
        rows = [row for one in shown for row in paper.rows_of(one)]
        return list(dict.fromkeys([*rows, *(ROWS if self.baselines else ())]))


def _check(flag: str, values: tuple[str, ...], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise InputError(f"--{flag} must be of {', '.join(known)}; received {value!r}")


def main(options: Options) -> None:
    """Runs the command; ends with status 1 where a run failed."""
    dataset = SharedTables(options.data or embedded(), table=None)
    common = common_of(options, dataset)
    rows = [row for row in options.rows if not options.only or row.name in options.only]
    splits = tuple(map(int, options.splits)) or tuple(range(dataset.num_splits))
    jobs = plan.jobs(rows, splits, common, dataset)
    name = f"sweep-{dataset.name}-{common.preset}-{common.pool}-seed{common.seed}"
    out = options.out or Path("runs") / name
    if (out / "sweep.json").exists():
        plan.settle(out, common)
    sweep = Sweep(out, jobs, dataset, options.export)
    _announce(rows, splits, common, sweep)
    if options.dry_run:
        return
    plan.settle(out, common)
    sweep.run()
    _conclude(sweep)


def common_of(options: Options, dataset: PreparedDataset) -> Common:
    """What the runs of a sweep with these options have in common."""
    return Common(
        data=str(dataset.directory.resolve()),
        dataset=dataset.name,
        encodings=tuple(dataset.encodings),
        stored=min(dataset.max_rank(encoding, options.pool) for encoding in dataset.encodings),
        preset=options.preset or ("paper" if options.data else "demo"),
        pool=options.pool,
        seed=options.seed,
        hidden=options.hidden,
        max_epochs=options.max_epochs,
    )


class SharedTables(PreparedDataset):
    """A data set whose tables are put where they are looked up once, for all runs of a process.

    TensorFlow does not free the graph of a compiled training step, nor what it refers to
    (measured with 2.21). With tables of its own every run of a sweep would leave one behind.
    """

    @functools.cached_property
    def _placed(self) -> dict[str | None, Tables]:
        return {}

    def tables(self, feed: str | None) -> Tables:
        """See `PreparedDataset.tables`; the arrays are tensors."""
        if feed not in self._placed:
            tables = super().tables(feed)
            if feed:
                tables = dataclasses.replace(tables, phi=self.tables(None).phi)
            self._placed[feed] = placed(tables)
        return self._placed[feed]


class Sweep:
    """Runs in one folder, some done, some not.

    Args:
        out: the folder.
        jobs: the runs that are wanted.
        dataset: what they run on; its features are read once for all of them.
        exports: whether runs write a SavedModel.
    """

    def __init__(
        self, out: Path, jobs: Sequence[Job], dataset: PreparedDataset, exports: bool = False
    ) -> None:
        self._exports = exports
        self.out = out
        self.jobs = jobs
        self._dataset = dataset
        # What failed before this sweep began is tried again, what fails meanwhile is not.
        self._old_failures = {job.name: self._failure(job) for job in jobs}

    @property
    def left(self) -> list[Job]:
        """The runs that are neither done nor failed."""
        return [job for job in self.jobs if self.is_left(job)]

    def is_left(self, job: Job) -> bool:
        """Whether the run is neither done nor failed."""
        return not self.is_done(job) and not self.has_failed(job)

    def is_done(self, job: Job) -> bool:
        """Whether the run came to its end."""
        return (self.out / job.name / "metrics.json").exists()

    def has_failed(self, job: Job) -> bool:
        """Whether the run failed since this sweep began."""
        failure = self._failure(job)
        return failure is not None and failure != self._old_failures[job.name]

    def run(self) -> None:
        """Makes all runs that are left, and waits for those that others are making."""
        waiting = False
        while left := self.left:
            if any([self._attempt(job) for job in left]):
                waiting = False
                continue
            if not waiting:
                for job in left:
                    who = claims.holder(self.out / "claims", job.name)
                    console.say(f"waiting for {job.name}, which {who or 'another'} is making")
            waiting = True
            time.sleep(POLL)

    def seconds_left(self) -> float | None:
        """How long the rest will take, from the runs that are done; None while none is."""
        took: dict[str, list[float]] = {}
        for job in self.jobs:
            if self.is_done(job):
                seconds = read_json(self.out / job.name / "metrics.json")["seconds"]
                took.setdefault(job.row.arch, []).append(seconds)
        if not took:
            return None
        usual = {arch: sum(seconds) / len(seconds) for arch, seconds in took.items()}
        other = sum(usual.values()) / len(usual)
        left = self.left
        at_work = sum(claims.holder(self.out / "claims", job.name) is not None for job in left)
        return sum(usual.get(job.row.arch, other) for job in left) / (1 + at_work)

    def _attempt(self, job: Job) -> bool:
        """Makes a run, unless somebody else is making it."""
        claim = claims.claim(self.out / "claims", job.name)
        if claim is None:
            return False
        try:
            if self.is_left(job):  # it may have been made since we looked
                self._make(job, claim)
        finally:
            claim.release()
        self._tell(job)
        return True

    def _make(self, job: Job, claim: claims.Claim) -> None:
        console.say()
        try:
            out = self.out / job.name
            make(job.settings, self._dataset, out, exports=self._exports)
            self._failure_path(job).unlink(missing_ok=True)
        except Exception as error:  # whatever it is, the other runs do not depend on it
            if not claim.lost:
                self._record(job, error)
        finally:
            _forget_graphs()

    def _record(self, job: Job, error: Exception) -> None:
        record = {
            "id": uuid.uuid4().hex,
            "error": f"{type(error).__name__}: {error}",
            "machine": claims.machine(),
            "traceback": traceback.format_exc(),
        }
        write_json(self._failure_path(job), record)

    def _failure_path(self, job: Job) -> Path:
        return self.out / "failed" / f"{job.name}.json"

    def _failure(self, job: Job) -> dict[str, Any] | None:
        path = self._failure_path(job)
        return read_json(path) if path.exists() else None

    def _tell(self, job: Job) -> None:
        """One line on a run that ended, and on how long the rest will take."""
        if failure := self._failure(job):
            how = f"FAILED, {' '.join(failure['error'].split())}; see {self._failure_path(job)}"
        else:
            test = read_json(self.out / job.name / "metrics.json")["test"]
            maps = (100 * test[metric] for metric in paper.MAPS)
            how = "mAP per label {:.2f}, per image {:.2f}".format(*maps)
        left = len(self.left)
        console.say(
            f"[{len(self.jobs) - left} of {len(self.jobs)}] {job.name}: {how}; "
            f"{left} left{_until(self.seconds_left()) if left else ''}"
        )


def _forget_graphs() -> None:
    """Frees what a run leaves behind: Keras keeps every graph that it built until told not to."""
    keras.backend.clear_session()
    gc.collect()


def _until(seconds: float | None) -> str:
    """How long it will take and when it will end: `, about 1 h 05 min, until Mon 23:40`."""
    if seconds is None:
        return ""
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    length = f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
    return f", about {length}, until {end:%a %H:%M}"


def _announce(
    rows: Sequence[paper.Row], splits: Sequence[int], common: Common, sweep: Sweep
) -> None:
    """Says beforehand what there is to do."""
    left = len(sweep.left)
    served = [row for row in rows if not plan.lacking(row, common.encodings)]
    console.say(
        f"{common.dataset}, preset {common.preset}, pool {common.pool}, seed {common.seed}: "
        f"{len(served)} rows x {len(splits)} splits = {len(sweep.jobs)} runs; "
        f"{len(sweep.jobs) - left} done, {left} to make{_until(sweep.seconds_left())}; "
        f"into {sweep.out}"
    )
    for row in rows:
        m, max_rank = plan.scaled(row, common.stored)
        if reason := plan.lacking(row, common.encodings):
            console.say(f"  {row.name}: left out, {reason}")
        elif row.arch in BASELINES:
            console.say(f"  {row.name}")
        else:
            scaled = "" if (m, max_rank) == (row.m, row.max_rank) else " (scaled to the data set)"
            console.say(f"  {row.name}: (m, M) = ({m}, {max_rank}){scaled}")


def _conclude(sweep: Sweep) -> None:
    failed = [job for job in sweep.jobs if sweep.has_failed(job)]
    console.say()
    console.say(f"{len(sweep.jobs) - len(failed)} of {len(sweep.jobs)} runs are done")
    for job in failed:
        console.say(f"  failed: {job.name}")
    console.say(f"the tables and figures: python -m experiments.report {sweep.out}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    console.run(Options, main, USAGE)
