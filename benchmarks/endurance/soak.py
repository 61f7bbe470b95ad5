"""Does a long sweep leak? Samples its memory, open files and threads, and fits how they grow.

    python -m benchmarks.endurance.soak --out=runs/soak --plot=runs/soak.png  # two hours

Interrupted, it judges what it has sampled so far.

One process of `experiments.sweep` makes runs of every graph and of two baselines on the demo
data set: all of a split and then those of the next, small graphs and few epochs, so that much is
built, compiled and thrown away again. What is sampled of it goes to samples.csv. The first two
splits warm up. After them each run is compared with those of the same row on other splits, so that
a large graph beside a small one is no growth, and a line is fitted over the splits. Ends with
status 1 where it rises by more than `BOUNDS` a run, or a run failed.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import psutil

from benchmarks import machine

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

EVERY = 2.0  # seconds between samples
WARM_UP = 2  # splits
ROWS = (
    *("v_only", "ltn-n_id-m12-M24", "rtn-n_id-m12-M24", "ltn_vecs-n_id-f_id-m12-M24"),
    *("ltn_allvecs-n_id-f_id-m12-M24", "ltwin-n_w2v-f_w2v-m12-M24"),
    *("ltwin_rnn-n_id-f_id-m12-M24", "ltwin_2rnn-n_id-f_id-m12-M24"),
    *("lzip-n_id-f_w2v-m12-M24", "svm_tags", "logistic_features"),
)
# What leaks handles or threads does so in every run. TensorFlow itself keeps some 0.1 to 0.5 MB of
# every graph that calls a compiled function; the two bytes of a float16 feature of an image, kept
# once too often, would be 11 MB.
BOUNDS = {"memory_mb": 1.0, "handles": 0.1, "threads": 0.1}
TITLES = {"memory_mb": "own memory, MB", "handles": "open files", "threads": "threads"}


def prepared(folder: Path, splits: int) -> Path:
    """Prepares the demo data set in `folder` with so many splits; returns it."""
    flags = ["--source=demo", "--pools=open", "--encodings=id,w2v"]
    flags += [f"--splits={splits}", f"--out={folder}"]
    command = [sys.executable, "-m", "data_tools.prepare", *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def sampled(process: subprocess.Popen, out: Path, seconds: float) -> pd.DataFrame:
    """Watches a sweep in `out` until it ends, the time is over, or the user interrupts.

    Returns:
        A row a sample: `seconds` since the first, `runs` that are done, and the keys of `BOUNDS`.
    """
    watched = psutil.Process(process.pid)
    begun = time.monotonic()
    rows = []
    with contextlib.suppress(KeyboardInterrupt):
        while (now := time.monotonic() - begun) < seconds and process.poll() is None:
            with watched.oneshot():
                memory = watched.memory_info()
                handles, threads = watched.num_fds(), watched.num_threads()
            runs = sum(1 for _ in out.glob("*/metrics.json"))
            # Of files that are mapped, such as libraries, the system keeps in memory what it likes.
            own = (memory.rss - memory.shared) / 1e6
            rows.append((now, runs, own, handles, threads))
            time.sleep(EVERY)
    return pd.DataFrame(rows, columns=["seconds", "runs", *BOUNDS])


def growth(samples: pd.DataFrame, rows: int) -> dict[str, tuple[float, float]]:
    """How the means of the runs grow from split to split, those of each row among themselves.

    Args:
        samples: as `sampled` returns them.
        rows: how many runs a split has.

    Returns:
        Growth a run and its standard error, for each key of `BOUNDS`.
    """
    runs = samples.groupby("runs").mean().iloc[:-1]  # the last one was cut off
    runs = runs[runs.index >= WARM_UP * rows]
    row, split = runs.index % rows, pd.Series(runs.index // rows, runs.index, dtype=float)
    x = split - split.groupby(row).transform("mean")
    freedom = len(runs) - len(set(row)) - 1
    if freedom < 1 or not x.any():
        raise SystemExit(f"a line needs two splits after the {WARM_UP} that warm up")
    found = {}
    for name in BOUNDS:
        y = runs[name] - runs[name].groupby(row).transform("mean")
        slope = (x * y).sum() / (x**2).sum()
        error = np.sqrt(((y - slope * x) ** 2).sum() / freedom / (x**2).sum())
        found[name] = (slope / rows, error / rows)
    return found


def draw(samples: pd.DataFrame, rows: int, path: Path) -> None:
    """Plots what was sampled over time; the warm-up is grey."""
    figure, panels = pyplot.subplots(3, figsize=(7, 5), sharex=True, layout="constrained")
    minutes = samples["seconds"] / 60
    warm = minutes[samples["runs"] < WARM_UP * rows].max()
    for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
        axes.plot(minutes, samples[name], linewidth=0.8)
        axes.axvspan(0, warm, color="0.9")
        axes.set_ylim(bottom=0)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("minutes")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def judged(samples: pd.DataFrame, rows: int) -> bool:
    """Prints how each key of `BOUNDS` grew; whether all stayed within."""
    within = True
    warm = samples[samples["runs"] >= WARM_UP * rows]
    for name, (slope, error) in growth(samples, rows).items():
        within &= slope <= BOUNDS[name]
        least, most = warm[name].min(), warm[name].max()
        print(f"  {TITLES[name]}: {least:,.0f} to {most:,.0f}, ", end="")
        print(f"{slope:+.3f} ± {error:.3f} a run; at most {BOUNDS[name]:g}")
    return within


def main() -> None:
    """Runs the sweep for the time, and tells how it grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--splits", type=int, default=200, help="more than there is time for")
    parser.add_argument("--data", type=Path, help="the data set prepared with so many splits")
    parser.add_argument("--plot", type=Path, help="where to draw it, a .png")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"--out must be a new folder; received {options.out}, which is there")
    runs = options.out / "runs"
    data = options.data or prepared(options.out / "data", options.splits)
    options.out.mkdir(parents=True, exist_ok=True)
    flags = ["--tables=1,2,3", "--baselines", "--hidden=16", "--max_epochs=2"]
    flags += [f"--only={','.join(ROWS)}", f"--data={data}", f"--out={runs}"]
    with open(options.out / "sweep.log", "w") as log:
        sweep = subprocess.Popen([sys.executable, "-m", "experiments.sweep", *flags], stdout=log)
        samples = sampled(sweep, runs, 60 * options.minutes)
    if sweep.poll() is not None:
        raise SystemExit(
            f"the sweep ended by itself, with status {sweep.returncode}; more --splits?"
        )
    sweep.terminate()
    sweep.wait()
    samples.to_csv(options.out / "samples.csv", index=False)
    rows = len(ROWS)
    if options.plot:
        draw(samples, rows, options.plot)
    done, failed = int(samples["runs"].iloc[-1]), len(list(runs.glob("failed/*")))
    minutes = samples["seconds"].iloc[-1] / 60
    print(f"{done} runs of {rows} rows in {minutes:.0f} minutes; {failed} failed")
    within = judged(samples, rows)
    print(machine.described("tensorflow", "keras", "numpy"))
    sys.exit(failed > 0 or not within)


if __name__ == "__main__":
    main()
