"""How long a person waits: for `--help`, for a wrong flag, for the first label of one photo.

    python -m benchmarks.speed.startup [--model=RUN] [--repeats=5]

Each command is a process of its own. Beside them stands what importing TensorFlow and Keras
takes, which no command that computes something can do without. With --model, a run directory, one
example photo is annotated too.
"""

import argparse
import statistics
import subprocess
import sys
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


def seconds(command: list[str]) -> float:
    """How long a process takes, its output thrown away."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Runs the commands in turn, `repeats` times, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a run directory")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    commands = dict(COMMANDS)
    if options.model is not None:
        photo = str(min(EXAMPLES.glob("*.jpg")))
        flags = [f"--model={options.model}", "--tags=snow,people", photo]
        commands["tagnet annotate, one photo"] = ["-m", "tagnet", "annotate", *flags]
    for command in commands.values():  # warms up the disk's cache
        seconds(command)
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.repeats):
        for name, command in commands.items():
            took[name].append(seconds(command))
    print(machine.described())
    base = statistics.median(took[IMPORTS])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"{name:<36}{median:6.2f} s ({min(times):.2f} to {max(times):.2f})", end="")
        print("" if name == IMPORTS else f"  {median / base:.2f} of the import")


if __name__ == "__main__":
    main()
