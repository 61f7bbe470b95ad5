"""Compiled functions without a place for what was compiled, and without threads."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from tagnet import vector_search
from tagnet.compiled import compiled


def test_what_cannot_be_kept_is_compiled_all_the_same() -> None:
    """Numba keeps nothing of a function without a file, or in a read-only installation."""
    found: dict = {}
    exec("def double(number): return 2 * number", found)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(found["double"])
    assert compiled(nogil=True)(found["double"])(3) == 6


PROGRAM = """
import resource, sys
import numpy as np
from processes import address_space
from tagnet import vector_search
most = address_space("VmSize") + 2**20 * int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
vector_search.norms(np.ones([3, 2], np.float32))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of address space")
@pytest.mark.parametrize("megabytes", [3, 16, 20, 24, 28])
def test_threads_that_are_refused_are_not_waited_for(megabytes: int) -> None:
    vector_search.norms(np.ones([3, 2], np.float32))  # else the child has to compile it
    path = os.pathsep.join(sys.path)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(megabytes)],
        env=os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    refused = "MemoryError", "RuntimeError: can't start new thread"
    if ended.returncode != 0 or megabytes == 3:  # of few threads more suffice
        assert ended.returncode == 1, ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(refused)
