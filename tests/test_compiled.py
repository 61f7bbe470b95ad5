"""Compiled functions without a place for what was compiled, and without threads."""

import sys

import numba
import numpy as np
import pytest
from processes import limited

from tagnet.search import vectors
from tagnet.search.compiled import compiled


def test_what_cannot_be_kept_is_compiled_all_the_same() -> None:
    """Numba keeps nothing of a function without a file, or in a read-only installation."""
    found: dict = {}
    exec("def double(number): return 2 * number", found)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(found["double"])
    assert compiled(nogil=True)(found["double"])(3) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of address space")
@pytest.mark.parametrize("megabytes", [3, 16, 20, 24, 28])
def test_threads_that_are_refused_are_not_waited_for(megabytes: int) -> None:
    vectors.norms(np.ones([3, 2], np.float32))  # else the child has to compile it
    ended = limited(
        megabytes,
        "import numpy as np; from tagnet import vector_search",
        "vector_search.norms(np.ones([3, 2], np.float32))",
        NUMBA_THREADING_LAYER="workqueue",
    )
    refused = "MemoryError", "RuntimeError: can't start new thread"
    if ended.returncode != 0 or megabytes == 3:  # of few threads more suffice
        assert ended.returncode == 1, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(refused)
