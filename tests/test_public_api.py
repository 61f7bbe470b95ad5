"""The front door: which names there are, and what importing them costs."""

import subprocess
import sys

import pytest

import tagnet

PUBLIC = {
    "ARCHITECTURES",
    "Annotation",
    "Annotator",
    "GraphSettings",
    "InputError",
    "TrainingSettings",
    "__version__",
    "build",
    "evaluate",
    "export",
    "load",
    "train",
}
HEAVY = "tensorflow", "keras", "numba", "sklearn", "matplotlib"
COMMANDS = {
    "data_tools": ("prepare", "audit", "wordnet"),
    "experiments": (
        *("run", "sweep", "search", "robustness", "report", "annotate", "export", "app"),
    ),
}


def test_the_exported_names():
    assert set(tagnet.__all__) == set(dir(tagnet)) == PUBLIC
    assert all(getattr(tagnet, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="module 'tagnet' has no attribute 'nothing'"):
        tagnet.nothing  # noqa: B018


def test_the_docstring_lists_the_names():
    assert PUBLIC - {"__version__"} <= set(tagnet.__doc__.split())


def test_flags_are_listed_without_tensorflow():
    """One process for all modules; what a command imports for its flags is imported here."""
    modules = [f"{package}.{name}" for package, names in COMMANDS.items() for name in names]
    code = f"""
import importlib, sys
import tagnet, tagnet.__main__
for name in {modules}:
    importlib.import_module(name)
    assert not sys.modules.keys() & {set(HEAVY)}, (name, sys.modules.keys() & {set(HEAVY)})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tagnet", *arguments], capture_output=True, text=True
    )


def test_one_name_for_all_commands(tmp_path, monkeypatch):
    """A package called `experiments` in the current folder is the user's and does no harm."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('not this one')")
    assert command("--version").stdout == f"tagnet {tagnet.__version__}\n"
    assert "annotate" in command().stdout
    assert "--arch" in command("run", "--help").stdout
    wrong = command("run", "--nothing=1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: Unknown command line flag 'nothing' (see --help)\n"
    unknown = command("train")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: the command must be one of prepare, audit, run,")


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("KERAS_BACKEND", "jax", "KERAS_BACKEND must be tensorflow or unset; received 'jax'"),
        ("TF_USE_LEGACY_KERAS", "1", "TF_USE_LEGACY_KERAS must be 0 or unset"),
    ],
)
def test_an_environment_for_another_keras_is_named(variable, value, line, monkeypatch):
    monkeypatch.setenv(variable, value)
    done = command("run", "--data=nowhere")
    assert done.returncode == 2
    assert line in done.stderr
