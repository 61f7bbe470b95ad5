"""Functions that numba compiles and keeps on disk where it can."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core import event


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function, once for all processes where the result can be kept on disk.

    It is kept beside the function's file, in the user's cache, or where `NUMBA_CACHE_DIR` says.

    Args:
        options: those of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba's word for places that cannot be written
            return numba.njit(**options)(function)

    return decorate


class CompileTime(event.Listener):
    """How long numba compiles while it listens.

    Attributes:
        seconds: so far; what is read from disk takes none.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun: list[float] = []  # functions that are compiled call functions that are

    def on_start(self, event: event.Event) -> None:
        """Notes that a function is being compiled."""
        self._begun.append(time.perf_counter())

    def on_end(self, event: event.Event) -> None:
        """Counts the outermost function."""
        begun = self._begun.pop()
        if not self._begun:
            self.seconds += time.perf_counter() - begun


@contextlib.contextmanager
def compile_time() -> Iterator[CompileTime]:
    """Measures what numba compiles in the block."""
    listener = CompileTime()
    with event.install_listener("numba:compile", listener):
        yield listener
