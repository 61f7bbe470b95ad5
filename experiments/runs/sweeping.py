"""Makes the missing runs of a folder; several processes can share it."""

import datetime
import gc
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import keras
import tensorflow as tf

from experiments.paper import published
from experiments.paper.published import Row
from experiments.runs import plan
from experiments.runs.options import BASELINES
from experiments.runs.plan import Common, Job
from experiments.runs.resolving import make
from experiments.runs.results import read_checked
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import CannotWrite
from tagnet.system import console, locks
from tagnet.system.console import counted
from tagnet.system.files import os_error_reason, read_json, remove_unfinished, write_json

AnyJob = TypeVar("AnyJob", bound=Job)
POLL = 5.0  # seconds between looks at the runs that others are making


class Sweep(Generic[AnyJob]):
    """The runs of one folder.

    Args:
        out: the folder.
        jobs: the runs that are wanted.
        dataset: what they run on; its features are read once for all of them.
        exports: whether runs write a SavedModel.
    """

    def __init__(
        self, out: Path, jobs: Sequence[AnyJob], dataset: PreparedDataset, exports: bool = False
    ) -> None:
        self._exports = exports
        self.out = out
        self.jobs = jobs
        self.dataset = dataset
        # What failed before this sweep began is tried again, what fails meanwhile is not.
        self._old_failures = {job.name: self._failure(job) for job in jobs}

    @property
    def left(self) -> list[AnyJob]:
        """The runs that are neither done nor failed."""
        return [job for job in self.jobs if self.is_left(job)]

    def is_left(self, job: AnyJob) -> bool:
        """Whether the run is neither done nor failed."""
        return not self.is_done(job) and not self.has_failed(job)

    def is_done(self, job: AnyJob) -> bool:
        """Whether the run is finished."""
        return (self.directory(job) / "metrics.json").exists()

    def directory(self, job: AnyJob) -> Path:
        """The run directory."""
        return self.out / job.name

    def has_failed(self, job: AnyJob) -> bool:
        """Whether the run failed since this sweep began."""
        failure = self._failure(job)
        return failure is not None and failure != self._old_failures[job.name]

    def run(self) -> None:
        """Makes all runs that are left, and waits for those that other processes are making.

        Raises:
            CannotWrite: the data set was removed meanwhile, or the system refuses to write.
        """
        # Every run traces its functions anew, which TensorFlow warns of.
        tf.get_logger().setLevel("ERROR")
        waiting = False
        while left := self.left:
            if any([self._attempt(job) for job in left]):
                waiting = False
                continue
            if not waiting:
                for job in left:
                    who = locks.holder(self.out / "locks", job.name)
                    console.say(f"waiting for {job.name} ({who or 'another process'})")
            waiting = True
            time.sleep(POLL)
        remove_unfinished([self.out / "sweep.json"])  # of one that was killed at its start

    def seconds_left(self) -> float | None:
        """Estimated seconds left, from finished runs; None if there are none."""
        took: dict[str, list[float]] = {}
        for job in self.jobs:
            if self.is_done(job):
                seconds = self._results(job)["seconds"]
                took.setdefault(job.row.arch, []).append(seconds)
        if not took:
            return None
        usual = {arch: sum(seconds) / len(seconds) for arch, seconds in took.items()}
        other = sum(usual.values()) / len(usual)
        left = self.left
        at_work = sum(locks.holder(self.out / "locks", job.name) is not None for job in left)
        return sum(usual.get(job.row.arch, other) for job in left) / (1 + at_work)

    def conclude(self, last: str) -> None:
        """Prints a summary and `last`; ends the process with status 1 if a run failed."""
        failed = [job for job in self.jobs if self.has_failed(job)]
        console.say(f"{len(self.jobs) - len(failed)} of {counted(len(self.jobs), 'run')} done")
        for job in failed:
            console.say(f"  failed: {job.name}", result=True)
        console.say(last)
        if failed:
            sys.exit(
                f"error: {len(failed)} of {counted(len(self.jobs), 'run')} failed; "
                f"see {self.out / 'failed'}"
            )

    def _attempt(self, job: AnyJob) -> bool:
        """Makes a run unless another process is making it; returns whether it did."""
        lock = locks.try_lock(self.out / "locks", job.name)
        if lock is None:
            return False
        try:
            if self.is_left(job):  # it may have been made since we looked
                self._make(job, lock)
        finally:
            lock.release()
        if self.is_left(job):  # another process makes it
            return False
        self._tell(job)
        return True

    def _make(self, job: AnyJob, lock: locks.Lock) -> None:
        console.say()
        try:
            self.produce(job)
            self._failure_path(job).unlink(missing_ok=True)
        except Exception as error:
            if lock.lost or isinstance(error, locks.InUse):  # another process makes the run
                return
            self.dataset.require()
            if isinstance(error, CannotWrite) or os_error_reason(error) is not None:
                raise  # what comes next would be refused too
            self._record(job, error)  # whatever it is, the other runs do not depend on it
        finally:
            forget_graphs()

    def produce(self, job: AnyJob) -> None:
        """Makes a run; this process holds its lock."""
        make(job.settings, self.dataset, self.directory(job), exports=self._exports)

    def _record(self, job: AnyJob, error: Exception) -> None:
        record = {
            "id": uuid.uuid4().hex,
            "error": f"{type(error).__name__}: {error}",
            "machine": locks.machine(),
            "traceback": traceback.format_exc(),
        }
        write_json(self._failure_path(job), record)

    def _results(self, job: AnyJob) -> dict[str, Any]:
        return read_checked(self.directory(job))

    def _failure_path(self, job: AnyJob) -> Path:
        return self.out / "failed" / f"{job.name}.json"

    def _failure(self, job: AnyJob) -> dict[str, Any] | None:
        path = self._failure_path(job)
        return read_json(path) if path.exists() else None

    def _tell(self, job: AnyJob) -> None:
        """Prints a line on a finished or failed run and the time left."""
        if failure := self._failure(job):
            how = f"FAILED, {' '.join(failure['error'].split())}; see {self._failure_path(job)}"
        else:
            test = self._results(job)["test"]
            maps = (100 * test[metric] for metric in published.MAPS)
            how = "mAP per label {:.2f}, per image {:.2f}".format(*maps)
        left = len(self.left)
        console.say(
            f"[{len(self.jobs) - left} of {len(self.jobs)}] {job.name}: {how}; "
            f"{left} left{until(self.seconds_left()) if left else ''}"
        )


def forget_graphs() -> None:
    """Frees the graphs of a run, which Keras keeps until its session is cleared."""
    keras.backend.clear_session()
    gc.collect()


def until(seconds: float | None) -> str:
    """The time left and the time of the end: `, about 1 h 05 min, until Mon 23:40`."""
    if seconds is None:
        return ""
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    length = f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
    return f", about {length}, until {end:%a %H:%M}"


def announce(rows: Sequence[Row], splits: Sequence[int], common: Common, sweep: Sweep) -> None:
    """Prints what there is to do."""
    left = len(sweep.left)
    served = [row for row in rows if not plan.lacking(row, common.encodings)]
    console.say(
        f"{common.dataset}, preset {common.preset}, pool {common.pool}, seed {common.seed}: "
        f"{counted(len(served), 'row')} x {counted(len(splits), 'split')} = "
        f"{counted(len(sweep.jobs), 'run')}; "
        f"{len(sweep.jobs) - left} done, {left} to make{until(sweep.seconds_left())}; "
        f"into {sweep.out}"
    )
    for row in rows:
        m, max_rank = plan.scaled(row, common.stored)
        if reason := plan.lacking(row, common.encodings):
            console.say(f"  {row.name}: skipped, {reason}")
        elif row.arch in BASELINES:
            console.say(f"  {row.name}")
        else:
            scaled = "" if (m, max_rank) == (row.m, row.max_rank) else " (scaled to the data set)"
            console.say(f"  {row.name}: (m, M) = ({m}, {max_rank}){scaled}")
