"""Which package may import which: read from the source, so that a slip shows at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = next(place for place in Path(__file__).parents if (place / "setup.cfg").exists())
# A top-level package may import itself and these.
MAY_IMPORT = {
    "tagnet": set(),
    "data_tools": {"tagnet"},
    "experiments": {"tagnet"},
    "benchmarks": {"tagnet", "data_tools", "experiments"},
}
# Inside tagnet a package imports packages of lower floors only; the files of floor 0 each other.
FLOORS = {
    **dict.fromkeys(("errors", "settings"), 0),
    **dict.fromkeys(("system", "models"), 1),
    **dict.fromkeys(("data", "photos"), 2),
    **dict.fromkeys(("search", "backbones", "evaluation"), 3),
    **dict.fromkeys(("training", "serving"), 4),
    **dict.fromkeys(("__init__", "__main__"), 5),
}
# What a package may import from outside, beside the standard library.
OUTSIDE = {
    "errors": set(),
    "settings": set(),
    "__init__": set(),
    "__main__": set(),
    "system": {"absl", "numpy", "psutil", "tensorflow", "keras", "tqdm"},
    "models": {"keras", "tensorflow"},
    "photos": {"PIL", "numpy", "pillow_heif"},
    "search": {"numpy", "scipy", "numba", "faiss"},
}
COMMANDS = ("run", "sweep", "search", "robustness", "report", "annotate", "export", "app")
THIRD_PARTY = {"absl", "numpy", "psutil", "tensorflow", "keras", "tqdm", "PIL"}
THIRD_PARTY |= {"pillow_heif", "numba", "faiss", "scipy", "sklearn", "pandas", "h5py", "matplotlib"}
THIRD_PARTY |= {"tensorboard", "google", "gensim", "optuna", "ray", "gradio", "llvmlite"}


def imported(node: ast.AST) -> Iterator[str]:
    """The dotted names that code imports, also inside functions; not those for type checkers."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def wrong_imports(source: str, path: str) -> list[str]:
    """The imports that a file may not have.

    Args:
        source: its text.
        path: below the repository, as `tagnet/models/layers.py`.
    """
    top, inner = Path(path).parts[0], Path(path).with_suffix("").parts[1]
    wrong = []
    for name in imported(ast.parse(source)):
        package, inside, *_ = [*name.split("."), ""]
        if package in MAY_IMPORT and package != top and package not in MAY_IMPORT[top]:
            wrong.append(name)
        if package == top == "tagnet" and inside in FLOORS:
            if inside != inner and FLOORS[inside] >= max(FLOORS[inner], 1):
                wrong.append(name)
        if top == "tagnet" and package in THIRD_PARTY and package not in OUTSIDE.get(inner, name):
            wrong.append(name)
        if package == top == "experiments" and inside in COMMANDS:
            wrong.append(name)
    return wrong


def test_imports_point_downward() -> None:
    files = [path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {
        name: wrong
        for path in files
        if (name := path.relative_to(ROOT).as_posix()).split("/")[0] != "benchmarks"
        if (wrong := wrong_imports(path.read_text(encoding="utf-8"), name))
    }
    assert found == {}


def test_every_package_of_tagnet_has_its_floor_and_its_sentence() -> None:
    places = {path.stem for path in (ROOT / "tagnet").iterdir() if path.suffix in ("", ".py")}
    assert places - {"__pycache__"} == set(FLOORS)
    for package in (ROOT / "tagnet").glob("*/__init__.py"):
        tree = ast.parse(package.read_text(encoding="utf-8"))
        assert len(ast.get_docstring(tree).splitlines()) == 1
        assert len(tree.body) == 1, "nothing but its sentence"


@pytest.mark.parametrize(
    ("source", "path", "found"),
    [
        ("import data_tools.prepare", "tagnet/data/tags.py", ["data_tools.prepare"]),
        ("from experiments import run", "data_tools/prepare.py", ["experiments.run"]),
        ("def f():\n    from tagnet.data import x", "tagnet/models/lstm.py", ["tagnet.data.x"]),
        ("from tagnet.training import loop", "tagnet/serving/export.py", ["tagnet.training.loop"]),
        ("from tagnet.models import layers", "tagnet/data/tables.py", []),
        ("from tagnet.data import tags", "tagnet/data/records.py", []),
        ("from tagnet import __version__", "tagnet/system/console.py", []),
        ("import pandas", "tagnet/models/lstm.py", ["pandas"]),
        ("import keras", "tagnet/search/sets.py", ["keras"]),
        ("from experiments.run import main", "experiments/app.py", ["experiments.run.main"]),
        ("from experiments.runs import plan", "experiments/sweep.py", []),
        ("if TYPE_CHECKING:\n    from tagnet.data import x", "tagnet/models/lstm.py", []),
    ],
)
def test_the_rule_finds_a_wrong_import(source: str, path: str, found: list[str]) -> None:
    assert wrong_imports(source, path) == found
