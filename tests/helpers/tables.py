"""A small raw data set on disk, and what tests ask of commands and folders."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.settings import Settings

WORDS = ("sky", "sea", "sand", "sun", "dog", "cat", "car", "road", "tree", "bird", "snow", "boat")
LABELS = ("animal", "beach", "city", "forest", "winter")


def data_tools_command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m data_tools.MODULE` in a process of its own; a warning is an error there."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"data_tools.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
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
