"""What commands meet, and what comes of it: each command times each interference."""

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from reliability.commands import COMMANDS, Command, contents, files, make_small, same, write_inputs
from tagnet.system.files import TEMPORARY

LIMIT = 900.0  # seconds after which a process hangs, on a machine that has other work too
FORK = multiprocessing.get_context("fork")
LOGGED = re.compile(r"[IWEF]\d{4} |WARNING: All log messages")  # by TensorFlow's libraries
PAGE = 4096
NEW_NAMESPACE, NEW_USER = 0x20000, 0x10000000  # of mounts, of users; from sched.h
READ_ONLY, REMOUNT, PRIVATE = 1, 32, 0x4000 | 0x40000  # from mount.h

OUTCOMES = ("recovered", "detected", "rebuilt", "harmless", "wrong")
Outcome: TypeAlias = tuple[str, str]
"""One of `OUTCOMES`, and what was said."""


class Whole(NamedTuple):
    """An undisturbed command: its file operations, its seconds, the checksums of all files."""

    operations: int
    seconds: float
    contents: dict[str, str]


class Ended(NamedTuple):
    """A process that ended: its status, all it said, the last line of its own on stderr."""

    status: int
    said: str
    line: str

    @property
    def refused(self) -> bool:
        """Whether it ended with a line that says what is wrong; status 1 is of a failed run."""
        return self.status in (1, 2) and self.line.startswith("error: ")


class Lab:
    """The folder in which commands work, and what they made where nothing disturbed them.

    Processes are forks of the one that this is used in, which must not have used TensorFlow.

    Args:
        folder: of this lab.
    """

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.made = folder / "made"  # a folder for each command
        self._said = folder / "said"
        self.work.mkdir(parents=True, exist_ok=True)
        if not (self.made / "inputs").exists():
            write_inputs(self.made / "inputs")

    def begin(self, command: Command) -> None:
        """Puts into the folder what the command begins with, and nothing else."""
        if command.after in COMMANDS:
            self.whole(COMMANDS[command.after])
        _remove(self.work.iterdir())  # the folder itself may be a disk
        shutil.copytree(self.made / command.after, self.work, dirs_exist_ok=True)
        for pattern in command.without:
            _remove(self.work.glob(pattern))

    def whole(self, command: Command) -> Whole:
        """Runs the command undisturbed, once for this folder."""
        told = self.made / f"{command.name}.json"
        if not told.exists():
            self.begin(command)
            begun = time.monotonic()
            ended = self.end(self.start(command))
            seconds = time.monotonic() - begun
            if ended.status:
                raise RuntimeError(f"{command.name} fails by itself: {ended.said}")
            operations = int((self._said / "0" / "operations").read_text())
            whole = Whole(operations, seconds, contents(self.work, command))
            shutil.copytree(self.work, self.made / command.name)
            told.write_text(json.dumps(whole))
        return Whole(*json.loads(told.read_text()))

    def start(self, command: Command, operation: int = 0, number: int = 0) -> BaseProcess:
        """Starts the command.

        Args:
            command: which.
            operation: the number, from 1, of the file operation before which it is killed.
            number: of the process, if several are started at once.
        """
        said = self._said / str(number)
        said.mkdir(parents=True, exist_ok=True)
        process = FORK.Process(target=_run, args=(command, self.work, said, operation))
        process.start()
        return process

    def end(self, process: BaseProcess, seconds: float = LIMIT, number: int = 0) -> Ended:
        """Waits for a process, and kills it after so many seconds."""
        process.join(seconds)
        process.kill()
        process.join()
        paths = (self._said / str(number) / name for name in ("stdout", "stderr"))
        out, errors = (path.read_text("utf-8", "replace") for path in paths)
        lines = [line for line in errors.splitlines() if not LOGGED.match(line)]
        assert process.exitcode is not None
        return Ended(process.exitcode, out + errors, lines[-1] if lines else "")

    def outcome(self, command: Command, good: str, but: str = "") -> Outcome:
        """`good` where all files, but for one, are as the undisturbed command left them."""
        found, expected = contents(self.work, command), self.whole(command).contents
        names = (found.keys() | expected.keys()) - {but}
        if other := sorted(name for name in names if not same(found.get(name), expected.get(name))):
            return "wrong", f"other files: {', '.join(other)}"
        return good, ""

    def finish(self, command: Command, good: str) -> Outcome:
        """Starts the command again, to its end; as `outcome`."""
        ended = self.end(self.start(command))
        if ended.status:
            return "wrong", f"it did not go on: {ended.said}"
        return self.outcome(command, good)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(command: Command, work: Path, said: Path, operation: int) -> None:
    """Runs a command in this process; how many file operations it took is then in `said`."""
    for descriptor, name in (1, "stdout"), (2, "stderr"):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(work)
    tempfile.tempdir = str(said)  # what a kill leaves there goes with the lab
    sys.path.append(str(work))
    sys.argv[:] = [command.module, *command.flags]
    sys.modules.pop(command.module, None)  # it is run, not imported
    count = 0

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event.split(".")[0] not in ("open", "os", "shutil"):
            return
        if event == "open":
            arguments = arguments[:1]  # the mode is no path
        paths = (os.path.abspath(one) for one in arguments if isinstance(one, str | os.PathLike))
        if any(path.startswith(str(work)) for path in paths):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)
    try:
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    finally:
        (said / "operations").write_text(str(count))


# --- Interferences: each has a `kind`, the column of a table, and befalls something, its row ---

BY_OPERATION, BY_CLOCK = "killed at a file operation", "killed by the clock"


@dataclasses.dataclass(frozen=True)
class Kill:
    """Kills by SIGKILL, each at a share of the command's file operations or seconds."""

    kind: str
    shares: tuple[float, ...]
    what: str = ""

    def meet(self, lab: Lab, command: Command) -> Outcome:
        """Kills the command, and lets it go on."""
        whole = lab.whole(command)
        lab.begin(command)
        for number, share in enumerate(self.shares):
            while True:
                by_operation = self.kind == BY_OPERATION
                operation = 1 + int(share * whole.operations) if by_operation else 0
                seconds = LIMIT if by_operation else share * whole.seconds
                status = lab.end(lab.start(command, operation), seconds).status
                if status or number:  # after a kill little may be left to do
                    break
                lab.begin(command)
                share /= 2  # it was quicker this time
            if status not in (0, -signal.SIGKILL):
                return "wrong", f"status {status} where a kill was due"
        return lab.finish(command, "recovered")


@dataclasses.dataclass(frozen=True)
class Company:
    """The command is started three times at once."""

    kind: str = "started three times at once"
    what: str = ""

    def meet(self, lab: Lab, command: Command) -> Outcome:
        """Each must do its part, or be refused because another is at work."""
        lab.begin(command)
        processes = [lab.start(command, number=number) for number in range(3)]
        ended = [lab.end(process, number=number) for number, process in enumerate(processes)]
        if not all(one.refused or one.status == 0 for one in ended):
            return "wrong", "; ".join(one.said for one in ended)
        return lab.outcome(command, "recovered")


def _flipped(whole: bytes, share: float) -> bytes:
    place = int(share * 8 * len(whole))
    changed = bytearray(whole)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, float], bytes | None]] = {
    "missing": lambda whole, share: None,
    "empty": lambda whole, share: b"",
    "truncated": lambda whole, share: whole[: max(1, int(share * len(whole)))],
    "bit flipped": _flipped,
}


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file is damaged before the command starts; its time stays as it was.

    Attributes:
        kind: one of `DAMAGES`.
        file: which, relative to the folder of the lab.
        share: where in the file.
    """

    kind: str
    file: str
    share: float = 0.0

    @property
    def what(self) -> str:
        """The kind of file: shards and parts together."""
        name = self.file
        for pattern, instead in (
            (r"^(data|run|answers|(sweep|search)/[^/]+)/", ""),
            (r"-\d{5}-of-\d{5}|-[0-9a-f]{12,}", "-…"),
            (r"^(neighbours|conditions|\.stages/photographs|\.stages)/.*(?=\.)", r"\1/…"),
        ):
            name = re.sub(pattern, instead, name)
        return name

    def meet(self, lab: Lab, command: Command) -> Outcome:
        """The command must name the file, make it again, or do without it."""
        lab.begin(command)
        path = lab.work / self.file
        whole, times = path.read_bytes(), path.stat()
        if (damaged := DAMAGES[self.kind](whole, self.share)) is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        ended = lab.end(lab.start(command))
        if ended.refused:
            some = f"{path.name.partition('-')[0]}-*{path.suffix}"  # where none of them is left
            named = path.name in ended.said or some in ended.said
            return ("detected" if named else "wrong"), ended.line
        if ended.status:
            return "wrong", ended.said
        again = path.exists() and path.read_bytes() == whole
        return lab.outcome(command, "rebuilt" if again else "harmless", but=self.file)


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk with a share of the room that the command needs, or without a share read-only."""

    share: float | None
    what: str = ""

    @property
    def kind(self) -> str:
        """By what it is refused to write."""
        return "read-only folder" if self.share is None else "full disk"

    def meet(self, lab: Lab, command: Command) -> Outcome:
        """The command must say so in a line, and go on when there is room."""
        lab.whole(command)
        return _apart(self._meet, lab, command)

    def _meet(self, lab: Lab, command: Command) -> Outcome:
        own_mounts()
        _mount(lab.work, "size=1g")
        lab.begin(command)
        if self.share is None:
            _mount(lab.work, "", REMOUNT | READ_ONLY)
        else:
            disk = os.statvfs(lab.work)
            more = self.share * (_pages(lab.made / command.name) - _pages(lab.work))
            size = int(disk.f_blocks - disk.f_bfree + more) + 1
            _mount(lab.work, f"size={size * PAGE}", REMOUNT)
        ended = lab.end(lab.start(command))
        half = [str(path) for path in lab.work.rglob(f"{TEMPORARY}*")]
        _mount(lab.work, "size=1g", REMOUNT)
        if ended.status == 0:
            return lab.outcome(command, "harmless")
        if not ended.refused or half:
            return "wrong", f"{ended.said}; left behind: {half}"
        return lab.finish(command, "detected")


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or raises, in a fork of this process."""
    with concurrent.futures.ProcessPoolExecutor(1, FORK) as pool:
        return pool.submit(work, *arguments).result()


def own_mounts() -> None:
    """Gives this process mounts of its own, as a user without rights too."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", NEW_NAMESPACE | (NEW_USER if user else 0))
    if user:
        for name, text in ("setgroups", "deny"), ("uid_map", user), ("gid_map", group):
            Path("/proc/self", name).write_text(text if name == "setgroups" else f"0 {text} 1")
    _call("mount", b"none", b"/", None, PRIVATE, None)


def may_mount() -> bool:
    """Whether a process may have mounts of its own here."""
    try:
        _apart(own_mounts)
    except OSError:
        return False
    return True


def _mount(folder: Path, options: str, flags: int = 0) -> None:
    """Mounts a tmpfs, or with `REMOUNT` changes the one that is there."""
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode())


def _call(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _pages(folder: Path) -> int:
    """The pages that the files below a folder take on a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*") if path.is_file())


# --- All cases ----------------------------------------------------------------------------------

Interference: TypeAlias = Kill | Company | Damage | Disk


class Row(NamedTuple):
    """What came of one case."""

    command: str
    kind: str
    what: str
    outcome: str
    said: str


def kills(lab: Lab, command: Command, count: int = 6) -> list[Interference]:
    """At so many moments, half of them by the clock; some kill twice."""
    if not command.writes:
        return []
    found: list[Interference] = []
    for number, share in enumerate(_shares(command, count)):
        shares = (share, 1 - share) if number % 4 > 1 else (share,)
        found.append(Kill((BY_OPERATION, BY_CLOCK)[number % 2], shares))
    return [*found, Company()] if command.shared else found


def damages(lab: Lab, command: Command, cuts: int = 2, flips: int = 4) -> list[Interference]:
    """Every way for a file of each kind that the command reads."""
    lab.begin(command)
    found: list[Interference] = []
    for patterns, bits in ((command.reads, flips), (command.trusts, 0)):
        first: dict[str, str] = {}
        for file in files(lab.work, *patterns):
            first.setdefault(Damage("", file).what, file)
        for file in first.values():
            shares = _shares(command, cuts + bits)
            found += [Damage("missing", file), Damage("empty", file)]
            found += [Damage("truncated", file, share) for share in shares[:cuts]]
            found += [Damage("bit flipped", file, share) for share in shares[cuts:]]
    return found


def disks(lab: Lab, command: Command, count: int = 3) -> list[Interference]:
    """Disks of ever more room, and one that cannot be written."""
    shares = [(number + 0.5) / count for number in range(count)]
    return [Disk(share) for share in (*shares, None)] if command.writes else []


def _shares(command: Command, count: int) -> list[float]:
    """Numbers from 0 to below 1 that depend on the command alone."""
    return np.random.default_rng(list(command.name.encode())).random(count).tolist()


def row(lab: Lab, command: Command, case: Interference) -> Row:
    """What comes of one case."""
    return Row(command.name, case.kind, case.what, *case.meet(lab, command))


@contextlib.contextmanager
def process() -> Iterator[Callable[..., Any]]:
    """A process that has loaded what commands need, and gives what a function returns in it."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, make_small) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments).result()


def rows(
    lab: Lab, cases: Callable[[Lab, Command], Sequence[Interference]], only: Sequence[str] = ()
) -> Iterator[Row]:
    """Every case of every command, or of some of them."""
    commands = [COMMANDS[name] for name in only or COMMANDS]
    with process() as call:
        for command in commands:
            call(lab.whole, command)
    with process() as call:  # which orders its sets otherwise
        for command in commands:
            for case in call(cases, lab, command):
                yield call(row, lab, command, case)
