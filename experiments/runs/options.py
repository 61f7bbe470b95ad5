"""The flags of the commands that make runs. Importing this file imports nothing heavy."""

import dataclasses
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from experiments.paper.published import Row
from experiments.runs.presets import PRESETS
from tagnet.errors import InputError
from tagnet.models.architectures import ARCHITECTURES, JOINT, VISUAL
from tagnet.settings import CLASS_WEIGHTS, JIT, PLACEMENTS, PRECISIONS
from tagnet.system.console import option, require_all_of, require_at_least, require_one_of

# The baselines, and the flag of a run that each reads.
BASELINES: dict[str, str | None] = {
    "svm_tags": None,
    "logistic_features": None,
    "logistic_tags": None,
    "logistic_both": "feed",
    "knn_tags": "neighbours",
    "knn_pixels": None,
    "tagprop_rank": "neighbours",
    "tagprop_distance": "neighbours",
}
# Those that cannot be fitted to images without tags.
WITH_TAGS = tuple(name for name in BASELINES if name not in ("logistic_features", "knn_pixels"))
BASELINE_ROWS = tuple(
    Row(
        arch,
        "id" if reads == "neighbours" else "",
        "id" if reads == "feed" else None,
        m=0,
        max_rank=0,
    )
    for arch, reads in BASELINES.items()
)
FOR_GRAPHS = (
    *("preset", "m", "M", "max_epochs", "hidden", "dropout", "learning_rate", "l2", "placement"),
    *("class_weight", "from_run"),
)
# These are for graphs too; their values unless given.
USUAL = {"workers": 1, "precision": "float32", "jit": "auto", "deterministic": False}


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of a run."""

    arch: str = option("ltwin_2rnn", "architecture or baseline, see above")
    data: Path | None = option(None, "prepared directory [the demo data set]")
    split: int = option(0, "number of the random split")
    neighbours: str = option("id", "encoding to find neighbours by: id, w2v, wnet")
    feed: str | None = option(
        None, "tag encoding fed to a joint model: id, w2v, wnet [w2v if available]"
    )
    pool: str = option("open", "neighbour pool: open, closed, train")
    preset: str | None = option(
        None, f"named settings: {', '.join(PRESETS)} [auto; paper for NUS-WIDE]"
    )
    m: int | None = option(None, "neighbours per neighbourhood [from the preset]")
    M: int | None = option(None, "nearest images to draw them from [from the preset]")
    seed: int = option(0, "random seed")
    max_epochs: int | None = option(None, "maximum number of epochs [from the preset]")
    hidden: int | None = option(None, "units per hidden layer, h [from the preset]")
    dropout: float | None = option(None, "dropout rate of hidden units [from the preset]")
    learning_rate: float | None = option(None, "learning rate of RMSProp [from the preset]")
    l2: float | None = option(None, "L2 penalty λ on the kernels [from the preset]")
    class_weight: str | None = option(
        None, f"weights of the labels in the loss: {', '.join(CLASS_WEIGHTS)} [all alike]"
    )
    from_run: Path | None = option(None, "finished run whose weights to begin with")
    placement: str | None = option(
        None, f"where to keep the features: {', '.join(PLACEMENTS)} [chosen by size]"
    )
    workers: int = option(1, "number of training workers: devices, or processes in TF_CONFIG")
    precision: str = option("float32", f"arithmetic: {', '.join(PRECISIONS)}")
    jit: str = option("auto", f"compilation of training steps by XLA: {', '.join(JIT)}")
    deterministic: bool = option(False, "slower kernels that give the same numbers every time")
    out: Path | None = option(None, "run directory [runs/…, named after the settings]")

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("arch", self.arch, (*ARCHITECTURES, *BASELINES)),
            ("preset", self.preset or "auto", PRESETS),
            ("precision", self.precision, PRECISIONS),
            ("jit", self.jit, JIT),
        ):
            if value not in known:
                raise InputError(f"--{flag} must be one of {', '.join(known)}; received {value!r}")
        require_one_of("placement", self.placement, PLACEMENTS)
        require_one_of("class_weight", self.class_weight, CLASS_WEIGHTS)
        if self.feed and self.arch in VISUAL:
            raise InputError(
                f"--feed is for joint models ({', '.join(JOINT)}); "
                f"received --feed={self.feed} with --arch={self.arch}"
            )
        if self.arch in BASELINES:
            self._check_baseline()
        require_at_least(self, workers=1, m=1, M=1, max_epochs=1, hidden=1, dropout=0, l2=0)
        if self.workers > 1 and self.precision in ("mixed_float16", "auto"):
            raise InputError(
                "--precision must be float32 or mixed_bfloat16 with --workers; "
                f"received {self.precision!r}"
            )
        if self.workers > 1 and self.jit == "on":
            raise InputError("--jit must be auto or off with --workers; received 'on'")
        if self.dropout is not None and self.dropout >= 1:
            raise InputError(f"--dropout must be below 1; received {self.dropout}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(f"--learning_rate must be above 0; received {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed must be 0 to {2**32 - 1}; received {self.seed}")

    def _check_baseline(self) -> None:
        unread = [flag for flag in FOR_GRAPHS if getattr(self, flag) is not None]
        unread += [flag for flag, usual in USUAL.items() if getattr(self, flag) != usual]
        if self.feed and BASELINES[self.arch] != "feed":
            unread.append("feed")
        if unread:
            raise InputError(
                f"--{unread[0]} has no effect on the baseline {self.arch}; "
                f"received {getattr(self, unread[0])}"
            )


def command_line(options: Options) -> str:
    """The command line that makes a run with these options.

    >>> command_line(Options(arch="ltn", l2=3e-05))
    'python -m experiments.run --arch=ltn --l2=3e-05'
    """
    flags = [
        f"--{field.name}={value}"
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) != field.default
    ]
    return shlex.join(["python", "-m", "experiments.run", *flags])


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags of commands that make many runs."""

    data: Path | None = option(None, "prepared directory [the demo data set]")
    splits: tuple[str, ...] = option((), "numbers of the random splits, comma-separated [all]")
    pool: str = option("open", "neighbour pool: open, closed, train")
    preset: str | None = option(
        None, f"named settings: {', '.join(PRESETS)} [auto; paper for NUS-WIDE]"
    )
    seed: int = option(0, "random seed")
    hidden: int | None = option(None, "units per hidden layer, h [from the preset]")
    max_epochs: int | None = option(None, "maximum number of epochs [from the preset]")
    dry_run: bool = option(False, "print what would be run, and stop")
    out: Path | None = option(None, "folder of the runs [runs/…, named after the settings]")

    def check(self) -> None:
        """Raises `InputError` for a value that is invalid on any data set."""
        if wrong := [split for split in self.splits if not split.isdecimal()]:
            raise InputError(f"--splits must be numbers from 0; received {wrong[0]!r}")
        require_at_least(self, hidden=1, max_epochs=1, seed=0)


@dataclasses.dataclass(frozen=True)
class RowFlags(Flags):
    """The flags of commands that make the runs of rows."""

    only: tuple[str, ...] = option((), "run only these rows, named as printed by --dry_run [all]")

    def check_rows(self, rows: Collection[str]) -> None:
        """Raises `InputError` for a value that is invalid on any data set.

        Args:
            rows: the names that `only` may have.
        """
        require_all_of("only", self.only, rows)
        self.check()


# Section 3.4 of the paper: "λ was chosen with grid search". It does not say over which values;
# these are ours. They have the paper's 3e-4 and the 3e-5 of the released code among them.
GRID = (0.0, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
TRIALS = 20
SEARCHED = ("learning_rate", "l2", "dropout", "hidden", "m")


def searchable(arch: str) -> tuple[str, ...]:
    """The settings that affect an architecture."""
    return SEARCHED[:2] if arch == "v_only" else SEARCHED


@dataclasses.dataclass(frozen=True)
class SearchOptions(Flags):
    """The flags of a search."""

    splits: tuple[str, ...] = option(("0",), "splits to average the validation score over")
    arch: str = option("ltwin", "architecture, see above")
    neighbours: str = option("id", "encoding to find neighbours by: id, w2v, wnet")
    feed: str | None = option(
        None, "tag encoding fed to a joint model: id, w2v, wnet [w2v if available]"
    )
    what: tuple[str, ...] = option((), "hyper-parameters to search [all]")
    grid: bool = option(False, "search only λ (l2), over a grid, see above")
    trials: int | None = option(
        None, f"total number of trials [{TRIALS}; with --grid, the whole grid]"
    )

    def __post_init__(self) -> None:
        require_one_of("arch", self.arch, ARCHITECTURES)
        require_one_of("preset", self.preset, PRESETS)
        require_all_of("what", self.what, searchable(self.arch))
        if self.grid and self.what:
            raise InputError(f"--grid searches only l2; received --what={','.join(self.what)}")
        if self.hidden is not None and "hidden" in self.what:
            raise InputError(f"--what=hidden and --hidden={self.hidden} must not be given together")
        if not self.splits:
            raise InputError(
                "--splits must name at least one split, e.g. --splits=0; received none"
            )
        self.check()
        require_at_least(self, trials=1)

    @property
    def searched(self) -> tuple[str, ...]:
        """The settings to search; one that is fixed by a flag is not searched."""
        if self.grid:
            return ("l2",)
        known = searchable(self.arch)
        return self.what or tuple(n for n in known if n != "hidden" or self.hidden is None)

    @property
    def num_trials(self) -> int:
        """How many trials to make."""
        if self.grid:
            return min(self.trials or len(GRID), len(GRID))
        return self.trials or TRIALS

    def of_run(self, split: int, **changed: Any) -> Options:
        """The options of a run on a split, with values of the searched settings."""
        usual = {
            "arch": self.arch,
            "data": self.data,
            "split": split,
            "neighbours": self.neighbours,
            "feed": self.feed,
            "pool": self.pool,
            "preset": self.preset,
            "seed": self.seed,
            "max_epochs": self.max_epochs,
            "hidden": self.hidden,
        }
        return Options(**usual | changed)
