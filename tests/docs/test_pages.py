"""Pages say what the program does: their flags, commands and messages exist."""

import ast
import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pages import ROOT, commands, pages

from tagnet.__main__ import COMMANDS
from tagnet.system.console import COMMON

# Flags of all commands, and of Docker, TensorBoard, sha256sum and XLA.
OTHERS = {"help", "version", "gpus", "logdir", "check"}
OTHERS |= {"tf_xla_persistent_cache_directory", "tf_xla_persistent_cache_device_types"}
BENCHMARKS = ("benchmarks", "evidence", "results")  # pages that name flags of benchmarks, too


def flags_of(name: str) -> set[str]:
    """The flags of a sub-command or a module."""
    module = importlib.import_module(COMMANDS[name][0] if name in COMMANDS else name)
    return {field.name for field in (*dataclasses.fields(module.Options), *COMMON)}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_flags_of_a_page_exist(page: Path) -> None:
    for command in commands(page):
        if command.name.startswith("--"):
            continue
        assert command.name in COMMANDS or importlib.util.find_spec(command.name), command
        given = {word[2:].split("=")[0] for word in command.arguments if word.startswith("--")}
        assert given <= flags_of(command.name) | {"help"}, command
    if page.parent.name not in BENCHMARKS:
        known = set().union(*map(flags_of, [*COMMANDS, "data_tools.wordnet"])) | OTHERS
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?<![\w-])--([a-zA-Z]\w*)(?![\w-])", text)) <= known


def texts(node: ast.AST) -> Iterator[str]:
    """The strings of a file, those in pieces with `…` where a value is put in."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.JoinedStr):
            pieces = (p.value if isinstance(p, ast.Constant) else "…" for p in part.values)
            yield "".join(map(str, pieces))


def test_the_messages_of_the_reference_are_messages_of_the_program() -> None:
    tops = ("tagnet", "data_tools", "experiments")
    files = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    written = "\n".join(
        text for file in files for text in texts(ast.parse(file.read_text(encoding="utf-8")))
    )
    page = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        for piece in re.findall("`([^`]+)`", row):
            assert piece in written, row
