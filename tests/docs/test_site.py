"""The site builds without a warning, and what README and tutorials show is what happens."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pages import ROOT, Block, blocks

# Pages whose blocks `sh` and `python` are run; a block `text` behind one is what it prints.
RUN = ("README.md", "docs/quickstart.md", "docs/tutorials/own-photos.md")
RUN += ("docs/tutorials/photo-library.md",)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the example photos, and a `tagnet` on the path."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = tmp_path / "bin" / "tagnet"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tagnet "$@"\n')
    command.chmod(0o755)
    return tmp_path


def printed(block: Block, folder: Path) -> str:
    """Runs a block, and gives what it prints."""
    command = {"sh": ["bash", "-e", "-c"], "python": [sys.executable, "-c"]}[block.language]
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [*command, block.text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}"
    return done.stdout


def lines(text: str) -> Iterator[str]:
    """Lines without their figures, which differ a little between machines."""
    for line in text.splitlines():
        yield " ".join(re.sub(r"\d+(?:[.,]\d+)*", "#", line).split())


def stated(block: Block, output: str) -> bool:
    """Whether all lines of a block are in the output, in their order."""
    rest = lines(output)
    return all(line in rest for line in lines(block.text) if line and line != "…")


@pytest.mark.large
@pytest.mark.parametrize("page", RUN)
def test_code_of_a_page_runs_and_prints_what_the_page_says(page: str, checkout: Path) -> None:
    output = None
    ran = 0
    for block in blocks(ROOT / page):
        if block.language in ("sh", "python"):
            output = printed(block, checkout)
            ran += 1
        elif block.language == "text" and output is not None:
            assert stated(block, output), f"{block.text}\n--- but it printed\n{output}"
    assert ran


def test_an_output_is_compared_but_for_its_figures() -> None:
    output = "loading\nperson: 94.8%\nhorse: 70.7%\n"
    assert stated(Block("text", "person: 95.1%\nhorse: 7%\n"), output)
    assert stated(Block("text", "loading\n…\nhorse: 70.7%\n"), output)
    assert not stated(Block("text", "horse: 70.7%\nperson: 94.8%\n"), output)
    assert not stated(Block("text", "boat: 94.8%\n"), output)


@pytest.mark.large
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    told = (tmp_path / "site" / "llms.txt").read_text(encoding="utf-8")
    addresses = re.findall(r"^- \[.*?\]\((.*?)\)", told, re.MULTILINE)
    assert len(addresses) > 40
    assert all((tmp_path / "site" / address).exists() for address in addresses)
