"""A lab, and a process to use it in, for all tests of a session."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reliability import matrix


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> matrix.Lab:
    return matrix.Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def call() -> Iterator[Callable[..., Any]]:
    """Gives what a function returns in a process that has loaded TensorFlow, and not used it."""
    with matrix.process() as call:
        yield call
