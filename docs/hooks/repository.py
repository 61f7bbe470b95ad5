"""Pages of the site that are files of the repository, and links that leave `docs/`.

`CHANGELOG.md` and a few others are read on a code host as well as on the site. They stay where
they are, and the site gets a copy. A link to one of them leads to that copy; a link to any other
file of the repository, such as a module, becomes its plain text, since the site does not have it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs"
# What the site calls a file of the repository.
COPIES = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "DATA_LICENSES.md": "project/data-licences.md",
    "benchmarks/README.md": "evidence/benchmarks.md",
}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the copies."""
    for path, uri in COPIES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrites the links of a page, as `relinked`."""
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, uri: str) -> str:
    """A page's text with links that work on the site.

    Args:
        markdown: the text.
        uri: the page below `docs/`, as `guides/export.md`.

    Raises:
        PluginError: a link leads to no file of the repository.
    """
    origins = {copy: path for path, copy in COPIES.items()}
    source = origins.get(uri, f"{DOCS}/{uri}")

    def replaced(link: re.Match[str]) -> str:
        target, anchor = link["target"], link["anchor"] or ""
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path.startswith(f"{DOCS}/"):
            found = path.removeprefix(f"{DOCS}/")
        elif path in COPIES:
            found = COPIES[path]
        elif (ROOT / path).exists():
            return link["text"]
        else:
            raise PluginError(f"{source}: the link to {target} leads to no file")
        shown = posixpath.relpath(found, posixpath.dirname(uri) or ".")
        return f"{link['image']}[{link['text']}]({shown}{anchor})"

    return LINK.sub(replaced, markdown)
