"""The app: what it shows of an annotation, served on this machine, and used in a browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

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
        Neighbour("one.jpg", 0.25, ("beach", "a<b"), ("dog",)),
        Neighbour('"two"', 0.5, (), ()),
    )
    return Annotation(labels, near, ("beach", "sand"), ("<x>",), False)


def test_cards_say_what_each_neighbour_gave_and_escape_what_others_wrote(tmp_path):
    Image.new("RGB", (400, 300), "red").save(tmp_path / "one.jpg")
    place = {"one.jpg": tmp_path / "one.jpg"}.get
    explained = browser.Explained(place, "Jaccard")
    page = explained(annotation(Shares(1.0, 0.25, (-0.1, 0.5), -0.15)), None)
    assert "<h2>sea &amp; &lt;sky&gt;: 80%</h2>" in page
    assert "<mark>beach</mark> a&lt;b</p>" in page  # in common, and not
    assert '<span class="chip">dog</span>' in page
    assert "<b>1 of 2 tags in common</b> Jaccard similarity 75%" in page
    assert "<b>none of 2 tags in common</b> Jaccard similarity 50%" in page
    assert page.count('<img src="data:image/jpeg;base64,') == page.count("<img") == 1
    # Of 2.0 in all, the largest first.
    told = re.findall(r"</div>(\d+% \w+) sea &amp; &lt;sky&gt;</div>", page)
    assert told == ["25% for", "5% against"]
    assert page.index("image &quot;two&quot;") < page.index("image one.jpg")
    parts = [float(value) for value in re.findall(r"<td>([+-][\d.]+)</td>", page)]
    assert parts == [1.0, 0.25, 0.4, -0.15, 1.5]
    assert sum(parts[:-1]) == pytest.approx(parts[-1])
    assert "<h2>dog: 10%</h2>" in explained(annotation(None), "dog")
    assert explained(None, None) == ""


def test_the_first_neighbours_are_shown_and_the_others_on_request():
    near = tuple(Neighbour(str(number), 0.3, (), ()) for number in range(9))
    page = browser.Explained({}.get, "cosine")(
        Annotation(annotation(None).labels, near, (), (), True), None
    )
    first, rest = page.split("<details")
    assert first.count("<article>") == 6 and rest.count("<article>") == 3
    assert "<summary>Show 3 more neighbours</summary>" in rest
    assert "9 training images with the most similar look" in first
    assert first.count("looks 70% similar (cosine of CNN features)") == 6


def test_words_that_demean_people_are_not_shown():
    near = (Neighbour("1", 0.5, ("woman", "sexy", "pole"), ()),)
    page = browser.Explained({}.get, "Jaccard")(
        Annotation(annotation(None).labels, near, ("woman",), (), False), None
    )
    assert "<mark>woman</mark> pole</p>" in page
    assert page.endswith("<p>1 offensive tag of neighbours not shown</p>")


def test_which_tags_counted():
    assert browser.remark(annotation(None)) == (
        "<p>known: beach, sand</p><p>unknown: &lt;x&gt;</p>"
    )
    alike = Annotation((), (), (), (), True)
    assert "showing visually similar photos" in browser.remark(alike)


def test_every_example_has_its_tags_and_its_credit():
    photos, credits = browser.examples(), browser.credits()
    assert len(photos) == 20
    for photo, tags in photos:
        assert Path(photo).is_file() and tags
        assert f"<li>{Path(photo).name}: <a href=" in credits


@pytest.mark.parametrize("explains", [True, False])
def test_the_introduction_names_the_model_and_its_labels(explains):
    model = SimpleNamespace(labels=("sea & sky", "dog"), explains=explains)
    page = browser.introduction("ltwin, trained on <set>", model)
    assert page.startswith("<h1>tagnet")
    assert "<strong>ltwin, trained on &lt;set&gt;</strong>" in page
    assert '<summary>Its 2 labels</summary><p><span class="chip">sea &amp; sky</span>' in page
    assert ("LSTM" in page) != explains == ("select a label" in page)


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
            if found := re.match(r"running at (http://127\.0\.0\.1:\d+/)", line):
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
    assert tab.get_by_role("heading", level=1).inner_text().startswith("tagnet: labels for a photo")
    assert "ltwin" in tab.get_by_text("Model: ").inner_text()
    assert tab.get_by_text("Its 3 labels").is_visible()
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


@pytest.mark.large
def test_a_program_asks_the_app(address, folder):
    client = pytest.importorskip("gradio_client")
    app = client.Client(address, verbose=False)
    photo = client.handle_file(folder / "photo.jpg")
    answer = app.predict(photo, "tag 5, unheard of", api_name="/annotate")
    assert answer["photo"] == "photo.jpg"
    assert (answer["tags"], answer["unknown_tags"]) == (["tag_5"], ["unheard_of"])
    assert {label["label"] for label in answer["labels"]} == {"label 0", "label 1", "label 2"}
    assert len(answer["neighbours"]) == M + 2
    assert app.predict(photo, "", api_name="/annotate")["tags"] == ["tag_1"]  # in the file
    with pytest.raises(Exception, match="photo: is missing"):
        app.predict(None, "", api_name="/annotate")


@pytest.mark.large
def test_an_example_brings_its_tags(browser, address):
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.set_default_timeout(60_000)
    tab.goto(address)
    tab.get_by_text("woman, posing, camera, standing, skis").click()
    tab.locator("#neighbours article").first.wait_for()
    assert tab.locator("#tags textarea, #tags input").input_value().startswith("woman, posing")
    assert "unknown: woman, posing" in tab.locator("#remarks").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()
