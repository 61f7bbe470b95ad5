"""The page of commands, made from the flags of the commands themselves."""

import dataclasses
import importlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tagnet.__main__ import COMMANDS
from tagnet.system.console import COMMON

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

URI = "reference/commands.md"
TABLE = ("| flag | what it does | default |", "|---|---|---|")
HEAD = """---
description: Every command and every flag.
---
# Commands

Every command and every flag, made from the source when this site is built. `tagnet COMMAND --help`
prints the same. `tagnet COMMAND` and `python -m MODULE` do the same; the module is named with each
command.

A flag is written `--flag=value`, and a list with commas: `--tags=beach,dog`. A flag that is off by
default is turned on by its name alone: `--xmp`. The default is in the last column.

Exit status: 0 on success, 2 for invalid input (with one line that says what to change), 1 if work
was done but something in it failed, 130 after Ctrl+C.

"""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, URI, content=page()))
    return files


def page() -> str:
    """The page as Markdown."""
    common = ["## All commands", "", *TABLE, *map(row, COMMON)]
    common += ["| `--help` | print the flags, and stop | – |"]
    common += ["| `--version` | print the version, and stop | – |", ""]
    return HEAD + "\n".join([*common, *(line for name in COMMANDS for line in section(name))])


def section(name: str) -> Iterator[str]:
    """The lines about one command."""
    module_name, purpose = COMMANDS[name]
    module = importlib.import_module(module_name)
    yield f"## tagnet {name}"
    yield ""
    yield f"{purpose[0].upper()}{purpose[1:]}. Module: `{module_name}`."
    yield ""
    yield "```text"
    yield getattr(module, "USAGE", None) or module.__doc__ or ""
    yield "```"
    yield ""
    yield from TABLE
    yield from map(row, flags_of(module.Options))
    yield ""


def flags_of(options: Any) -> Iterable[dataclasses.Field]:
    """The flags of a command: the fields of its options but for the positional arguments."""
    return (field for field in dataclasses.fields(options) if field.name != "arguments")


def row(field: dataclasses.Field) -> str:
    """A flag as a row of the table; a help text may end in its default, in brackets."""
    text, default = field.metadata["help"], field.default
    head, bracket, tail = text.rpartition(" [")
    if bracket and tail.endswith("]"):
        text, shown = head, tail[:-1]
    elif text.endswith(" (required)"):
        text, shown = text.removesuffix(" (required)"), "required"
    elif default is None or default == "" or default == ():
        shown = "–"
    elif isinstance(default, tuple):
        shown = f"`{','.join(default)}`"
    else:
        shown = f"`{'off' if default is False else default}`"
    return f"| `--{field.name}` | {escaped(text)} | {escaped(shown)} |"


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
