"""Draws how models bear other tags, other neighbours and another vocabulary.

    python -m experiments.robustness --curve=vocabulary --data=DIR --splits=0,1,2

Makes the runs that are missing, scores each under every condition of the curve, and writes a
figure and a table. Runs are kept and shared as a sweep's are, those that are trained as usual
with a sweep in the same folder; what is trained otherwise stands in `altered/`, and what came
out under a condition in `conditions/` of the run.
"""

import dataclasses
import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from experiments import baselines, curve_report, plan
from experiments.baselines import BaselineSettings
from experiments.conditions import USUAL, Altered, Condition, Situation
from experiments.curve_report import Results
from experiments.curves import CURVES, Curve, Measure
from experiments.embedded import embedded
from experiments.paper import Row
from experiments.plan import Common, Job
from experiments.run import make
from experiments.runner import restored, scoring_of
from experiments.sweep import SharedTables, Sweep
from tagnet import console, layers, metrics
from tagnet.checksums import read_sealed, sha256, write_sealed
from tagnet.console import option, require_all_of
from tagnet.dataset import Part, PreparedDataset, Tables
from tagnet.files import InputError, remove_leftovers
from tagnet.scoring import Scorer

USAGE = f"""Draws how models bear other tags, other neighbours and another vocabulary.

  python -m experiments.robustness --curve=vocabulary [--data=DIR] [--splits=0,1,2] [--out=DIR]

curves: {", ".join(CURVES)}"""


# Under a condition: logits [n, L], and how many images have no neighbours by tags.
Score: TypeAlias = Callable[[Situation, Condition], tuple[np.ndarray, int]]


@dataclasses.dataclass(frozen=True)
class Options(plan.RowFlags):
    """The flags of the command."""

    curve: tuple[str, ...] = option((), "which curves, see above")

    def __post_init__(self) -> None:
        if not self.curve:
            raise InputError(f"--curve must be of {', '.join(CURVES)}; received none")
        require_all_of("curve", self.curve, CURVES)
        self.check_rows([row.name for row in rows_of(self.curve)])


def rows_of(names: Iterable[str]) -> list[Row]:
    """The models of the curves with these names, each once."""
    return list(dict.fromkeys(measure.row for name in names for measure in CURVES[name].measures))


def main(options: Options) -> None:
    """Runs the command; ends with status 1 where a run failed."""
    dataset = SharedTables(options.data or embedded(), table=None)
    common = plan.common_of(options, dataset)
    splits = plan.splits_of(options, dataset)
    out = options.out or plan.default_folder(common)
    curves = {name: CURVES[name] for name in options.curve}
    rows = [row for row in rows_of(curves) if not options.only or row.name in options.only]
    reasons = {row: reason for row in rows if (reason := lacking(row, common))}
    served = [row for row in rows if row not in reasons]
    jobs = trainings(curves.values(), served, splits, common, dataset)
    if (out / "sweep.json").exists():
        plan.settle(out, common)
    study = Study(out, jobs, dataset)
    tests = sum(len(job.tests) for job in jobs)
    console.say(
        f"{common.dataset}, preset {common.preset}, pool {common.pool}, seed {common.seed}: "
        f"{', '.join(curves)}: {len(jobs)} runs scored under {tests} conditions; "
        f"{len(study.left)} runs to make or to score; into {out}"
    )
    for row, reason in reasons.items():
        console.say(f"  {row.name}: left out, {reason}")
    if options.dry_run:
        return
    plan.settle(out, common)
    remove_leftovers(out / "curves")
    study.run()
    console.say()
    for name, curve in curves.items():
        curve_report.write(out / "curves", name, curve, results_of(study, curve, common.pool))
    study.conclude(f"figures and tables: {out / 'curves'}")


def lacking(row: Row, common: Common) -> str | None:
    """Why a model cannot be run on a data set; None if it can."""
    max_rank = plan.scaled(row, common.stored)[1]
    if row.m and max_rank > common.stored:
        return f"the data set has {common.stored} neighbours an image (prepare it with --M)"
    return plan.lacking(row, common.encodings)


@dataclasses.dataclass(frozen=True)
class Training(Job):
    """A run, and the conditions that it is scored under.

    Attributes:
        condition: what it is trained under.
        tests: what it is scored under.
    """

    condition: Condition
    tests: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        usual = super().name
        return usual if self.condition == USUAL else f"{self.condition.name}-{usual}"


def trainings(
    curves: Iterable[Curve],
    rows: list[Row],
    splits: tuple[int, ...],
    common: Common,
    dataset: PreparedDataset,
) -> list[Training]:
    """The runs that the curves need of these models, each once, with all its conditions."""
    tests: dict[tuple[Row, Condition], dict[Condition, None]] = {}
    for curve in curves:
        for measure in curve.measures:
            if measure.row in rows:
                key = measure.row, trained_under(measure, common.pool)
                tests.setdefault(key, {})[measure.test] = None
    return [
        Training(job.row, job.split, job.settings, condition, tuple(found))
        for split in splits
        for (row, condition), found in tests.items()
        for job in plan.jobs(
            [row],
            (split,),
            dataclasses.replace(common, pool=condition.pool or common.pool),
            dataset,
        )
    ]


def trained_under(measure: Measure, pool: str) -> Condition:
    """What a measure's model is trained under, where `pool` is what is usual."""
    return USUAL if measure.training == Condition(pool=pool) else measure.training


class Study(Sweep[Training]):
    """Runs in one folder that are scored under conditions."""

    def directory(self, job: Training) -> Path:
        """The run directory."""
        return self.out / ("" if job.condition == USUAL else "altered") / job.name

    def is_done(self, job: Training) -> bool:
        """Whether the run was scored under all its conditions."""
        return all(self.found(job, test) is not None for test in job.tests)

    def place(self, job: Training, test: Condition) -> Path:
        """Where it is written what came out under a condition."""
        return self.directory(job) / "conditions" / f"{test.name}.json"

    def found(self, job: Training, test: Condition) -> dict[str, Any] | None:
        """What came out under a condition; None where that is not there as it was written."""
        try:
            found = read_sealed(self.place(job, test))
        except InputError:
            return None
        return found if found.pop("of", None) == self._of(job) else None

    def _of(self, job: Training) -> str:
        """What tells the runs apart that something came out of."""
        config = self.directory(job) / "config.json"
        return sha256(config) if config.exists() else ""

    def produce(self, job: Training) -> None:
        """Trains a run unless it is there, and scores it under what it was not scored under."""
        data, out = self.dataset, self.directory(job)
        if dataclasses.replace(job.condition, pool=None) != USUAL:
            seed = job.settings.seed
            data = Altered(data, job.condition, job.split, seed, out / "neighbours")
        make(job.settings, data, out, exports=False)
        score = self._scores(job, data)
        labels = self.dataset.labels[self.dataset.split(job.split)["test"]]
        for test in job.tests:
            if self.found(job, test) is not None:
                continue
            situation = Situation(self.dataset, test, job.split, job.settings.seed)
            scores, by_features = score(situation, test)
            found = {"test": metrics.evaluate(labels, scores), "by_features": by_features}
            write_sealed(self.place(job, test), found | {"of": self._of(job)})
            gc.collect()  # the tables of a condition are large

    def _scores(self, job: Training, data: PreparedDataset) -> Score:
        """How the model of a finished run scores the test images.

        Args:
            job: the run.
            data: what it was trained on.
        """
        run, split, out = job.settings, self.dataset.split(job.split), self.directory(job)
        if isinstance(run, BaselineSettings):
            by_tags = baselines.restored(run, data, out)
            return lambda situation, _: (by_tags(situation.tags), 0)
        core, preset = restored(run, data, out), run.settings
        known = data.words if isinstance(data, Altered) else None

        def score(situation: Situation, test: Condition) -> tuple[np.ndarray, int]:
            pi = None if run.feed is None else situation.encoded(run.feed, known)
            tables = Tables(self.dataset.tables(None).phi, pi, len(data.vocabulary))
            scoring = scoring_of(preset)
            if test.samples is not None:
                scoring = dataclasses.replace(scoring, exact=False, samples=test.samples)
            found = situation.nearest("test", run.neighbours, run.pool, preset.max_rank)
            part = Part(split["test"], found.neighbours, found.distances)
            scores = Scorer(core, layers.lookups(tables), scoring)(part, run.seed)
            return scores, int(found.by_features.sum())

        return score


def results_of(study: Study, curve: Curve, pool: str) -> Results:
    """What the runs of a study gave at the points of a curve; `pool` is what is usual."""
    jobs = {(job.row, job.condition, job.split): job for job in study.jobs}
    splits = dict.fromkeys(job.split for job in study.jobs)
    found: Results = {}
    for measure in curve.measures:
        for split in splits:
            job = jobs.get((measure.row, trained_under(measure, pool), split))
            if job is not None and (one := study.found(job, measure.test)) is not None:
                found.setdefault(measure, {})[split] = one
    return found


if __name__ == "__main__":
    console.run(Options, main, USAGE)
