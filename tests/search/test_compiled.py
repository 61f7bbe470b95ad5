"""Compiled functions: without a place for what was compiled, and how long compiling took."""

import numba
import pytest

from tagnet.search.compiled import compile_time, compiled


def test_what_cannot_be_kept_is_compiled_all_the_same() -> None:
    """Numba keeps nothing of a function without a file, or in a read-only installation."""
    found: dict = {}
    exec("def double(number): return 2 * number", found)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(found["double"])
    assert compiled(nogil=True)(found["double"])(3) == 6


def test_compile_time_counts_what_is_compiled():
    @numba.njit
    def inner(number):
        return number + 1

    @numba.njit
    def outer(number):
        return inner(number) * 2

    with compile_time() as first:
        assert outer(1) == 4
    with compile_time() as second:
        assert outer(2) == 6
    assert first.seconds > 0
    assert second.seconds == 0
