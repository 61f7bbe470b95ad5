"""What memory the system leaves this process, what it looks like where that is too little."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import psutil

from tagnet import address_space_limit
from tagnet.system.files import is_of_tensorflow

LITTLE = 2**28  # bytes of address space
# What training reserves of it, also for each thread; little of it is used.
AMPLE, AMPLE_FOR_A_CORE = 2**31, 2**28
RESERVE = 2**23
NOT_MAPPED = "failed to map segment from shared object"  # what the C library says of a library


def is_for_want_of_memory(error: Exception) -> bool:
    """Whether the system refused memory, a thread or a library."""
    # What compiled code was refused shows in errors of many kinds.
    if is_of_tensorflow(error) or isinstance(error, SystemError):
        return type(error).__name__ == "ResourceExhaustedError" or _is_hardly_any_left()
    no_thread = isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    no_library = isinstance(error, ImportError) and NOT_MAPPED in str(error)
    return isinstance(error, MemoryError) or no_thread or no_library


def is_out_of_memory(error: Exception) -> bool:
    """Whether this process has hardly any memory left; else a damaged file asked for too much."""
    return isinstance(error, MemoryError) and _is_hardly_any_left()


def _is_hardly_any_left() -> bool:
    """Whether `ulimit -v` leaves this process less than a library may take at a time."""
    left = address_space_left()
    return left is not None and left < LITTLE


def is_scarce() -> bool:
    """Whether `ulimit -v` leaves this process less than a training may take."""
    left = address_space_left()
    return left is not None and left < AMPLE + AMPLE_FOR_A_CORE * (os.cpu_count() or 1)


def address_space_left() -> int | None:
    """Bytes that `ulimit -v` leaves this process; None where it sets no limit."""
    most = address_space_limit()
    return None if most is None else max(most - psutil.Process().memory_info().vms, 0)


@contextlib.contextmanager
def reserved() -> Iterator[None]:
    """Holds some memory back meanwhile, where it is scarce: to say afterwards what went wrong."""
    held = bytearray(RESERVE if is_scarce() else 0)
    try:
        yield
    finally:
        held.clear()


def pool(threads: int | None) -> Executor:
    """Threads that work is shared out to; where memory is scarce, this thread alone.

    A thread that Python has no memory for can end without a word, and whoever waits for what it
    was to do waits for ever.
    """
    return _Here() if is_scarce() else ThreadPoolExecutor(threads)


class _Here(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*arguments, **named))
        except Exception as error:
            done.set_exception(error)
        return done
