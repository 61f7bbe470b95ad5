"""Functions that numba compiles and keeps on disk where it can."""

from collections.abc import Callable
from typing import Any

import numba


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
