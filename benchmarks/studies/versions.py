"""Runs the quick tests under every Python that is here, with the lowest and the newest versions.

    python -m benchmarks.studies.versions --out=runs/versions        # make check-versions

For each Python that `setup.cfg` names, and for the lowest and the newest versions that it allows
of each dependency of the extra `dev`, uv makes an environment out of wheels alone and pytest runs
`QUICK` in it; and once more with a release candidate of TensorFlow that the bounds let in when it
is final. With the newest versions it runs them again with oneDNN off and on, since the default
depends on the processor. Lowest are what we ask for ourselves; what those ask for is as new as
they allow. Where a Python has no wheel of the lowest version, its lowest wheel is taken.

An environment that was tested is not tested again. Ends with status 1 if a test failed, or
an environment could not be made; a Python that is not here is no failure, but is said.
"""

import argparse
import configparser
import dataclasses
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tagnet.system.files import read_json, write_json, write_text

ROOT = Path(__file__).parents[2]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest", "candidate": "highest"}
CANDIDATE = "2.22.0rc0"  # of TensorFlow; it brings keras-nightly, in the same folder as Keras
ONEDNN = {"newest, oneDNN off": "0", "newest, oneDNN on": "1"}  # TF_ENABLE_ONEDNN_OPTS
# Of tensorflow-datasets' and mlcroissant's own dependencies; there are no wheels of them.
SOURCE_ONLY = ("promise", "jsonpath-rw")
SHOWN = (
    "tensorflow",
    "keras",
    "keras-nightly",
    "numpy",
    "pandas",
    "scipy",
    "numba",
    "scikit-learn",
    "pillow",
)
# What leans on other packages: their readers, arrays, compiled code, layers and optimizers; and a
# run from a prepared directory to figures and a SavedModel.
QUICK = (
    "tests/system/test_files.py",
    "tests/data/test_tags.py",
    "tests/evaluation/test_metrics.py",
    "tests/reliability/test_fuzz.py",
    "tests/data/test_embeddings.py",
    "tests/search/test_approximate.py",
    "tests/data_tools/test_table.py",
    "tests/data_tools/test_feature_files.py",
    "tests/backbones/test_features.py",
    "tests/photos/test_keywords.py",
    "tests/backbones/test_weights.py",
    "tests/data_tools/test_word_vectors.py",
    "tests/evaluation/test_calibration.py",
    "tests/models/test_lstm.py",
    "tests/training/test_optimizer.py",
    "tests/experiments/test_search.py",
    "tests/search/test_compiled.py",
    "tests/training/test_compiled_steps.py",
    "tests/experiments/test_run.py::test_a_finished_run_is_shown_again",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one environment.

    Attributes:
        python: its full version, or the one that was asked for where it could not be made.
        date: of the tests.
        versions: of what is installed, by package; empty where it could not be made.
        passed, failed, skipped: numbers of tests.
        seconds: how long they took.
        trouble: why it could not be made.
    """

    python: str
    date: str
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    trouble: str = ""


def setup() -> configparser.ConfigParser:
    """What `setup.cfg` says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def pythons() -> list[str]:
    """The versions of Python that the package is for, such as 3.10."""
    return re.findall(r"Python :: (3\.\d+)", setup()["metadata"]["classifiers"])


def requirements() -> list[str]:
    """What the package and its development need, with the bounds."""
    texts = (setup()["options"]["install_requires"], setup()["options.extras_require"]["dev"])
    return [line for text in texts for line in text.splitlines() if line]


def wanted_in(resolution: str) -> list[str]:
    """What an environment must have."""
    if resolution != "candidate":
        return requirements()
    others = [line for line in requirements() if not re.match(r"(tensorflow|keras)\b[^-]", line)]
    return [f"tensorflow=={CANDIDATE}", *others]


def interpreter(python: str) -> str | None:
    """A Python of that version, on PATH or in pyenv's folder; None where this machine has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    there = sorted(pyenv.glob(f"versions/{python}.*/bin/python"))
    for path in [f"python{python}", *map(str, there)]:
        # What is on PATH may be pyenv's, which runs the versions alone that are chosen.
        if (
            shutil.which(path)
            and subprocess.run([path, "--version"], capture_output=True).returncode == 0
        ):
            return path
    return None


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs uv."""
    command = [sys.executable, "-m", "uv", *arguments, "--quiet"]
    return subprocess.run(command, capture_output=True, text=True)


def environment(python: str, resolution: str, folder: Path) -> str:
    """Makes the environment `folder`/env of an interpreter; what was wrong, or nothing."""
    wanted = folder / "requirements.txt"
    write_text(wanted, "".join(f"{line}\n" for line in wanted_in(resolution)))
    inside = str(folder / "env" / "bin" / "python")
    steps = [
        ["venv", "--no-project", "--allow-existing", f"--python={python}", str(folder / "env")],
        [
            *("pip", "install", f"--python={inside}", f"--requirements={wanted}"),
            *(f"--resolution={RESOLUTIONS[resolution]}", "--only-binary=:all:"),
            *(f"--no-binary={name}" for name in SOURCE_ONLY),
        ],
    ]
    for step in steps:
        if (done := uv(*step)).returncode:
            return " ".join(done.stderr.split())
    return ""


def tested(folder: Path, variables: dict[str, str]) -> Outcome:
    """Runs the tests in the environment `folder`/env; their output goes to `folder`/tests….log.

    Args:
        folder: of the environment.
        variables: of the system, for the tests.
    """
    inside = str(folder / "env" / "bin" / "python")
    named = "".join(variables.values())
    report = folder / f"tests{named}.xml"
    report.unlink(missing_ok=True)
    command = [inside, "-m", "pytest", "--numprocesses=0", "-p", "no:cacheprovider"]
    begun = time.monotonic()
    with open(folder / f"tests{named}.log", "w") as log:
        subprocess.run(
            [*command, f"--junit-xml={report}", *QUICK],
            cwd=ROOT,
            # What numba compiled for another environment is not for this one.
            env={**os.environ, **variables, "NUMBA_CACHE_DIR": str(folder / "numba")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    listed = uv("pip", "list", f"--python={inside}", "--format=json")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():  # it is written where pytest came to its end
        (suite,) = ElementTree.parse(report).getroot()
        counts = {name: int(suite.attrib[name]) for name in counts}
    failed = counts["failures"] + counts["errors"]
    asked = subprocess.run([inside, "--version"], capture_output=True, text=True, check=True)
    return Outcome(
        python=asked.stdout.split()[1],
        date=str(datetime.date.today()),
        versions={one["name"]: one["version"] for one in json.loads(listed.stdout)},
        passed=counts["tests"] - failed - counts["skipped"],
        failed=failed,
        skipped=counts["skipped"],
        seconds=time.monotonic() - begun,
        trouble="" if counts["tests"] else "no test was run",
    )


def outcome(python: str, versions: str, folder: Path) -> Outcome:
    """Makes an environment and runs the tests in it, unless that was done."""
    variables = {"TF_ENABLE_ONEDNN_OPTS": ONEDNN[versions]} if versions in ONEDNN else {}
    stored = folder / f"outcome{''.join(variables.values())}.json"
    if stored.exists():
        return Outcome(**read_json(stored))
    folder.mkdir(parents=True, exist_ok=True)
    if trouble := environment(python, versions.split(",")[0], folder):
        return Outcome(python, str(datetime.date.today()), trouble=trouble)
    found = tested(folder, variables)
    write_json(stored, dataclasses.asdict(found))
    return found


def row(python: str, versions: str, found: Outcome | None) -> str:
    """A line of the table; None for a Python that is not here."""
    if found is None:
        return f"| {python} | {versions} | not on this machine |" + " |" * (len(SHOWN) + 3)
    cells = [found.python, versions, found.date]
    cells += [found.versions.get(name, "–") for name in SHOWN]
    cells += [str(found.passed), str(found.failed), str(found.skipped)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Makes what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where environments are made")
    parser.add_argument("--python", nargs="+", default=pythons(), help="which versions")
    rows = [*RESOLUTIONS, *ONEDNN]
    parser.add_argument("--versions", nargs="+", default=rows, choices=rows)
    options = parser.parse_args()
    heads = ("Python", "versions", "date", *SHOWN, "passed", "failed", "skipped")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    wrong = []
    for python in options.python:
        path = interpreter(python)
        for versions in options.versions:
            folder = options.out.resolve() / f"python-{python}-{versions.split(',')[0]}"
            found = outcome(path, versions, folder) if path else None
            print(row(python, versions, found), flush=True)
            if found is not None and (found.failed or found.trouble):
                wrong.append(f"Python {found.python}, {versions}: {found.failed} failed")
                wrong[-1] += f" ({found.trouble})" if found.trouble else ""
    print("\n" + ("\n".join(wrong) or "no test failed"))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
