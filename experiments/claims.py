"""Who runs what, among processes on machines that share a disk.

A claim on NAME is a file `NAME.K`, made with O_EXCL, and the one with the highest K
decides. Its holder touches it every `HEARTBEAT` seconds and writes `released` into it at
the end. The next claim, `NAME.K+1`, may be made when that file is released, when its
process is known to be dead (same machine), or when it was not touched for `STALE` seconds.
Numbers only rise, so that of several processes that find a stale claim one alone succeeds
and nobody can remove a claim that is younger than the one it looked at.

Ages are taken by the clock of the disk, from a file touched at that moment, since the
machines' own clocks may differ.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tagnet.files import read_text

HEARTBEAT = 20.0  # seconds
STALE = 600.0  # a holder that missed 30 heartbeats is dead or cut off from the disk
RELEASED: Literal["released"] = "released"


class Claim:
    """A claim that is held, until `release`.

    Attributes:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # the disk may come back before it is stale
                os.utime(self.path)

    @property
    def lost(self) -> bool:
        """Whether another took over, because this process stood still for too long."""
        newest = _newest(self.path.parent, self.path.name.rpartition(".")[0])
        return newest != self.path

    def release(self) -> None:
        """Lets others claim the name."""
        self._ended.set()
        self._heart.join()
        self.path.write_text(RELEASED)


def claim(directory: Path, name: str) -> Claim | None:
    """Claims `name`, or returns None where a living process holds it.

    Args:
        directory: where the claims are, on the disk that the machines share.
        name: what is claimed, part of a file name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    newest = _newest(directory, name)
    if newest is not None and not _is_free(newest):
        return None
    number = 0 if newest is None else int(newest.suffix[1:]) + 1
    path = directory / f"{name}.{number}"
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:  # another was quicker
        return None
    with open(file, "w") as opened:
        json.dump({"machine": machine(), "pid": os.getpid()}, opened)
    return Claim(path)


@contextlib.contextmanager
def held(directory: Path, name: str, poll: float) -> Iterator[Claim]:
    """Holds the claim on `name` meanwhile; waits for it, looking every `poll` seconds."""
    while (mine := claim(directory, name)) is None:
        time.sleep(poll)
    try:
        yield mine
    finally:
        mine.release()


def holder(directory: Path, name: str) -> str | None:
    """The machine and process that hold `name`, for a message; None where none does."""
    newest = _newest(directory, name)
    if newest is None or _is_free(newest):
        return None
    told = _told(newest)
    if not isinstance(told, dict):
        return "another process"
    return f"process {told['pid']} on {told['machine']}"


def machine() -> str:
    """What tells apart machines, and containers on one of them, by their process numbers."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _newest(directory: Path, name: str) -> Path | None:
    numbers = [
        int(path.suffix[1:])
        for path in directory.glob(f"{name}.*")
        if path.stem == name and path.suffix[1:].isdecimal()
    ]
    return directory / f"{name}.{max(numbers)}" if numbers else None


def _is_free(path: Path) -> bool:
    """Whether the claim is released, or its holder dead."""
    told = _told(path)
    if told == RELEASED:
        return True
    if isinstance(told, dict) and told["machine"] == machine() and not _alive(told["pid"]):
        return True
    probe = path.with_name(f".clock-{os.getpid()}-{threading.get_ident()}")
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return now - path.stat().st_mtime > STALE


def _told(path: Path) -> dict[str, Any] | Literal["released"] | None:
    """What a claim's file says: its holder, `RELEASED`, or None while it is being written."""
    text = read_text(path)
    if text == RELEASED:
        return RELEASED
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is alive, and another user's
        return True
    return True
