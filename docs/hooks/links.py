"""Checks the links of the finished pages, also those that MkDocs does not read.

MkDocs checks Markdown. Notebooks, tables inside HTML and pages of other tools are checked here: a
link inside the site must lead to a file, and its anchor to an element. Links to other sites are not
followed; they must be well-formed and start with https.
"""

import logging
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig

LOG = logging.getLogger("mkdocs.hooks.links")  # its warnings end a strict build
# In these pages of the report, which have a test of their own, nothing is checked.
NOT_OURS = ("tables/",)


class Links(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what an element links to, and what it is called."""
        for name, value in attrs:
            if value and name in ("href", "src") and tag != "link":
                self.targets.append(value)
            elif value and name in ("id", "name"):
                self.anchors.add(value)


def on_post_build(config: MkDocsConfig) -> None:
    """Warns of every link that leads nowhere."""
    site = Path(config.site_dir)
    pages = {path: read(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        if name.startswith(NOT_OURS) or name == "404.html":
            continue
        for target in page.targets:
            if (wrong := problem(target, path, pages)) is not None:
                LOG.warning("%s: the link to %s %s", name, target, wrong)


def read(path: Path) -> Links:
    """The links of an HTML file."""
    page = Links()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problem(target: str, page: Path, pages: dict[Path, Links]) -> str | None:
    """What is wrong with a link; None if nothing is.

    Args:
        target: as it is written.
        page: the file that it is in.
        pages: all pages of the site.
    """
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        if parts.scheme in ("data", "mailto"):
            return None
        # A server on the reader's own machine has no certificate.
        good = parts.netloc and (parts.scheme == "https" or parts.hostname in ("localhost",))
        return None if good else "must start with https://"
    place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if place.is_dir():
        place /= "index.html"
    if not place.exists():
        return "leads to no file"
    if parts.fragment and place in pages and unquote(parts.fragment) not in pages[place].anchors:
        return "leads to no heading of that page"
    return None
