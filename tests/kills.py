"""The kill matrix: each command killed at random moments, and what it makes when started again.

    python tests/kills.py --kills=20 --out=docs/kills.md

With --keep=FOLDER it goes on where it was stopped, and several may share the work by --only.

Half of the kills fall on a file operation of the command, half on a moment by the clock. What
is on disk after the second start is compared with what a command that nothing disturbed made.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from kill_subjects import Subject, made, subjects

from tagnet.system.files import read_json, write_json

ROOT = Path(__file__).parent.parent
KILLS = 20
TRIES = 6  # to kill by the clock before the command ends by itself


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        by_operation, by_clock: how often it was killed, each way.
        same: after how many of these the second start ended with the same files.
        wrong: what was otherwise.
    """

    by_operation: int
    by_clock: int
    same: int
    wrong: list[str]


class Starter:
    """Starts a command, each time in a process that has loaded its libraries before.

    Args:
        subject: the command.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._server = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "killed.py", "serve", subject.module],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, place: Path, when: str = "never") -> subprocess.CompletedProcess[str]:
        """Starts it, killed as killed.py says."""
        assert self._server.stdin and self._server.stdout
        with tempfile.TemporaryDirectory() as said:
            request = [place, when, said, *self._subject.flags(place)]
            print(json.dumps(list(map(str, request))), file=self._server.stdin, flush=True)
            status = int(self._server.stdout.readline())
            texts = ((Path(said) / name).read_text() for name in ("stdout", "stderr"))
            return subprocess.CompletedProcess(self._subject.module, status, *texts)

    def close(self) -> None:
        """Ends the process that the others are forks of."""
        self._server.communicate()


def length(done: subprocess.CompletedProcess[str]) -> tuple[int, float]:
    """The operations and the seconds of a command that ended by itself."""
    words = done.stdout.splitlines()[-1].split()
    return int(words[0]), float(words[3])


def outcome(subject: Subject, kills: int, tell: Callable[[str], None]) -> Outcome:
    """Kills a command at that many moments, each from its beginning, and starts it again."""
    rng = np.random.default_rng(list(hashlib.sha256(subject.name.encode()).digest()))
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Starter(subject)) as killed,
        contextlib.closing(Starter(subject)) as again,  # hashes otherwise, as every process does
    ):
        undisturbed = Path(folder) / "undisturbed"
        subject.begin(undisturbed)
        done = killed.start(undisturbed)
        if done.returncode:
            raise RuntimeError(f"{subject.name} fails by itself: {done.stderr}")
        expected = made(undisturbed)
        operations, seconds = length(done)
        counts = {"operation": 0, "second": 0}
        wrong, same = [], 0
        for kill in range(kills):
            kind = list(counts)[kill % 2]
            for _ in range(TRIES):
                place = Path(folder) / f"killed-{kill}"
                subject.begin(place)
                number = rng.integers(1, operations + 1)
                when = f"{number}" if kind == "operation" else f"{rng.uniform(0, seconds):.3f}"
                first = killed.start(place, f"{kind}:{when}")
                if status := first.returncode:
                    break
                _, seconds = length(first)  # it ended sooner than the others, and unharmed
                shutil.rmtree(place)
            moment = f"{subject.name}, killed at {kind} {when}"
            if status != -signal.SIGKILL:
                wrong.append(f"{moment}: status {status} where a kill was due")
                continue
            counts[kind] += 1
            second = again.start(place)
            found = made(place)
            shutil.rmtree(place)
            if second.returncode:
                wrong.append(f"{moment}: did not go on: {second.stderr}")
            elif found != expected:
                names = sorted(n for n in found | expected if found.get(n) != expected.get(n))
                wrong.append(f"{moment}: other files: {', '.join(names)}")
            else:
                same += 1
            tell(moment)
    return Outcome(*counts.values(), same, wrong)


def kept(subject: Subject, kills: int, folder: Path | None) -> Outcome:
    """The outcome of a command, from the folder if it is there, and into it if not."""
    tell = functools.partial(print, flush=True)
    if folder is None:
        return outcome(subject, kills, tell)
    path = folder / f"{subject.name}-{kills}.json"
    if not path.exists():
        write_json(path, dataclasses.asdict(outcome(subject, kills, tell)))
    return Outcome(**read_json(path))


def counted(outcomes: dict[str, Outcome]) -> str:
    """How it went in a line."""
    kills = sum(one.by_operation + one.by_clock for one in outcomes.values())
    same = sum(one.same for one in outcomes.values())
    wrong = sum(len(one.wrong) for one in outcomes.values())
    return f"{kills} kills: {same} went on to the same files, {wrong} wrong"


def rows(outcomes: dict[str, Outcome]) -> str:
    """A row for each command, as Markdown."""
    lines = ["| command | killed at a file operation | by the clock | same files | wrong |"]
    lines.append("|---|---|---|---|---|")
    for name, one in outcomes.items():
        counts = (one.by_operation, one.by_clock, one.same, len(one.wrong))
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


TEXT = """# What kills come to

Do not edit; it is written by

    python tests/kills.py --kills={kills} --out=docs/kills.md

`make long-tests` makes the same as a test.

Each command was killed with SIGKILL at {kills} random moments and started again with the same
flags: every second time just before a file operation of its own, every other time by the clock,
wherever it was then. Moments are drawn from all of its work, after it has loaded its libraries.
What was on disk in the end was compared with what a command made that nothing disturbed: every
file but TensorBoard's logs, lists of checksums and a report's table of costs, to the bit, without
the seconds that it took; of a SavedModel its assets, variables and answers.

{counted}

{table}
"""


def main() -> None:
    """Kills every command, prints the table, and ends with status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help="of each command")
    parser.add_argument("--only", nargs="*", help="the commands with these names")
    parser.add_argument("--keep", type=Path, help="a folder for the outcome of each command")
    parser.add_argument("--out", type=Path, help="a file for the page")
    options = parser.parse_args()
    outcomes, left_out = {}, []
    with tempfile.TemporaryDirectory() as place:
        for subject in subjects(Path(place)):
            if options.only is None or subject.name in options.only:
                outcomes[subject.name] = kept(subject, options.kills, options.keep)
            else:
                left_out.append(f"`{subject.name}`")
    print(rows(outcomes))
    print(counted(outcomes))
    if options.out:
        told_all = TEXT.format(kills=options.kills, counted=counted(outcomes), table=rows(outcomes))
        if left_out:
            told_all += f"\nNot tried this time: {', '.join(left_out)}.\n"
        options.out.write_text(told_all)
    wrong = [line for one in outcomes.values() for line in one.wrong]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
