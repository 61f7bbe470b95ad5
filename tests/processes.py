"""Processes of their own: children, their disks and memory, and what they do with files."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT = 1800  # seconds until a process hangs; it may share the machine with others
DISK = 2**28  # bytes of the disk where it is not full
NEW_NAMESPACE, NEW_USER = 0x20000, 0x10000000  # of mounts, of users; from sched.h
READ_ONLY, REMOUNT, PRIVATE = 1, 32, 0x4000 | 0x40000  # from mount.h


def forked(work: Callable[[], Any], errors: Path | None = None) -> tuple[int | None, Any]:
    """Does work in a child; its exit status, None where it hangs, and what it returns.

    Args:
        work: what it returns must fit in JSON; an exit status where it is an int.
        errors: where its standard error goes; its output goes nowhere.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.close(reader)
            if errors is not None:
                os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            found = work()
            with open(writer, "w") as answer:
                json.dump(found, answer)
            status = found if isinstance(found, int) else 0
        except SystemExit as ended:
            status = ended.code or 0
            if isinstance(status, str):  # as Python does
                print(status, file=sys.stderr, flush=True)
                status = 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as answer:
        end = time.monotonic() + WAIT
        while not (waited := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.02)
        if not waited[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, None
        text = answer.read()
    return os.waitstatus_to_exitcode(waited[1]), json.loads(text) if text else None


def mount_disk(folder: Path, options: str = f"size={DISK}", flags: int = 0) -> None:
    """Mounts a tmpfs, or with `REMOUNT` changes the one that is there."""
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode())


def own_mounts() -> None:
    """Gives this process mounts of its own, as a user without rights too."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", NEW_NAMESPACE | (NEW_USER if user else 0))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", user), ("gid_map", group)):
            Path("/proc/self", name).write_text(text if name == "setgroups" else f"0 {text} 1")
    _call("mount", b"none", b"/", None, PRIVATE, None)


def _call(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


class Watch:
    """Counts how often a process opens, makes, renames or removes what is in a folder.

    Args:
        folder: which.
        last: at which of them `happens` is called, from 1; 0 never.
        happens: what then happens.
    """

    def __init__(self, folder: Path, last: int = 0, happens: Callable[[], Any] = int) -> None:
        self.count = 0
        self._folder = str(folder)
        self._last = last
        self._happens = happens
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple) -> None:
        if event.split(".")[0] not in ("open", "os"):
            return
        paths = [os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)]
        if any(path.startswith(self._folder) for path in paths):
            self.count += 1
            if self.count == self._last:
                self._happens()


def address_space(line: str) -> int:
    """Bytes of address space of this process: `VmSize`, or at most `VmPeak`."""
    status = Path("/proc/self/status").read_text()
    (found,) = (text for text in status.splitlines() if text.startswith(f"{line}:"))
    return 1024 * int(found.split()[1])


def limited(
    megabytes: int, imports: str, program: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process that may grow by so much address space after its imports.

    Args:
        megabytes: how much.
        imports, program: its lines.
        variables: of its environment, beside those of this process.
    """
    limit = (
        "import processes, resource\n"
        f"most = processes.address_space('VmSize') + 2**20 * {megabytes}\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{imports}\n{limit}{program}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def used(folder: Path) -> int:
    """The bytes that are taken of a disk."""
    stat = os.statvfs(folder)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize
