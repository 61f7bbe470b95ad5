"""Compiled functions without a place for what was compiled."""

import numba
import pytest

from tagnet.search.compiled import compiled


def test_what_cannot_be_kept_is_compiled_all_the_same() -> None:
    """Numba keeps nothing of a function without a file, or in a read-only installation."""
    found: dict = {}
    exec("def double(number): return 2 * number", found)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(found["double"])
    assert compiled(nogil=True)(found["double"])(3) == 6
