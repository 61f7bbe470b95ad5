"""The hardship matrix: every command on a full disk, in folders that fail, without memory.

    python tests/hardship.py --out=docs/reliability.md

A case is a process that meets one hardship, and another that is started afterwards in the same
place. It is survived (what comes out is that of an undisturbed process), detected (one line, exit
status 2, nothing half-written, and the second process ends with what an undisturbed one gives),
aborted (as detected, but a library that was refused memory ended the process itself, in a way of
its own of which a line had warned), or wrong. Disks are tmpfs in a mount namespace of the case's
own, which Linux must allow.
"""

import argparse
import dataclasses
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corruption import replace_part
from corruption_subjects import TINY_ONE
from hardship_commands import COMMANDS, Command, Place
from processes import (
    DISK,
    READ_ONLY,
    REMOUNT,
    Watch,
    address_space,
    forked,
    mount_disk,
    own_mounts,
    used,
)

from tagnet.system.console import say
from tagnet.system.files import TEMPORARY

KINDS = ("disk full", "read-only", "folder removed", "folder moved", "input moved", "no memory")
OUTCOMES = ("detected", "survived", "aborted", "wrong")
CASES = (8, 1, 4, 4, 2, 6)  # of each kind, for each command
PAGE = 4096
# 127 is what the loader of libraries ends a process with.
ABORTS = (-signal.SIGABRT, -signal.SIGSEGV, 127)


@dataclasses.dataclass(frozen=True)
class Need:
    """What an undisturbed process takes.

    Attributes:
        begun, bytes: on the disk before and afterwards.
        operations, reads: how often it opens, makes, renames or removes what it writes, or reads.
        memory: bytes of address space beyond those at its start.
        result: what it gives.
    """

    begun: int
    bytes: int
    operations: int
    reads: int
    memory: int
    result: Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, a hardship, and when it comes or what is left: 0 to 1 of what is needed."""

    command: str
    kind: str
    share: float


def cases(counts: Sequence[int]) -> Iterator[Case]:
    """All of them, `counts` of each kind."""
    for command in COMMANDS.values():
        for kind, count in zip(KINDS, counts, strict=True):
            if kind == "input moved" and command.inputs.startswith("disk"):
                continue  # what it reads is in the folder that it writes to
            for number in range(count):
                # Of the address space that is asked for, little is used.
                share = 2.0 ** -(number + 1) if kind == "no memory" else (number + 0.5) / count
                yield Case(command.name, kind, share)


def set_up(command: Command, place: Place) -> None:
    """An empty disk of this process' own, and on it what the command begins with."""
    own_mounts()
    mount_disk(place.folder / "disk")
    if command.begins is not None:
        shutil.copytree(place.folder / command.begins, place.out)


def allowed() -> bool:
    """Whether a process may have mounts of its own here."""
    return forked(own_mounts, Path(os.devnull))[0] == 0


def need(command: Command, place: Place) -> Need:
    """Runs a command undisturbed, in a child, and measures what it takes."""

    def measured() -> dict[str, Any]:
        set_up(command, place)
        begun = used(place.folder / "disk")

        def watched() -> dict[str, int]:
            before = address_space("VmSize")
            writes, reads = Watch(place.out), Watch(place.folder / command.inputs)
            assert command(place) == 0
            memory = address_space("VmPeak") - before
            return {"operations": writes.count, "reads": reads.count, "memory": memory}

        status, found = forked(watched, place.folder / "errors")
        assert status == 0, (place.folder / "errors").read_text()
        taken = {"begun": begun, "bytes": used(place.folder / "disk")}
        return found | taken | {"result": forked(lambda: command.result(place.out))[1]}

    status, found = forked(measured)
    assert status == 0
    return Need(**found)


def outcome(case: Case, place: Place, needed: Need) -> tuple[str, str]:
    """One of `OUTCOMES`, and what was said or went wrong; in a child."""
    status, found = forked(lambda: list(_met(case, COMMANDS[case.command], place, needed)))
    return tuple(found) if status == 0 else ("wrong", "the harness failed")


def _met(case: Case, command: Command, place: Place, needed: Need) -> tuple[str, str]:
    """In a process of its own: meets the hardship, and starts again."""
    set_up(command, place)
    disk, errors = place.folder / "disk", place.folder / "errors"
    inputs, gone = place.folder / command.inputs, place.folder / "gone"
    gone = disk / "gone" if case.kind == "folder moved" else gone
    if case.kind == "disk full":
        size = needed.begun + case.share * (needed.bytes - needed.begun)
        mount_disk(disk, f"size={int(size) // PAGE * PAGE + PAGE}", REMOUNT)
    if case.kind == "read-only":
        mount_disk(disk, "", REMOUNT | READ_ONLY)

    def disturbed() -> int:
        moment = 1 + int(case.share * needed.operations)
        if case.kind == "folder removed":
            Watch(place.out, moment, lambda: shutil.rmtree(place.out))
        if case.kind == "folder moved":
            Watch(place.out, moment, lambda: place.out.rename(gone))
        if case.kind == "input moved":
            Watch(inputs, 1 + int(case.share * needed.reads), lambda: inputs.rename(gone))
        if case.kind == "no memory":
            most = address_space("VmSize") + int(case.share * needed.memory)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return command(place)

    status, _ = forked(disturbed, errors)
    said = errors.read_text(errors="replace").strip()
    half = [str(path) for path in disk.rglob(f"{TEMPORARY}*")]
    made_again = gone.exists() and case.kind == "folder moved" and place.out.exists()
    if gone.exists() and not made_again:
        gone.rename(inputs if case.kind == "input moved" else place.out)
    mount_disk(disk, f"size={DISK}", REMOUNT)
    if status == 0:
        if place.out.exists() and forked(lambda: command.result(place.out))[1] == needed.result:
            return "survived", said
        return "wrong", f"status 0, but another result; {said}"
    lines = said.splitlines()
    warned = case.kind == "no memory" and bool(lines) and lines[0].startswith("warning: ulimit -v")
    aborted = warned and status in ABORTS
    clear = bool(lines) and lines[-1].startswith("error: ")
    clear = clear and (len(lines) == 1 or case.kind == "no memory")
    # A sweep goes on with the runs that may need less.
    statuses = (1, 2) if (case.command, case.kind) == ("sweep", "no memory") else (2,)
    if not aborted and (status not in statuses or not clear):
        return "wrong", f"status {status}: {said}"
    # What an aborted process leaves, or one whose folder is elsewhere now, the next one removes.
    if made_again or (half and not aborted and case.kind != "folder moved"):
        return "wrong", f"left {half or place.out} behind; {said}"
    if case.kind == "folder removed" and command.begins and not place.out.exists():
        shutil.copytree(place.folder / command.begins, place.out)
    status, _ = forked(lambda: command(place), errors)
    if status != 0:
        return "wrong", f"{said}; then, started again: status {status}: {errors.read_text()}"
    if forked(lambda: command.result(place.out))[1] != needed.result:
        return "wrong", f"{said}; then, started again, it gave another result"
    if half := [str(path) for path in disk.rglob(f"{TEMPORARY}*")]:
        return "wrong", f"{said}; then, started again, it left {half} behind"
    return ("aborted" if aborted else "detected"), said


Counts = dict[tuple[str, str], Counter]
"""(command, kind) → how many cases had which outcome."""


def matrix(
    counts: Sequence[int] = CASES, only: Sequence[str] = (), tell: Callable[[str], None] = say
) -> tuple[Counts, list[str]]:
    """Tries every case; the counts, and what went wrong."""
    found: Counts = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        with TINY_ONE:
            status, _ = forked(place.make, place.folder / "errors")
        assert status == 0, (place.folder / "errors").read_text()
        needed: dict[str, Need] = {}
        for case in cases(counts):
            if only and case.command not in only:
                continue
            if case.command not in needed:
                needed[case.command] = need(COMMANDS[case.command], place)
            how, said = outcome(case, place, needed[case.command])
            found.setdefault((case.command, case.kind), Counter())[how] += 1
            line = f"{case.command}, {case.kind} {case.share:.3f}: {how}; {said}"
            tell(line)
            if how == "wrong":
                wrong.append(line)
    return found, wrong


def rows_of(counts: Counts) -> dict[str, str]:
    """The matrix as Markdown: a row of its table for each command."""
    rows = {}
    for command in dict.fromkeys(command for command, _ in counts):
        cells = []
        for kind in KINDS:
            counted = counts.get((command, kind), {})
            cells.append(", ".join(f"{counted[o]} {o}" for o in OUTCOMES if counted.get(o)) or "–")
        rows[command] = f"| `{command}` | {' | '.join(cells)} |"
    return rows


def rows_on(page: Path) -> dict[str, str]:
    """The rows that a page has."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    found = re.findall(r"^(\| `(\w+)` \|.*)$", text, re.MULTILINE)
    return {command: row for row, command in found if command in COMMANDS}


def told(rows: Mapping[str, str]) -> str:
    """The sums of a table's rows in a line."""
    cells = re.findall(rf"(\d+) ({'|'.join(OUTCOMES)})", " ".join(rows.values()))
    found = {o: sum(int(number) for number, other in cells if other == o) for o in OUTCOMES}
    return f"{sum(found.values()):,} cases: " + ", ".join(
        f"{number:,} {outcome}" for outcome, number in found.items()
    )


TITLE = "# What a full disk, a lost folder and too little memory come to"
TEXT = """Do not edit; it is written by

    python tests/hardship.py --cases {cases} {only}--out=docs/reliability.md

`make long-tests` makes the whole matrix as a test; `--only run` makes the row of one command anew
and leaves the others. Each command met, in a process of its own,

- **disk full**: a tmpfs of less room than the command needs;
- **read-only**: the same mounted so;
- **folder removed** or **moved** away while it was written, at various moments;
- **input moved** away while it was read;
- **no memory**: a half, a quarter and so on of the address space that the command asks for beyond
  that at its start (what `ulimit -v` sets). What is refused memory first differs from time to time.
  Where `ulimit -v` does not even suffice for the libraries, a command ends at once, with status 2
  and a line.

Then the hardship was over, and the command was started again in the same place. A case is

- **detected**: one line (without memory perhaps after what libraries had to say), exit status 2
  (1 of a sweep that went on with other runs), nothing half-written, and the second start ended with
  the files of an undisturbed one (weights, predictions and models to the bit, scores of photographs
  up to rounding; it also removed what was unfinished in a folder that had been moved away);
- **survived**: the first ended with them;
- **aborted**: as detected, but the library that was refused memory (LLVM, TensorFlow, the loader)
  ended the process itself, after a line of ours that warned of it: in words of its own, or without
  any where it went on as if it had the memory;
- **wrong**: anything else.

{total}

| command | {kinds} |
|---|{columns}
{rows}
"""


def main() -> None:
    """Runs the matrix, writes its part of the page; ends with status 1 where a case is wrong."""
    parser = argparse.ArgumentParser(description=str(__doc__))
    parser.add_argument("--out", type=Path, help="the page that has the table")
    parser.add_argument("--only", nargs="*", default=(), help="of the commands these alone")
    parser.add_argument("--cases", nargs=len(KINDS), type=int, default=CASES, help="of each kind")
    options = parser.parse_args()
    if not allowed():
        say("mounts are not allowed here")
        return
    counts, wrong = matrix(options.cases, options.only)
    rows = rows_of(counts)
    say(told(rows))
    for row in rows.values():
        say(row)
    if options.out is not None:
        rows = rows_on(options.out) | rows
        some = " ".join(command for command in COMMANDS if command in rows)
        text = TEXT.format(
            cases=" ".join(map(str, options.cases)),
            only="" if rows.keys() == COMMANDS.keys() else f"--only {some} ",
            total=told(rows),
            kinds=" | ".join(KINDS),
            columns="---|" * len(KINDS),
            rows="\n".join(rows[command] for command in COMMANDS if command in rows),
        )
        replace_part(options.out, TITLE, text)
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
