"""Functions that numba compiles for several threads."""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def parallel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function whose loops over `numba.prange` are shared out to threads.

    Raises:
        RuntimeError: when it is called, and the system has no room for the threads.
    """
    compiled = numba.njit(parallel=True, cache=True)(function)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        num_threads()
        return compiled(*arguments, **named)

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
