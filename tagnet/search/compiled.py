"""Functions that numba compiles: kept on disk where that can be, shared out to threads."""

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


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


def parallel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function whose loops over `numba.prange` are shared out to threads.

    Raises:
        RuntimeError: when it is called, and the system has no room for the threads.
    """
    in_threads = compiled(parallel=True)(function)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        num_threads()
        return in_threads(*arguments, **named)

    return call


@functools.cache
def num_threads() -> int:
    """Starts the threads, once, and says how many there are.

    Numba says nothing of threads that the system refuses, and waits for them for ever. Python
    says so, hence it starts as many first; where they were, there is room for numba's.

    Raises:
        RuntimeError: the system has no room for them.
    """
    enough = threading.Event()
    started = []
    try:
        for _ in range(numba.config.NUMBA_NUM_THREADS):  # type: ignore[attr-defined]
            thread = threading.Thread(target=enough.wait)
            thread.start()
            started.append(thread)
    finally:
        enough.set()
        for thread in started:
            thread.join()
    return numba.get_num_threads()
