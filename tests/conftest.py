"""What several test files share: the flag --large, and small data sets made on the spot."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from helpers.tables import Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--disable-gpu"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--large", action="store_true", help="run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    """Prepares a process that runs tests; the one that only hands them out stays light."""
    if getattr(config.option, "dist", "no") == "no" or hasattr(config, "workerinput"):
        # Several processes share the cores; more threads for small arrays only get in their way.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        # What commands print is compared; a user's own level would let TensorFlow's lines through.
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        from tagnet.system.runtime import import_tensorflow

        import_tensorflow()  # before any test module imports it
        gc.freeze()  # or each full collection would walk all objects of TensorFlow
    # The default lane tries the same examples every time; how long one takes is no test.
    large = config.getoption("--large")
    profile = hypothesis.settings(deadline=None, derandomize=not large, database=None)
    hypothesis.settings.register_profile("lane", profile)
    hypothesis.settings.load_profile("lane")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--large"):
        return
    for item in items:
        if "large" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes; runs with --large"))


@pytest.fixture
def table(tmp_path: Path) -> "Table":
    """A small data set in a folder of its own."""
    from helpers.tables import make_table

    return make_table(tmp_path / "raw")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory for reading only.

    60 images (6 without tags), D 8, 12 tags, 5 labels, w2v of n 6, M 6, all pools, 2 splits.
    """
    from helpers.tables import make_table

    from data_tools.pipeline import prepare

    folder = tmp_path_factory.mktemp("prepared")
    prepare(make_table(folder / "raw").settings(), folder / "data")
    return folder / "data"


@pytest.fixture
def refused(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[..., int], list[str], str], None]:
    """Checks that a command answers wrong flags by one line, with status 2, and makes nothing."""
    from helpers.tables import one_line

    def check(command: Callable[..., int], given: list[str], line: str) -> None:
        out = tmp_path / "out"
        assert command(f"--data={prepared}", f"--out={out}", *given) == 2
        assert line in one_line(capsys)
        assert not out.exists()

    return check


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium without a window; tests that need it are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False)
        yield opened
        opened.close()
