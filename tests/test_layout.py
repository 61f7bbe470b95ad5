"""Who may import whom: read from the source, so that a slip shows before it does harm."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A package may import itself and what stands here.
MAY_IMPORT = {
    "tagnet": set(),
    "data_tools": {"tagnet"},
    "experiments": {"tagnet"},
    "benchmarks": {"tagnet", "data_tools", "experiments"},
    "tests": {"tagnet", "data_tools", "experiments"},
}
# Inside tagnet a file may import those above it.
ORDER = (
    "files",
    "memory",
    "console",
    "checksums",
    "claims",
    "compiled",
    "records",
    "tags",
    "tag_graph",
    "pixels",
    "embeddings",
    "cache",
    "set_search",
    "vector_search",
    "approximate",
    "neighbours",
    "partitions",
    "weights",
    "efficientnet",
    "caffenet",
    "applications",
    "features",
    "keywords",
    "dataset",
    "layers",
    "batches",
    "linear_lstm",
    "dropout",
    "architectures",
    "heads",
    "scoring",
    "metrics",
    "calibration",
    "corpus",
    "deployment",
    "tensorboard",
    "rmsprop",
    "distributed",
    "training",
    "signatures",
    "export",
    "annotator",
)


def imported(source: str, package: str) -> Iterator[str]:
    """The dotted names that a file of `package` imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import names a module of the file's own package.
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            # `from tagnet import records` imports a module, `from tagnet.tags import X` a name.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def upward(source: str, package: str, file: str) -> list[str]:
    """The imports of tagnet's and its siblings' modules that `package/file` may not have."""
    wrong = []
    for name in imported(source, package):
        top, *inner = name.split(".")
        if top in MAY_IMPORT and top != package and top not in MAY_IMPORT[package]:
            wrong.append(name)
        # `from tagnet import x`, where x is not a file, is a name of tagnet/__init__.py.
        if package == top == "tagnet" and inner and inner[0] in ORDER and file in ORDER:
            if ORDER.index(inner[0]) >= ORDER.index(file):
                wrong.append(name)
    return wrong


FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert upward(path.read_text(encoding="utf-8"), package, path.stem) == []


def test_every_file_of_tagnet_has_its_place() -> None:
    files = {path.stem for path in (ROOT / "tagnet").rglob("*.py")} - {"__init__"}
    assert files <= set(ORDER)


@pytest.mark.parametrize(
    ("source", "package", "file", "found"),
    [
        ("import data_tools.table", "tagnet", "tags", ["data_tools.table"]),
        ("def f():\n    from tests import conftest", "tagnet", "tags", ["tests.conftest"]),
        ("from experiments import run", "data_tools", "prepare", ["experiments.run"]),
        ("from tagnet.training import fit", "tagnet", "tags", ["tagnet.training.fit"]),
        ("from . import training", "tagnet", "tags", ["tagnet.training"]),
        ("from .training import fit", "tagnet", "tags", ["tagnet.training.fit"]),
        ("from tagnet import training, files", "tagnet", "tags", ["tagnet.training"]),
        ("from tagnet import __version__", "tagnet", "tags", []),
        ("from tagnet import tags", "data_tools", "prepare", []),
        ("from data_tools import tags", "data_tools", "prepare", []),
    ],
)
def test_the_rule_finds_an_upward_import(
    source: str, package: str, file: str, found: list[str]
) -> None:
    assert upward(source, package, file) == found
