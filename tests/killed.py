"""Runs a command of the project, and kills it in the middle.

    python tests/killed.py PLACE WHEN MODULE ARGUMENT ...

WHEN is `never`, `operation:17` (before the 17th file in PLACE is opened, made, renamed, listed or
removed), `stop:17` (there it is stopped, to be continued) or `second:0.8` (so long after the first
of these, wherever it is then; it also falls into what native code writes). Without a kill it ends
with a line of how many of these operations there were, in how many seconds.

    python tests/killed.py serve MODULE

imports what the command imports, which takes most of a short command's time, and starts it in a
fork of itself for each line that it is given; see `serve`.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

LIMIT = 3600  # seconds that a command may take, on a machine that has other work too


class Killer:
    """Watches the operations of this process on files below `place`, and kills it."""

    def __init__(self, place: str, when: str) -> None:
        self.operations = 0
        self.begun = time.monotonic()
        self._place = place
        self._kind, _, number = when.partition(":")
        self._number = float(number or 0)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event.split(".")[0] not in ("open", "os", "shutil"):
            return
        if event == "open":
            arguments = arguments[:1]  # the mode is no path
        paths = [os.path.abspath(one) for one in arguments if isinstance(one, str | os.PathLike)]
        if not any(path.startswith(self._place) for path in paths):
            return
        self.operations += 1
        if self.operations == 1:
            self.begun = time.monotonic()
            if self._kind == "second":
                threading.Timer(self._number, self._kill).start()
        if self._kind in ("operation", "stop") and self.operations == self._number:
            self._kill()

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP if self._kind == "stop" else signal.SIGKILL)


def make_small() -> None:
    """Gives `annotate` a backbone without a CNN, and chunks of which few photographs make several.

    Here, since what it imports takes seconds.
    """
    from graphs import TINY

    from experiments.annotation import batch
    from tagnet.backbones import features

    features.BACKBONES["tiny"] = TINY
    batch.CHUNK = 8


def run(place: str, when: str, module: str, *arguments: str) -> None:
    """Runs the command in this process."""
    sys.argv[:] = [module, *arguments]
    if module == "experiments.annotate":
        make_small()
    killer = Killer(place, when)
    sys.addaudithook(killer)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        seconds = time.monotonic() - killer.begun
        print(f"{killer.operations} operations in {seconds:.3f} s")


def serve(module: str) -> None:
    """Runs the command once for each line of the standard input, each in a fork of this process.

    A line is a JSON list: PLACE, where the command works too; WHEN; a folder for what it says,
    as `stdout` and `stderr`; its arguments. Answers with a line that has its exit status.
    """
    importlib.import_module(module)
    del sys.modules[module]  # it is run, in a fork
    for line in sys.stdin:
        place, when, said, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(LIMIT)
            for descriptor, name in (1, "stdout"), (2, "stderr"):
                with open(Path(said) / name, "w") as file:
                    os.dup2(file.fileno(), descriptor)
            os.chdir(place)
            return run(place, when, module, *arguments)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        run(*sys.argv[1:])
