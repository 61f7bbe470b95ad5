"""The pages of the documentation as tests read them: their code blocks and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = next(place for place in Path(__file__).parents if (place / "setup.cfg").exists())
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*", re.MULTILINE)
VARIABLE = re.compile(r"^[A-Z_]+=('[^']*'|\S+) +")
GENERATED = ("tables", "robustness")  # folders of docs/ that commands write


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


class Command(NamedTuple):
    """A command line of a page: a sub-command or a module, and its arguments."""

    name: str
    arguments: list[str]


def pages() -> list[Path]:
    """All pages that people write."""
    docs = ROOT / "docs"
    written = [
        path for path in docs.rglob("*.md") if path.relative_to(docs).parts[0] not in GENERATED
    ]
    return sorted([ROOT / "README.md", ROOT / "benchmarks" / "README.md", *written])


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(*found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> Iterator[Command]:
    """The commands of tagnet in a page: in indented and in fenced code."""
    text = page.read_text(encoding="utf-8")
    code = "\n".join([*INDENTED.findall(text), *(block.text for block in blocks(page))])
    for line in re.sub(r"\\\n\s*", " ", code).splitlines():
        typed = VARIABLE.sub("", line.strip())
        if typed.startswith(("tagnet ", "python -m ")):
            words = shlex.split(typed, comments=True)
            name, *arguments = words[2:] if words[0] == "python" else words[1:]
            if words[0] == "tagnet" or name.startswith(("data_tools.", "experiments.")):
                yield Command(name, arguments)
