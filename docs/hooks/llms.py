"""Writes `llms.txt`: the pages of the site, one a line, for language models."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure import StructureItem
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

_ITEMS: list[StructureItem] = []  # of the navigation; pages get their titles after it is made


def on_nav(nav: Navigation, **_: object) -> Navigation:
    """Keeps the navigation for the end of the build."""
    _ITEMS[:] = nav.items
    return nav


def on_post_build(config: MkDocsConfig) -> None:
    """Writes the file."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for item in _ITEMS:
        if isinstance(item, Page):
            lines += ["", line(item)]
        elif isinstance(item, Section):
            lines += ["", f"## {item.title}", "", *map(line, pages_of(item))]
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pages_of(section: Section) -> list[Page]:
    """The pages of a section and of those inside it."""
    found: list[Page] = []
    for child in section.children:
        if isinstance(child, Page):
            found.append(child)
        elif isinstance(child, Section):
            found += pages_of(child)
    return found


def line(page: Page) -> str:
    """A page's line: its title, address and, where it has one, description."""
    told = page.meta.get("description", "")
    return f"- [{page.title}]({page.url})" + (f": {told}" if told else "")
