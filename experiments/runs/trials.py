"""The trials of a hyper-parameter search, in a journal that processes can share.

Each trial's values depend on the seed and on the number and results of earlier trials, not on
how often the search was interrupted. It needs the extra `search`.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from experiments.runs.sweeping import POLL
from tagnet.errors import InputError
from tagnet.system import console, locks

JOURNAL = "search.journal"
ASKING = 0.05  # seconds between attempts at being the one who chooses the next trial
OVER = (TrialState.COMPLETE, TrialState.PRUNED)

Values = dict[str, float]  # of what is searched


def ranges(max_rank: int) -> dict[str, BaseDistribution]:
    """The range of each setting; log-uniform for λ and learning rate.

    Args:
        max_rank: M.
    """
    return {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "l2": FloatDistribution(1e-7, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.8),
        "hidden": IntDistribution(50, 1000, log=True),
        "m": IntDistribution(1, max_rank),
    }


def one_of(values: Sequence[float]) -> BaseDistribution:
    """A setting that takes one of these values."""
    return CategoricalDistribution(values)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial that this process makes.

    Attributes:
        asked: Optuna's trial.
        index: number of the trial, from 0.
        values: the values that it tries.
        lock: tells others that it is being made.
    """

    asked: optuna.Trial
    index: int
    values: Values
    lock: locks.Lock


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        index, values: see `Trial`.
        value, found: as given to `Trials.complete`; None if training diverged.
    """

    index: int
    values: Values
    value: float | None
    found: dict[str, Any] | None


class Trials:
    """The trials in a folder.

    Args:
        out: the folder.
        space: the range of each searched setting.
        first: values to try before any are sampled.
        seed: seed of the sampler.
        num_trials: how many trials to make.

    Raises:
        InputError: the journal is damaged.
    """

    def __init__(
        self,
        out: Path,
        space: Mapping[str, BaseDistribution],
        first: Sequence[Values],
        seed: int,
        num_trials: int,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = _opened(out / JOURNAL)
        self._locks = out / "locks"
        self._space = dict(space)
        self._first = first
        self._seed = seed
        self._num_trials = num_trials

    def tried(self) -> list[TrialResult]:
        """The finished trials, in the order in which they were chosen."""
        found = [
            TrialResult(
                trial.user_attrs["place"],
                trial.user_attrs["values"],
                trial.value,
                trial.user_attrs.get("found"),
            )
            for trial in self._trials(OVER)
        ]
        return sorted(found, key=lambda tried: tried.index)

    def seconds(self) -> float | None:
        """Mean seconds per trial; None if none is finished."""
        took = [trial.duration.total_seconds() for trial in self._trials(OVER) if trial.duration]
        return sum(took) / len(took) if took else None

    def next(self) -> Trial | None:
        """The next trial, locked; None if all are finished. Waits for other processes' trials."""
        waiting = False
        while True:
            with locks.wait_for_lock(self._locks, "asking", ASKING):
                self._give_up_the_orphaned()
                chosen = self._trials((*OVER, TrialState.RUNNING))
                if len(chosen) < self._num_trials:
                    return self._ask()
            running = sum(trial.state == TrialState.RUNNING for trial in chosen)
            if not running:
                return None
            if not waiting:
                console.say(f"waiting for {console.counted(running, 'trial')} of other processes")
            waiting = True
            time.sleep(POLL)

    def complete(self, trial: Trial, value: float, found: Mapping[str, Any]) -> None:
        """Records the result of a trial: its value (higher is better) and data to keep."""
        if not trial.lock.lost:
            trial.asked.set_user_attr("found", dict(found))
            self._study.tell(trial.asked, value)

    def prune(self, trial: Trial) -> None:
        """Records that training with these values diverged."""
        if not trial.lock.lost:
            self._study.tell(trial.asked, state=TrialState.PRUNED)

    def _trials(self, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _give_up_the_orphaned(self) -> None:
        """Marks the trials of killed processes as failed."""
        free = [
            trial.number
            for trial in self._trials((TrialState.RUNNING,))
            if locks.holder(self._locks, _name(trial.number)) is None
        ]
        # Read again: one that ended since is told before its lock is released.
        for trial in self._trials((TrialState.RUNNING,)):
            if trial.number in free:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _ask(self) -> Trial:
        """Chooses the next trial; the caller holds the lock on choosing."""
        taken = {trial.user_attrs["place"] for trial in self._trials((*OVER, TrialState.RUNNING))}
        index = min(set(range(len(taken) + 1)) - taken)
        # One that waits was put there by a process that was killed before it asked for it.
        if index < len(self._first) and not self._trials((TrialState.WAITING,)):
            self._study.enqueue_trial(dict(self._first[index]))
        # A sampler of its own for every trial: what it gives does not depend on those before.
        seed = int(np.random.SeedSequence([self._seed, index]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        asked = self._study.ask(self._space)
        values = {name: _rounded(value) for name, value in asked.params.items()}
        lock = locks.try_lock(self._locks, _name(asked.number))
        assert lock is not None  # the number is new
        asked.set_user_attr("values", values)
        asked.set_user_attr("place", index)
        return Trial(asked, index, values, lock)


def _name(number: int) -> str:
    return f"trial-{number}"


def _rounded(value: float) -> float:
    """Rounds to three digits, so that the printed value is the one that was tried.

    >>> _rounded(0.000123456), _rounded(512)
    (0.000123, 512)
    """
    return value if isinstance(value, int) else float(f"{value:.3g}")


def _opened(journal: Path) -> optuna.Study:
    if journal.exists() and journal.read_bytes()[-1:] not in (b"", b"\n"):
        raise InputError(f"{journal}: is cut off; remove its last, incomplete line")
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # a damaged journal fails in whatever way its lines suggest
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{journal}: not the journal of a search ({reason})") from error
