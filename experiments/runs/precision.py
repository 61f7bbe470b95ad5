"""`--precision=auto`: bfloat16 where the device has it and a training step is shorter by it."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from experiments.runs.runner import RunSettings, experiment_of
from tagnet.data.dataset import PreparedDataset
from tagnet.settings import POLICIES
from tagnet.system.console import say
from tagnet.system.devices import multiplies_bfloat16
from tagnet.system.files import read_json

USUAL, SHORT = "float32", "mixed_bfloat16"
STEPS, ROUNDS = 10, 3
WORTH_IT = 1.1  # how many times as fast a step must be; a gain of less may be noise


def with_precision(run: RunSettings, dataset: PreparedDataset, out: Path, jit: str) -> RunSettings:
    """The settings of a run with an arithmetic in place of `auto`.

    Args:
        run: the settings.
        dataset: what it is trained on.
        out: the run directory; a run that is there keeps its arithmetic.
        jit: see `Experiment`.
    """
    if run.precision != "auto":
        return run
    return dataclasses.replace(run, precision=_kept(out) or _chosen(run, dataset, jit))


def _kept(out: Path) -> str | None:
    """The arithmetic of a run in `out`; None where there is none."""
    config = out / "config.json"
    kept = read_json(config).get("precision") if config.exists() else None
    return kept if kept in POLICIES else None


def _chosen(run: RunSettings, dataset: PreparedDataset, jit: str) -> str:
    if not multiplies_bfloat16():
        say(f"precision {USUAL}: this device does not multiply bfloat16 itself")
        return USUAL
    step = {policy: _stepping(run, dataset, jit, policy) for policy in (USUAL, SHORT)}
    for compiling in step.values():
        compiling()
    gain = statistics.median(_seconds(step[USUAL]) / _seconds(step[SHORT]) for _ in range(ROUNDS))
    chosen = SHORT if gain >= WORTH_IT else USUAL
    say(f"precision {chosen}: in bfloat16 a step is {gain:.2f} times as fast as in float32")
    return chosen


def _stepping(
    run: RunSettings, dataset: PreparedDataset, jit: str, policy: str
) -> Callable[[], object]:
    """Steps of the run in an arithmetic, on weights that are thrown away."""
    tried = dataclasses.replace(run, precision=policy, from_run=None)
    return experiment_of(tried, dataset, jit=jit).stepping(STEPS)


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
