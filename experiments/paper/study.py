"""The runs of a curve, each scored under all its conditions."""

import dataclasses
import gc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from experiments.paper.conditions import UNCHANGED, Perturbation
from experiments.paper.curves import Curve, Measurement
from experiments.paper.perturbed import Setup, perturbed
from experiments.paper.published import Row
from experiments.reports.curve_report import Results
from experiments.runs import baselines, plan
from experiments.runs.baselines import BaselineSettings
from experiments.runs.plan import Common, Job
from experiments.runs.resolving import make
from experiments.runs.runner import restored, scoring_of
from experiments.runs.sweeping import Sweep
from tagnet.data.dataset import Part, PreparedDataset
from tagnet.data.tables import Tables, lookup_tables
from tagnet.errors import InputError
from tagnet.evaluation import metrics
from tagnet.evaluation.scoring import Scorer
from tagnet.system.checksums import sha256
from tagnet.system.files import read_json, write_json

# Under a condition: logits [n, L], and how many images have no neighbours by tags.
Score: TypeAlias = Callable[[Setup, Perturbation], tuple[np.ndarray, int]]


def lacking(row: Row, common: Common) -> str | None:
    """Why a model cannot be run on a data set; None if it can."""
    max_rank = plan.scaled(row, common.stored)[1]
    if row.m and max_rank > common.stored:
        return f"the data set has {common.stored} neighbours per image (prepare it with --M)"
    return plan.lacking(row, common.encodings)


@dataclasses.dataclass(frozen=True)
class Training(Job):
    """A run and its test conditions.

    Attributes:
        condition: what it is trained under.
        tests: what it is scored under.
    """

    condition: Perturbation
    tests: tuple[Perturbation, ...]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        usual = super().name
        return usual if self.condition == UNCHANGED else f"{self.condition.name}-{usual}"


def trainings(
    curves: Iterable[Curve],
    rows: list[Row],
    splits: tuple[int, ...],
    common: Common,
    dataset: PreparedDataset,
) -> list[Training]:
    """The runs that the curves need of these models, each once, with all its conditions."""
    tests: dict[tuple[Row, Perturbation], dict[Perturbation, None]] = {}
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


def trained_under(measure: Measurement, pool: str) -> Perturbation:
    """The training condition of a measurement, given the default `pool`."""
    return UNCHANGED if measure.training == Perturbation(pool=pool) else measure.training


class Study(Sweep[Training]):
    """Runs in one folder that are scored under conditions."""

    def directory(self, job: Training) -> Path:
        """The run directory."""
        return self.out / ("" if job.condition == UNCHANGED else "altered") / job.name

    def is_done(self, job: Training) -> bool:
        """Whether the run was scored under all its conditions."""
        return all(self.found(job, test) is not None for test in job.tests)

    def place(self, job: Training, test: Perturbation) -> Path:
        """The file of the result under a condition."""
        return self.directory(job) / "conditions" / f"{test.name}.json"

    def found(self, job: Training, test: Perturbation) -> dict[str, Any] | None:
        """The result under a condition; None if there is none."""
        try:
            found = read_json(self.place(job, test))
        except InputError:
            return None
        return found if found.pop("of", None) == self._of(job) else None

    def _of(self, job: Training) -> str:
        """Identifies the run that a result belongs to."""
        config = self.directory(job) / "config.json"
        return sha256(config) if config.exists() else ""

    def produce(self, job: Training) -> None:
        """Trains a run if needed, and scores it under the missing conditions."""
        data, out = self.dataset, self.directory(job)
        if dataclasses.replace(job.condition, pool=None) != UNCHANGED:
            seed = job.settings.seed
            data = perturbed(data, job.condition, job.split, seed, out / "neighbours")
        make(job.settings, data, out, exports=False)
        score = self._scores(job, data)
        labels = self.dataset.labels[self.dataset.split(job.split)["test"]]
        for test in job.tests:
            if self.found(job, test) is not None:
                continue
            situation = Setup(self.dataset, test, job.split, job.settings.seed)
            scores, by_features = score(situation, test)
            found = {"test": metrics.evaluate(labels, scores), "by_features": by_features}
            write_json(self.place(job, test), found | {"of": self._of(job)})
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

        def score(situation: Setup, test: Perturbation) -> tuple[np.ndarray, int]:
            pi = None if run.feed is None else situation.encoded(run.feed, data.words)
            tables = Tables(self.dataset.tables(None).phi, pi, len(data.vocabulary))
            scoring = scoring_of(preset)
            if test.samples is not None:
                scoring = dataclasses.replace(scoring, exact=False, samples=test.samples)
            found = situation.nearest("test", run.neighbours, run.pool, preset.max_rank)
            part = Part(split["test"], found.neighbours, found.distances)
            scores = Scorer(core, lookup_tables(tables), scoring)(part, run.seed)
            return scores, int(found.by_features.sum())

        return score


def results_of(study: Study, curve: Curve, pool: str) -> Results:
    """The results of a study at the points of a curve, given the default `pool`."""
    jobs = {(job.row, job.condition, job.split): job for job in study.jobs}
    splits = dict.fromkeys(job.split for job in study.jobs)
    found: Results = {}
    for measure in curve.measures:
        for split in splits:
            job = jobs.get((measure.row, trained_under(measure, pool), split))
            if job is not None and (one := study.found(job, measure.test)) is not None:
                found.setdefault(measure, {})[split] = one
    return found
