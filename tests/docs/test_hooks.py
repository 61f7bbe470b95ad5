"""What the site adds to its pages: links that work, a page of commands, diagrams."""

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.pages import ROOT

from tagnet.__main__ import COMMANDS
from tagnet.models.architectures import ARCHITECTURES
from tagnet.system.console import COMMON, option


def hook(name: str) -> ModuleType:
    """A file of docs/hooks, which is no package."""
    spec = importlib.util.spec_from_file_location(
        f"hooks_{name}", ROOT / "docs" / "hooks" / f"{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_section_with_all_its_flags() -> None:
    page = hook("commands").page()
    assert all(f"| `--{field.name}` |" in page.split("## tagnet ")[0] for field in COMMON)
    for name, (module, _) in COMMANDS.items():
        section = page.split(f"## tagnet {name}\n")[1].split("\n## ")[0]
        flags = re.findall(r"^\| `--(\w+)` \|", section, re.MULTILINE)
        options = importlib.import_module(module).Options
        expected = [name for name in options.__dataclass_fields__ if name != "arguments"]
        assert flags == expected and f"Module: `{module}`" in section


@pytest.mark.parametrize(
    ("text", "default", "row"),
    [
        ("a file [none]", None, "| `--f` | a file | none |"),
        ("a file (required)", None, "| `--f` | a file | required |"),
        ("a|b", ("x", "y"), "| `--f` | a\\|b | `x,y` |"),
        ("write it", False, "| `--f` | write it | `off` |"),
        ("a number", 3, "| `--f` | a number | `3` |"),
        ("a name", None, "| `--f` | a name | – |"),
    ],
)
def test_a_flag_is_a_row_with_its_default(text: str, default: object, row: str) -> None:
    options = dataclasses.make_dataclass("Options", [("f", str, option(default, text))])
    (field,) = dataclasses.fields(options)
    assert hook("commands").row(field) == row


def test_every_architecture_has_a_diagram_on_the_page_of_models() -> None:
    diagrams = hook("diagrams")
    page = (ROOT / "docs" / "concepts" / "models.md").read_text(encoding="utf-8")
    assert set(diagrams.DRAWN) == set(diagrams.MARK.findall(page)) == set(ARCHITECTURES)
    drawn = diagrams.on_page_markdown("<!-- diagram: ltn -->")
    assert drawn.startswith("<svg") and drawn.count("<rect") == 7  # 5 boxes, W_y and the scores
    assert "\n" not in drawn  # a blank line would end it, for Markdown


def test_links_that_leave_the_docs_become_copies_or_text() -> None:
    pytest.importorskip("mkdocs")
    from mkdocs.exceptions import PluginError

    relinked = hook("repository").relinked
    assert relinked("[log](../../CHANGELOG.md#a)", "guides/x.md") == "[log](../changelog.md#a)"
    assert relinked("[a](../../tagnet/errors.py)", "guides/x.md") == "a"
    assert relinked("![p](../docs/gallery.png)", "evidence/benchmarks.md") == "![p](../gallery.png)"
    assert relinked("[b](other.md) [c](https://a.b)", "x.md") == "[b](other.md) [c](https://a.b)"
    with pytest.raises(PluginError, match="docs/guides/x.md: the link to ../../no.py leads to no"):
        relinked("[a](../../no.py)", "guides/x.md")


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("b.html#there", None),
        ("#here", None),
        ("#nowhere", "leads to no heading of that page"),
        ("b.html#here", "leads to no heading of that page"),
        ("c.html", "leads to no file"),
        ("https://example.org/x", None),
        ("http://localhost:8501/v1", None),
        ("http://example.org", "must start with https://"),
        ("data:image/png;base64,AA", None),
    ],
)
def test_links_of_finished_pages(tmp_path: Path, target: str, wrong: str | None) -> None:
    pytest.importorskip("mkdocs")
    links = hook("links")
    (tmp_path / "a.html").write_text(f'<h1 id="here">A</h1><a href="{target}">b</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1>')
    pages = {path: links.read(path) for path in tmp_path.glob("*.html")}
    assert pages[tmp_path / "a.html"].targets == [target]
    assert links.problem(target, tmp_path / "a.html", pages) == wrong
