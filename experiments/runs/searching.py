"""Searches for the hyper-parameters that do best on the validation split, trial by trial."""

import functools
import importlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.runs import options, plan, resolving
from experiments.runs.options import GRID, SearchOptions
from experiments.runs.run_directory import settle
from experiments.runs.runner import RunSettings, train_and_validate
from experiments.runs.sweeping import POLL, forget_graphs, until
from tagnet.data.dataset import PreparedDataset
from tagnet.errors import InputError
from tagnet.system import console, locks
from tagnet.system.files import remove_unfinished, write_text
from tagnet.training.loop import MONITOR, Diverged

if TYPE_CHECKING:
    from experiments.runs.trials import Trial, TrialResult, Trials, Values


def require_optuna() -> None:
    """Raises `InputError` unless Optuna is installed."""
    try:
        importlib.import_module("optuna")
    except ImportError as error:
        raise InputError("the search needs Optuna: pip install 'tagnet[search]'") from error


class Search:
    """A hyper-parameter search in a folder.

    Attributes:
        out: the folder.
        base: the run of the preset on the first split, over which trials change what is searched.
        splits: those whose validation parts are averaged over.

    Args:
        options: the flags.
        dataset: what the runs are made on.

    Raises:
        InputError: the data set lacks what the options ask for.
    """

    def __init__(self, options: SearchOptions, dataset: PreparedDataset) -> None:
        self._options = options
        self._dataset = dataset
        self.splits = plan.splits_of(options, dataset)
        self.base, *_ = [self._resolved(options.of_run(split)) for split in self.splits]
        self.out = options.out or Path("runs") / self._default_name()

    @functools.cached_property
    def _trials(self) -> "Trials":
        """The trials in the folder; created on first use."""
        from experiments.runs import trials  # Optuna is an extra

        options, flat = self._options, self.base.flat()
        settle(self._settings(), self.out, "search", "search")
        if options.grid:
            space = {"l2": trials.one_of(GRID)}
            first = [{"l2": value} for value in GRID]
        else:
            ranges = trials.ranges(flat["max_rank"])
            space = {name: ranges[name] for name in options.searched}
            first = [{name: flat[name] for name in space}]
        return trials.Trials(self.out, space, first, options.seed, options.num_trials)

    def make(self) -> None:
        """Makes the missing trials, and waits for those that other processes are making."""
        trials = self._trials  # writes `search.json` where there is none
        while (trial := trials.next()) is not None:
            try:
                self._attempt(trial)
            finally:
                trial.lock.release()
                forget_graphs()
            self._tell(trial)
        remove_unfinished([self.out / "search.json"])  # of one that was killed at its start

    def conclude(self) -> None:
        """Writes and prints the trials, best first, and the commands that make the best runs."""
        table = self._table()
        write_text(self.out / "trials.csv", table.to_csv(index=False))
        console.say()
        console.say(_printed(table), result=True)
        console.say()
        best = self._best()
        if best is None:
            raise InputError("search: every trial diverged")
        console.say("to score the best trial on the test split and export it:")
        for split in self.splits:
            made = self._options.of_run(split, **best.values, out=self._place(best.values, split))
            console.say(f"  {options.command_line(made)}")
        console.say(f"all trials     {self.out / 'trials.csv'}")
        console.say(f"TensorBoard    tensorboard --logdir={shlex.quote(str(self.out))}")

    def _attempt(self, trial: "Trial") -> None:
        """Makes the runs of a trial, unless training diverges."""
        found = {}
        for split in self.splits:
            settings = self._resolved(self._options.of_run(split, **trial.values))
            place = self._place(trial.values, split)
            console.say()
            # Two trials may have the same values.
            with locks.wait_for_lock(self.out / "locks", place.name, POLL):
                try:
                    results = train_and_validate(settings, self._dataset, place)
                except Diverged as error:
                    console.say(str(error))
                    self._trials.prune(trial)
                    return
            value = results["validation"][MONITOR]
            found[str(split)] = {MONITOR: value, "best_epoch": results["best_epoch"]}
        value = sum(one[MONITOR] for one in found.values()) / len(found)
        self._trials.complete(trial, value, found)

    def _tell(self, trial: "Trial") -> None:
        """Prints a line on a finished trial and the time left."""
        tried = self._trials.tried()
        found = {one.index: one.value for one in tried}
        if trial.index not in found:  # another took it over, because this process stood still
            return
        value, best = found[trial.index], self._best()
        how = "diverged" if value is None else f"validation mAP per label {100 * value:.2f}"
        left = self._options.num_trials - len(tried)
        seconds = self._trials.seconds()
        console.say(
            f"[{len(tried)} of {self._options.num_trials}] {_name(trial.values)}: {how}"
            + (f", best {100 * best.value:.2f}" if best and best.value is not None else "")
            + (until(seconds * left) if left and seconds is not None else "")
        )

    def _best(self) -> "TrialResult | None":
        """The best trial, the first of equals; None if all diverged."""
        done = [one for one in self._trials.tried() if one.value is not None]
        return max(done, key=lambda one: one.value or 0.0, default=None)

    def _table(self) -> pd.DataFrame:
        """One row per trial, best first, mAPs in per cent."""
        lines = []
        for one in self._trials.tried():
            line: dict[str, Any] = {"trial": one.index + 1, **one.values}
            line[MONITOR] = _per_cent(one.value)
            for split in self.splits:
                found = (one.found or {}).get(str(split), {})
                line[f"{MONITOR}_split{split}"] = _per_cent(found.get(MONITOR))
                line[f"best_epoch_split{split}"] = found.get("best_epoch")
            lines.append(line)
        table = pd.DataFrame(lines)
        epochs = [f"best_epoch_split{split}" for split in self.splits]
        table[epochs] = table[epochs].astype("Int64")
        return table.sort_values(MONITOR, ascending=False, kind="stable", na_position="last")

    def _resolved(self, chosen: options.Options) -> RunSettings:
        settings = resolving.resolve(chosen, self._dataset)
        assert isinstance(settings, RunSettings)  # a search is for graphs
        return settings

    def _settings(self) -> dict[str, Any]:
        """The settings of the search: common to all runs, and searched."""
        options = self._options
        common = {name: value for name, value in self.base.flat().items() if name != "split"}
        what = {"splits": list(self.splits), "searched": list(options.searched)}
        return common | what | {"grid": options.grid}

    def _place(self, values: "Values", split: int) -> Path:
        return self.out / f"{_name(values)}-split{split}"

    def _default_name(self) -> str:
        options, base = self._options, self.base
        parts = [base.arch, base.neighbours, base.feed, base.pool, base.preset]
        parts += ["grid" if options.grid else "_".join(options.searched)]
        splits = "_".join(map(str, self.splits))
        parts += [f"splits{splits}", f"seed{base.seed}"]
        return "-".join(["search", self._dataset.name, *filter(None, parts)])


def _name(values: "Values") -> str:
    """The prefix of a trial's run directories.

    >>> _name({"l2": 3e-5, "m": 6})
    'l2_3e-05-m_6'
    """
    return "-".join(f"{name}_{value:g}" for name, value in values.items())


def _per_cent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _printed(table: pd.DataFrame) -> str:
    shown = table.copy()
    for column in shown:
        digits = ".2f" if column.startswith(MONITOR) else "g"
        shown[column] = ["-" if pd.isna(v) else f"{v:{digits}}" for v in shown[column]]
    return shown.to_string(index=False)
