"""Lock files for processes on machines that share a disk.

A lock on NAME is a file `NAME.lock` that its holder creates with O_EXCL, touches every
`HEARTBEAT` seconds and removes at the end. It is free when there is no file, when its process
is dead (seen on the same machine), or when it was not touched for `STALE` seconds. Ages are by
the clock of the machine that looks, so clocks must agree to within a few minutes.

A holder that stood still for so long that another process took over finds out from
`Lock.check`, which is called before a checkpoint, a result or a stage's mark takes its place.
"""

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tagnet.errors import InputError
from tagnet.system.files import writing

HEARTBEAT = 20.0  # seconds
STALE = 600.0  # a holder that missed 30 heartbeats is dead or cut off from the disk
LOCKS = ".locks"  # the folder of a directory's lock files, in it while there are any


class InUse(InputError):
    """Another process holds the lock."""


class LockLost(InputError):
    """Another process may hold the lock by now."""


class Lock:
    """A lock that this process holds until `release`.

    Args:
        path: its file, an attribute too.
        who: what the file says of this process.
    """

    def __init__(self, path: Path, who: dict[str, Any]) -> None:
        self.path = path
        self._who = who
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # the disk may come back before it is stale
                if self.lost:
                    return
                os.utime(self.path)

    @property
    def lost(self) -> bool:
        """Whether another process took the lock, or its file was removed."""
        return _read(self.path) != self._who

    def check(self) -> None:
        """Raises `LockLost` where the lock is lost."""
        if self.lost:
            raise LockLost(
                f"{self.path}: lock lost: this process was suspended for more than "
                f"{STALE / 60:.0f} minutes, or the file was removed; run the command again"
            )

    def release(self) -> None:
        """Lets other processes take the lock."""
        self._released.set()
        self._heart.join()
        with contextlib.suppress(OSError):  # the disk may be gone, or other locks be in the folder
            if not self.lost:
                self.path.unlink()
            self.path.parent.rmdir()


def try_lock(directory: Path, name: str) -> Lock | None:
    """Takes the lock on `name`; None where another process holds it.

    Args:
        directory: of the lock files, on the disk that the machines share; is made if need be.
        name: what is locked, the beginning of a file name.

    Raises:
        OSError: the file cannot be written.
    """
    path = _path(directory, name)
    if _is_stale(path):
        _remove_stale(path)
    who = {
        "machine": machine(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
        "id": uuid.uuid4().hex,  # tells this lock from earlier ones of the same process
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(path, "x", encoding="utf-8")
    except (FileExistsError, FileNotFoundError):  # another was quicker, or removed the folder
        return None
    try:
        with file:
            json.dump(who, file)
    except OSError:
        path.unlink(missing_ok=True)  # it does not say whose it is, so it would count as held
        raise
    return Lock(path, who)


def _remove_stale(path: Path) -> None:
    """Removes a stale lock file; one process does so at a time, or it might remove a fresh one."""
    guard = path.with_suffix(".takeover")
    try:
        open(guard, "x").close()
    except FileExistsError:
        if _age(guard) > STALE:  # of a process that was killed here
            guard.unlink(missing_ok=True)
        return
    try:
        if _is_stale(path):
            path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(directory: Path, name: str) -> Iterator[Lock]:
    """Holds a lock on one use of a directory while the block runs.

    Args:
        directory: is made if need be, and removed again if nothing came into it.
        name: what it is used for.

    Raises:
        InUse: another process holds the lock; the line names it.
        CannotWrite: the directory cannot be written.
    """
    made_here = not directory.exists()
    try:
        with writing(directory):
            lock = try_lock(directory / LOCKS, name)
        if lock is None:
            who = holder(directory / LOCKS, name) or "another process"
            raise InUse(f"{directory}: is in use by {who}; wait for it or stop it")
        try:
            yield lock
        finally:
            lock.release()
    finally:
        if made_here:
            for folder in (directory / LOCKS, directory):
                with contextlib.suppress(OSError):  # it is not empty, or not there
                    folder.rmdir()


@contextlib.contextmanager
def wait_for_lock(directory: Path, name: str, poll: float) -> Iterator[Lock]:
    """As `exclusive` for lock files in `directory`; tries every `poll` seconds until it is free."""
    while (lock := try_lock(directory, name)) is None:
        time.sleep(poll)
    try:
        yield lock
    finally:
        lock.release()


def holder(directory: Path, name: str) -> str | None:
    """The process that holds the lock, its machine, and since when; None where none does."""
    path = _path(directory, name)
    if not path.exists() or _is_stale(path):
        return None
    if (who := _read(path)) is None:
        return "another process"
    return f"process {who['pid']} on {who['host']} since {who['since']}"


def machine() -> str:
    """Identifies the machine, or the container on it, to which process numbers belong."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.lock"


def _is_stale(path: Path) -> bool:
    """Whether the process that made a lock's file is dead; False where there is no file."""
    who = _read(path)
    if who and who["machine"] == machine() and not psutil.pid_exists(who["pid"]):
        return True
    return _age(path) > STALE


def _age(path: Path) -> float:
    """Seconds since a file was touched; 0 where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock's file says; None while it is written, and once it is gone."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, FileNotFoundError):
        return None
