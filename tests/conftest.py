"""What several test files share: the flag --large, and small data sets made on the spot."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from tagnet.system.runtime import import_tensorflow

import_tensorflow()  # before any module imports it

from data_tools.pipeline import prepare  # noqa: E402
from data_tools.settings import Settings  # noqa: E402

WORDS = ("sky", "sea", "sand", "sun", "dog", "cat", "car", "road", "tree", "bird", "snow", "boat")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--disable-gpu"]
LABELS = ("animal", "beach", "city", "forest", "winter")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--large", action="store_true", help="run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    """The default lane tries the same examples every time; how long one takes is no test."""
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


def data_tools_command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m data_tools.MODULE` in a process of its own; a warning is an error there."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"data_tools.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=120,
    )


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed to standard error, which is one line."""
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1, errors
    return errors


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclasses.dataclass(frozen=True)
class Table:
    """A raw data set on disk: what `--source=table` reads.

    Attributes:
        raw: manifest.csv; its lists are split at |.
        features: features.npz, one array [N, D].
        word_vectors: text in word2vec format.
        tags: the tags of each image, as they stand in the manifest.
        labels: likewise.
        phi: float32 [N, D], as in `features`.
    """

    raw: Path
    features: Path
    word_vectors: Path
    tags: list[list[str]]
    labels: list[list[str]]
    phi: np.ndarray

    @property
    def flags(self) -> list[str]:
        """Those of the command that prepares it which name its files."""
        names = ("raw", "features", "word_vectors")
        return [f"--{name}={getattr(self, name)}" for name in names]

    def settings(self, **changed: Any) -> Settings:
        """Settings that read this table; `changed` ones replace the others."""
        usual: dict[str, Any] = {
            "raw": self.raw,
            "features": self.features,
            "word_vectors": self.word_vectors,
            "M": 6,
            "splits": 2,
        }
        return Settings.of(**(usual | changed))


def make_table(folder: Path, num_images: int = 60, dim: int = 8, seed: int = 0) -> Table:
    """Writes a random data set in which tags and features tell something about the labels.

    Every tenth image has no tags. The last word of `WORDS` has no vector (n is 6).
    """
    rng = np.random.default_rng(seed)
    labels, tags = [], []
    phi = rng.random([num_images, dim], np.float32)
    for row in range(num_images):
        chosen = rng.choice(len(LABELS), size=1 + rng.integers(3), replace=False)
        phi[row, chosen] += 1
        labels.append([LABELS[label] for label in sorted(chosen)])
        # Two words belong to each label; the last two to none.
        likely = [2 * label + rng.integers(2) for label in chosen] + [rng.integers(len(WORDS))]
        tags.append([] if row % 10 == 9 else [WORDS[word] for word in dict.fromkeys(likely)])
    lines = ["image_id,path,tags,labels"]
    lines += [
        f"img{row},,{'|'.join(tags[row])},{'|'.join(labels[row])}" for row in range(num_images)
    ]
    vectors = rng.normal(size=[len(WORDS) - 1, 6]).round(3)
    table = [f"{len(vectors)} 6"]
    table += [f"{word} {' '.join(map(str, v))}" for word, v in zip(WORDS, vectors, strict=False)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "vectors.txt").write_text("\n".join(table) + "\n")
    np.savez(folder / "features.npz", phi)
    return Table(
        folder / "manifest.csv",
        folder / "features.npz",
        folder / "vectors.txt",
        tags,
        labels,
        phi,
    )


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A small data set in a folder of its own."""
    return make_table(tmp_path / "raw")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory for reading only.

    60 images (6 without tags), D 8, 12 tags, 5 labels, w2v of n 6, M 6, all pools, 2 splits.
    """
    folder = tmp_path_factory.mktemp("prepared")
    prepare(make_table(folder / "raw").settings(), folder / "data")
    return folder / "data"


@pytest.fixture
def refused(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[..., int], list[str], str], None]:
    """Checks that a command answers wrong flags by one line, with status 2, and makes nothing."""

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
