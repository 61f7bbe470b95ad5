"""Who is at work on what, among processes on machines that share a disk.

A claim on NAME is a file `NAME.K`, made with O_EXCL. Its holder touches it every `HEARTBEAT`
seconds and removes it at the end. Another may claim NAME when there is no such file, or when
the process of each is known to be dead (same machine) or did not touch it for `STALE` seconds;
it takes the next K, so that of several processes that find the same stale claim one alone
succeeds. Having made its file it looks again and gives way to any other that is alive: of two
that look after they have made theirs, one at least sees the other.

A holder that stood still for so long that another took over notices it at its next heartbeat,
and `held` ends its work.

Ages are taken by the clock of the disk, from a file touched at that moment, since the
machines' own clocks may differ.
"""

import _thread
import contextlib
import datetime
import functools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tagnet.errors import InputError, Unavailable
from tagnet.system.files import guarded, remove_made_again, require_guards

HEARTBEAT = 20.0  # seconds
STALE = 600.0  # a holder that missed 30 heartbeats is dead or cut off from the disk
CLAIMS = ".claims"  # the folder of the claims on a directory, in it, while there are any
PROBE = ".clock-"  # how the names of files begin that are made to see the time of a disk
POLL = 0.1  # seconds until a claim that nobody holds is tried again
# Ends work that another has taken over. Not Ctrl-C's, which shells have commands ignore that they
# start in the background.
LOSS = getattr(signal, "SIGUSR1", signal.SIGINT)  # Windows has no other


class Claim:
    """A claim that is held, until `release`.

    Args:
        path: its file, an attribute too.
        on_loss: called once, in a thread, when another has taken over.
    """

    def __init__(self, path: Path, on_loss: Callable[[], None]) -> None:
        self.path = path
        self._on_loss = on_loss
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                self._on_loss()
                return
            except OSError:  # the disk may come back before it is stale
                pass

    @property
    def lost(self) -> bool:
        """Whether another took over, because this process stood still for too long."""
        name = self.path.name.rpartition(".")[0]
        return _all(self.path.parent, name)[-1:] != [self.path]

    def release(self) -> None:
        """Lets others claim the name."""
        self._ended.set()
        self._heart.join()
        # The disk may be gone: then nobody is kept from it for longer than this process lives.
        with contextlib.suppress(OSError):
            self.path.unlink()
        _leave(self.path.parent)


def _ignored() -> None:
    pass


def claim(directory: Path, name: str, on_loss: Callable[[], None] = _ignored) -> Claim | None:
    """Claims `name`, or returns None where a living process holds it.

    Args:
        directory: where the claims are, on the disk that the machines share.
        name: what is claimed, part of a file name.
        on_loss: see `Claim`.

    Raises:
        Unavailable: the directory is in one that was `guarded` and was taken away.
    """
    there = _all(directory, name)
    if not all(map(_is_free, there)):
        return None
    path = directory / f"{name}.{int(there[-1].suffix[1:]) + 1 if there else 0}"
    who = {
        "machine": machine(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
    }
    require_guards(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except (FileExistsError, FileNotFoundError):  # another was quicker, or took the folder away
        return None
    try:
        with open(file, "w") as opened:
            json.dump(who, opened)
        require_guards(path)
    except (OSError, Unavailable):
        # Of a file that tells of nobody, nobody could say whether he lives.
        path.unlink(missing_ok=True)
        remove_made_again(path)
        raise
    others = [other for other in _all(directory, name) if other != path]
    if not all(map(_is_free, others)):
        path.unlink(missing_ok=True)
        return None
    for other in others:
        other.unlink(missing_ok=True)
    return Claim(path, on_loss)


@contextlib.contextmanager
def held(directory: Path, name: str) -> Iterator[None]:
    """Holds a claim on what a directory is used for, for as long as the block runs.

    Args:
        directory: is made if need be, and removed again if nothing came into it.
        name: what it is used for.

    Raises:
        InputError: another process holds it, which is named, or took over, or the directory
            cannot be written to, or is taken away meanwhile.
    """
    made_here = not directory.exists()
    with _interrupter() as interrupt:
        try:
            while (claimed := claim(directory / CLAIMS, name, interrupt)) is None:
                if who := holder(directory / CLAIMS, name):
                    raise InputError(
                        f"{directory}: {who} is at work in it; wait until it has ended, or stop it"
                    )
                time.sleep(POLL)  # two gave way to each other, or it has just ended
        except OSError as error:
            if made_here:
                for folder in (directory / CLAIMS, directory):
                    with contextlib.suppress(OSError):  # it is not there, or not empty
                        folder.rmdir()
            raise Unavailable(f"{directory}: cannot be written ({error.strerror})") from error
        try:
            with guarded(directory, claimed.path):
                yield
        except KeyboardInterrupt:
            if not claimed.lost:
                raise
            if not _all(directory / CLAIMS, name):
                line = f"{directory}: was removed, or cannot be reached any more"
                raise Unavailable(line) from None
            raise InputError(
                f"{directory}: this process stood still for more than {STALE / 60:.0f} minutes, "
                "and another has taken over; what it makes is whole"
            ) from None
        finally:
            claimed.release()
            if made_here:
                with contextlib.suppress(OSError):  # it is not empty
                    directory.rmdir()


@contextlib.contextmanager
def _interrupter() -> Iterator[Callable[[], None]]:
    """Gives what interrupts the main thread from another one, while the block runs."""
    if threading.current_thread() is not threading.main_thread():  # which alone sets handlers
        yield _thread.interrupt_main
        return
    earlier = signal.signal(LOSS, signal.default_int_handler)
    try:
        yield functools.partial(_thread.interrupt_main, LOSS)
    finally:
        signal.signal(LOSS, earlier or signal.SIG_DFL)


@contextlib.contextmanager
def waited_for(directory: Path, name: str, poll: float) -> Iterator[Claim]:
    """Holds the claim on `name` meanwhile; waits for it, looking every `poll` seconds."""
    while (claimed := claim(directory, name)) is None:
        time.sleep(poll)
    try:
        yield claimed
    finally:
        claimed.release()


def holder(directory: Path, name: str) -> str | None:
    """The process that holds `name`, its machine, and since when; None where none does."""
    held_by = [path for path in _all(directory, name) if not _is_free(path)]
    if not held_by:
        return None
    told = _told(held_by[-1])
    if told is None:
        return "another process"
    return f"process {told['pid']} on {told['host']} (since {told['since']})"


def machine() -> str:
    """What tells apart machines, and containers on one of them, by their process numbers."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def clear(directory: Path) -> None:
    """Removes what dead processes left that were killed after their work, before they let go.

    Args:
        directory: where the claims are; it goes too, if no others are left in it.
    """
    for name in {path.stem for path in _in(directory)}:
        if (claimed := claim(directory, name)) is not None:
            claimed.release()
    _leave(directory)


def _leave(directory: Path) -> None:
    """Removes a folder of claims in which there are none any more."""
    with contextlib.suppress(OSError):  # others have claims there, or have just removed it
        for file in os.listdir(directory):
            if file.startswith(PROBE):  # of a process that was killed while it looked
                (directory / file).unlink(missing_ok=True)
        directory.rmdir()


def _all(directory: Path, name: str) -> list[Path]:
    """The claims on `name`, the newest last."""
    paths = [path for path in _in(directory) if path.stem == name]
    return sorted(paths, key=lambda path: int(path.suffix[1:]))


def _in(directory: Path) -> list[Path]:
    """All claims in a folder."""
    try:
        # Not `glob`: it fails where the last claim on anything, and with it the folder, goes
        # away between its look at the folder and its reading of it.
        files = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [path for path in map(directory.joinpath, files) if path.suffix[1:].isdecimal()]


def _is_free(path: Path) -> bool:
    """Whether the claim's holder is dead, or has removed it."""
    try:
        told = _told(path)
        if told is not None and told["machine"] == machine() and not _alive(told["pid"]):
            return True
        return _time(path.parent) - path.stat().st_mtime > STALE
    except FileNotFoundError:  # it was released meanwhile
        return True


def _time(directory: Path) -> float:
    """The time by the clock of the disk; raises `FileNotFoundError` where the folder is gone."""
    probe = directory / f"{PROBE}{os.getpid()}-{threading.get_ident()}"
    while True:
        probe.touch()
        with contextlib.suppress(FileNotFoundError):  # one who left the folder removed it
            now = probe.stat().st_mtime
            probe.unlink()
            return now


def _told(path: Path) -> dict[str, Any] | None:
    """What a claim's file says of its holder; None while it is written, and once it is gone."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, FileNotFoundError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is alive, and another user's
        return True
    return True
