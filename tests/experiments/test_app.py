"""The app: what it shows of an annotation, served on this machine, and used in a browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import D, M, calibrated
from helpers.photographs import write, xmp
from PIL import Image

from experiments import app as command
from experiments.annotation import browser
from tagnet.serving.annotator import Annotation, Label, Neighbour, Shares
from tagnet.serving.export import write_saved_model
from tagnet.system import console

ROOT = Path(__file__).parents[2]
PHI = np.linspace(0, 1, D, dtype=np.float32)

# A process of its own, since gradio changes the one that it is in.
APP = """
import sys
sys.path.append(sys.argv.pop(1))
from helpers.graphs import TINY
from tagnet.backbones import features
from tagnet.system import console
features.BACKBONES["tiny"] = TINY
from experiments import app
console.run(app.Options, app.main, app.USAGE)
"""


def run(*argv: object) -> int:
    return console.execute(command.Options, command.main, command.USAGE, ["app", *map(str, argv)])


# --- What is shown --------------------------------------------------------------------------


def test_tags_as_they_are_typed():
    assert browser.split_tags(" dog,red sky ;\nsea,, ") == ["dog", "red sky", "sea"]
    assert browser.split_tags("") == []


def annotation(shares: Shares | None) -> Annotation:
    labels = (Label("sea & <sky>", 0.8, 1.5, shares), Label("dog", 0.1, -2.0, shares))
    near = (
        Neighbour("one.jpg", 0.25, ("a<b",), ("dog",)),
        Neighbour('"two"', 0.5, (), ()),
    )
    return Annotation(labels, near, ("beach",), ("<x>",), False)


def test_cards_show_what_each_neighbour_gave_and_escape_what_others_wrote(tmp_path):
    Image.new("RGB", (400, 300), "red").save(tmp_path / "one.jpg")
    place = {"one.jpg": tmp_path / "one.jpg"}.get
    explained = browser.Explained(place)
    shown = explained(annotation(Shares(1.0, 0.25, (0.5, -0.1), -0.15)), None)
    assert "<h2>sea &amp; &lt;sky&gt;: 80.0%</h2>" in shown
    assert "tags: a&lt;b" in shown
    assert "<h3>&quot;two&quot;</h3>" in shown
    assert shown.count("<article>") == 2
    assert shown.count('<img src="data:image/jpeg;base64,') == 1
    assert [float(given) for given in re.findall(r"contribution ([+-][\d.]+)", shown)] == [
        0.5,
        -0.1,
    ]
    parts = [float(value) for value in re.findall(r"<td>([+-][\d.]+)</td>", shown)]
    assert parts == [1.0, 0.25, 0.4, -0.15, 1.5]
    assert sum(parts[:-1]) == pytest.approx(parts[-1])
    assert "<h2>dog: 10.0%</h2>" in explained(annotation(None), "dog")
    assert "not available for LSTM" in explained(annotation(None), "dog")
    assert explained(None, None) == ""


def test_which_tags_counted():
    assert browser.remark(annotation(None)) == ("<p>known: beach</p><p>unknown: &lt;x&gt;</p>")
    alike = Annotation((), (), (), (), True)
    assert "showing visually similar photos" in browser.remark(alike)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--model=x", "--photos=/nowhere"), "--photos must be a folder; received '/nowhere'"),
        (("--model=x", "--port=70000"), "--port must be at most 65535; received 70000"),
        (("--model=x", "--top_k=0"), "--top_k must be at least 1; received 0"),
        (("--model=/nowhere",), "/nowhere: not a finished run or a SavedModel"),
    ],
)
def test_mistakes_are_one_line(flags, line, capsys, monkeypatch):
    monkeypatch.setattr(command, "_gradio", lambda: None)
    assert run(*flags) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told


def test_without_the_extra_it_says_what_is_needed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run("--model=x") == 2
    assert "pip install 'tagnet[app]'" in capsys.readouterr().err


# --- Served -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a photograph with a keyword, and photographs of two images of the corpus."""
    folder = tmp_path_factory.mktemp("app")
    write_saved_model(calibrated(backbone="tiny"), folder / "model")
    write(folder / "photo.jpg", xmp(dc_subject=["tag 1"]), colour="red")
    for number in range(20):
        write(folder / "corpus" / f"image {number}.jpg", colour="blue")
    (folder / "broken.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Where the app is served."""
    pytest.importorskip("gradio", reason="needs the extra app")
    flags = [f"--model={folder / 'model'}", f"--photos={folder / 'corpus'}", "--port=0"]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "uploads")}
    with subprocess.Popen(
        [sys.executable, "-c", APP, str(ROOT / "tests"), *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.match(r"open (http://127\.0\.0\.1:\d+/)", line):
                yield found[1]
                break
        else:
            pytest.fail("".join(lines))
        process.terminate()


@pytest.mark.large
def test_it_is_used_in_a_browser_and_asks_nobody_else(browser, address, folder):
    """Drop a photograph, read its keyword, type a tag, choose a label."""
    tab = browser.new_page(viewport={"width": 1200, "height": 1400})
    tab.set_default_timeout(60_000)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("websocket", lambda socket: asked.append(socket.url))
    tab.goto(address)
    remarks, neighbours, tags = (
        tab.locator(f"#{name}") for name in ("remarks", "neighbours", "tags")
    )
    tab.set_input_files("#photo input[type=file]", folder / "photo.jpg")
    neighbours.locator("article").first.wait_for()
    assert "known: tag_1" in remarks.inner_text()
    assert tags.locator("input, textarea").input_value() == "tag 1"
    assert neighbours.locator("article").count() == neighbours.locator("img").count() == M + 2
    labels = tab.locator("#labels button")
    assert {name.split("\n")[0] for name in labels.all_inner_texts()} >= {"label 0", "label 2"}
    before = neighbours.inner_text()  # the most probable label's probability stands above them

    tags.locator("input, textarea").press_sequentially(", tag 5, unheard of")
    remarks.get_by_text("unknown: unheard_of", exact=True).wait_for()
    assert "known: tag_1, tag_5" in remarks.inner_text()
    assert neighbours.inner_text() != before

    name = labels.last.inner_text().split("\n")[0]
    labels.last.click()
    neighbours.get_by_role("heading", name=f"{name}: ").wait_for()
    over_a_network = [url for url in asked if re.match("(http|ws)s?:", url)]
    assert over_a_network
    assert [url for url in over_a_network if not url.startswith(address)] == []
    tab.close()
