"""How long a person waits: for `--help`, a wrong flag, the first label, the app, the first epoch.

    python -m benchmarks.speed.startup [--model=RUN] [--data=DIR] [--repeats=5]

Each command is a process of its own. Beside them stands what importing TensorFlow and Keras
takes, which no command that computes something can do without. A photo is annotated and the app is
opened with the model that comes with tagnet, or with --model. With --data, a prepared directory,
`ltwin` is trained on it until its first epoch is over.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
IMPORTS = "import TensorFlow and Keras"
COMMANDS = {
    IMPORTS: ["-c", "import tensorflow, keras"],
    "import tagnet": ["-c", "import tagnet"],
    "tagnet --version": ["-m", "tagnet", "--version"],
    "tagnet run --help": ["-m", "tagnet", "run", "--help"],
    "tagnet prepare --help": ["-m", "tagnet", "prepare", "--help"],
    "tagnet annotate --help": ["-m", "tagnet", "annotate", "--help"],
    "tagnet run --nothing (a wrong flag)": ["-m", "tagnet", "run", "--nothing"],
}
FIRST_LABEL, APP = "tagnet annotate, the first label", "tagnet app, its page can be opened"
FIRST_EPOCH = "tagnet run, end of the first epoch"
# How a line of the output begins that a person waits for; other commands are waited for.
LINES = {FIRST_LABEL: "  ", APP: "running at ", FIRST_EPOCH: "epoch  1/"}


def seconds(command: list[str], line: str | None = None) -> float:
    """How long a process takes, or how long until it prints a line that begins with `line`.

    Raises:
        SystemExit: it prints none.
    """
    begun = time.perf_counter()
    if line is None:
        subprocess.run([sys.executable, *command], capture_output=True)
        return time.perf_counter() - begun
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        there = any(printed.startswith(line) for printed in process.stdout)
        took = time.perf_counter() - begun
        process.kill()
    if not there:
        raise SystemExit(f"{' '.join(command)} printed no line that begins with {line!r}")
    return took


def commands_of(model: Path | None, data: Path | None, out: Path) -> dict[str, list[str]]:
    """The commands by name; runs are made below `out`."""
    with_model = [] if model is None else [f"--model={model}"]
    photo = str(min(EXAMPLES.glob("*.jpg")))
    annotate = ["-m", "tagnet", "annotate", *with_model, "--tags=snow,people", "--top_k=3", photo]
    commands = COMMANDS | {
        FIRST_LABEL: annotate,
        APP: ["-m", "tagnet", "app", *with_model, "--port=0"],
    }
    if data is not None:
        run = ["--arch=ltwin", f"--data={data}", f"--out={out / 'run'}"]
        commands[FIRST_EPOCH] = ["-m", "tagnet", "run", *run]
    return commands


def measured(commands: dict[str, list[str]], out: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each command, which run in turn; the first turn is not counted."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):  # the first warms up the disk's cache
        for name, command in commands.items():
            found = seconds(command, LINES.get(name))
            if (out / "run").exists():  # what a run left goes aside, so that the next begins anew
                os.rename(out / "run", out / f"run-{turn}")
            if turn:
                took[name].append(found)
    return took


def main() -> None:
    """Runs the commands in turn, `repeats` times, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a run directory or a preset")
    parser.add_argument("--data", type=Path, help="a prepared directory")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    measured_on = machine.described("tensorflow", "keras")  # the load before ours
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        commands = commands_of(options.model, options.data, out)
        took = measured(commands, out, options.repeats)
    print(f"{measured_on} at the beginning; median of {options.repeats}")
    base = statistics.median(took[IMPORTS])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"{name:<36}{median:6.2f} s ({min(times):.2f} to {max(times):.2f})", end="")
        print("" if name == IMPORTS else f"  {median / base:.2f} of the import")


if __name__ == "__main__":
    main()
