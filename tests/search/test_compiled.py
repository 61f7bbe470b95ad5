"""Compiled functions: how long compiling took can be told."""

import numba

from tagnet.search.compiled import compile_time


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
