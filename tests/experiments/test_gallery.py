"""The gallery: what its pages hold, that text stays text, and how many are written."""

import base64
import datetime
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.galleries import HOSTILE, answer, job, model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.annotation import gallery_files
from experiments.annotation.batch import Answer, Job
from experiments.annotation.gallery import Model, corpus_place, gallery, model_name
from experiments.reports.page import thumbnail, written_by
from tagnet import __version__
from tagnet.errors import InputError


class Elements(HTMLParser):
    """Every element's name and attributes, the text of the scripts, and the page's policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def page_of(jobs: Sequence[Job], answers: Sequence[Answer], by: Model | None = None) -> str:
    """A page without photographs of the corpus."""
    pairs = zip(jobs, answers, strict=True)
    return gallery("title", by or model(), pairs, lambda names: [None] * len(names))


def data_of(page: str) -> dict[str, Any]:
    return json.loads(Elements(page).scripts[0])


def test_the_page_holds_what_the_answers_say(tmp_path):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "a.jpg")
    Image.new("RGB", (40, 60), "blue").save(tmp_path / "one.png")
    jobs = [job("a.jpg", ("dog", "bird"), tmp_path), job("b.jpg"), job("c.jpg")]
    answers = [answer("a.jpg"), {"photo": "b.jpg", "error": "b.jpg: is empty"}, answer("c.jpg")]
    place = {"one": tmp_path / "one.png", "two": tmp_path / "gone.png"}.get
    out = tmp_path / "page.html"
    gallery_files.write(out, model("dog", "cat", "bird"), jobs, answers, place)
    page = out.read_text()
    assert "<h1>3 photos annotated by ltwin, trained on set</h1>" in page
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".jpg", ".png"]
    data = data_of(page)
    first, second = data["photos"]
    assert [first["name"], first["width"], first["height"]] == ["a.jpg", 240, 160]
    assert [label["name"] for label in first["labels"]] == ["dog", "cat"]
    assert first["labels"][0]["shares"]["neighbours"] == [0.25, -0.75]
    assert first["truth"] == ["dog", "bird"]
    assert second["image"] is None and second["truth"] is None
    assert [near["image"] for near in first["neighbours"]] == [0, 1]
    assert [image["id"] for image in data["corpus"]] == ["one", "two"]  # each once
    scheme, _, picture = data["corpus"][0]["src"].partition(",")
    assert scheme == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(picture))) as small:
        assert small.size == (40, 60)  # it fits as it is
    assert data["corpus"][1]["src"] is None
    assert "<summary>1 skipped</summary><ul><li>b.jpg: is empty</li></ul>" in page


def test_words_that_demean_people_are_not_shown_of_neighbours():
    near = [{"image_id": "1", "distance": 0.5, "tags": ["woman", "sexy"], "labels": []}]
    page = page_of([job("a")], [answer("a", neighbours=near)])
    assert data_of(page)["corpus"][0]["tags"] == ["woman"]
    assert "<p>1 offensive tag of neighbours not shown</p>" in page
    assert "not shown" not in page_of([job("a")], [answer("a")])


def test_of_an_lstm_it_is_said_once_what_cannot_be_told():
    for explains in (True, False):
        page = page_of([job("a")], [answer("a", shares=explains)], model(explains=explains))
        assert (
            page.count("This model combines image, tags and neighbours in an LSTM") == 1 - explains
        )
        assert ('name="nearest"' in page) == explains
    page = page_of([job("a")], [answer("a", neighbours=[])])  # as of v_only
    assert 'name="nearest"' not in page


def test_the_footer_says_what_wrote_the_page(monkeypatch):
    command = ["/there/experiments/annotate.py", "--html=my <page>.html", "a.jpg"]
    monkeypatch.setattr("sys.argv", command)
    page = page_of([job("a")], [answer("a")])
    today = datetime.date.today()
    assert f"<footer>Written by tagnet {__version__} on {today}: tagnet annotate" in page
    assert "&#x27;--html=my &lt;page&gt;.html&#x27; a.jpg</footer>" in page
    monkeypatch.setattr("sys.argv", [*command, *(f"{number}.jpg" for number in range(1000))])
    assert len(written_by()) < 500
    monkeypatch.setattr("sys.argv", ["/there/other.py", "secret"])
    assert written_by() == f"Written by tagnet {__version__} on {today}"


def test_a_model_is_called_by_its_architecture_and_data_set(tmp_path):
    assert model_name("ltwin", tmp_path) == "ltwin"  # a SavedModel without its run
    (tmp_path / "metrics.json").write_text('{"dataset": "my photos"}')
    assert model_name("ltwin", tmp_path) == "ltwin, trained on my photos"


def test_errors_can_be_asked_for_only_where_the_truth_is_known():
    for labels, there in ((None, False), ((), True), (("dog",), True)):
        page = page_of([job("a", labels)], [answer("a")])
        assert ('name="errors"' in page) == there


def test_nothing_is_loaded_from_elsewhere_and_no_other_script_runs():
    page = page_of([job("a")], [answer("a")])
    elements = Elements(page)
    assert elements.names.count("script") == 2
    assert not {"link", "iframe", "img", "object"} & set(elements.names)
    assert not [name for name, _ in elements.attributes if name == "src" or name.startswith("on")]
    assert "http" not in page.replace("http-equiv", "")
    digest = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in elements.policy
    assert elements.policy.startswith("default-src 'none'")


def hostile_page(text: str) -> str:
    labels = [{"label": text, "probability": 0.9, "score": 1.0, "shares": None}]
    near = [{"image_id": text, "distance": 0.5, "tags": [text], "labels": [text]}]
    hostile = answer(text, tags=[text], unknown_tags=[text], labels=labels, neighbours=near)
    bad = {"photo": "b", "error": text}
    jobs = [Job(text, Path("none"), (), labels=(text,)), job("b")]
    by = Model(text, (text,), 50, "Jaccard", True)
    pairs = zip(jobs, [hostile, bad], strict=True)
    return gallery(text, by, pairs, lambda names: [None] * len(names))


@settings(max_examples=50)
@given(st.one_of(st.just(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_any_text_stays_text(text):
    page = hostile_page(text)
    plain = Elements(hostile_page("plain"))
    elements = Elements(page)
    assert elements.names == plain.names
    assert elements.attributes == plain.attributes
    photo = json.loads(elements.scripts[0])["photos"][0]
    assert [photo["name"], photo["tags"], photo["unknown"], photo["truth"]] == [
        *[text, [text], [text], [text]]
    ]


# --- Many photographs ------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 3."""
    monkeypatch.setattr(gallery_files, "PAGE", 3)


def write_many(folder: Path, count: int = 7) -> list[int]:
    """Writes a gallery; returns after how many answers each page was begun."""
    Image.new("RGB", (30, 20), "blue").save(folder / "one.png")
    given: list[int] = []
    jobs = [job(f"{number} & co.jpg") for number in range(count)]

    def answers() -> Iterator[Answer]:
        for number, one in enumerate(jobs):
            pages = (folder / "g #1.html", *folder.glob(".tmp-*/*.html"))
            given.append(sum(path.exists() for path in pages))
            yield answer(one.name) if number != 1 else {"photo": one.name, "error": "1: is empty"}

    place = {"one": folder / "one.png"}.get
    gallery_files.write(folder / "g #1.html", model(), jobs, answers(), place)
    return given


def test_many_photographs_are_pages_that_are_written_one_by_one(few, tmp_path):
    assert write_many(tmp_path) == [0, 0, 0, 1, 1, 1, 2]
    pages = tmp_path / "g #1_pages"
    index = (tmp_path / "g #1.html").read_text()
    links = re.findall(r'<a href="([^"]*)">photos ([^<]*)</a>: ([^<]*)<', index)
    assert links == [
        ("g%20%231_pages/1.html", "1–3", "0 &amp; co.jpg to 2 &amp; co.jpg"),
        ("g%20%231_pages/2.html", "4–6", "3 &amp; co.jpg to 5 &amp; co.jpg"),
        ("g%20%231_pages/3.html", "7–7", "6 &amp; co.jpg to 6 &amp; co.jpg"),
    ]
    texts = [(pages / f"{number}.html").read_text() for number in (1, 2, 3)]
    names = [[photo["name"] for photo in data_of(text)["photos"]] for text in texts]
    assert [len(some) for some in names] == [2, 3, 1]
    assert "<summary>1 skipped</summary>" in texts[0]
    assert "<h1>Photos 4 to 6 of 7 photos annotated by ltwin, trained on set</h1>" in texts[1]
    links = [re.findall(r'<a href="([^"]*html)"', text) for text in texts]
    assert links == [
        ["../g%20%231.html", *those] for those in (["2.html"], ["1.html", "3.html"], ["2.html"])
    ]
    # A neighbour's photograph is there once.
    assert [path.name for path in (pages / "neighbours").iterdir()] == ["0.jpg"]
    for text in texts:
        assert [image["src"] for image in data_of(text)["corpus"]] == ["neighbours/0.jpg", None]


def test_pages_take_the_place_of_pages_and_of_nothing_else(few, tmp_path):
    write_many(tmp_path)
    gallery_files.check_folder(tmp_path / "g #1.html")
    write_many(tmp_path, 4)
    pages = tmp_path / "g #1_pages"
    assert sorted(path.name for path in pages.iterdir()) == ["1.html", "2.html", "neighbours"]
    (pages / "mine.txt").touch()
    with pytest.raises(InputError, match="_pages: must hold only pages of a gallery.*mine.txt"):
        gallery_files.check_folder(tmp_path / "g #1.html")
    (tmp_path / "h_pages").touch()
    with pytest.raises(InputError, match="h_pages: must be a folder"):
        gallery_files.check_folder(tmp_path / "h.html")


def test_pages_that_cannot_be_finished_are_not_there(few, tmp_path):
    def answers() -> Iterator[Answer]:
        yield from (answer(str(number)) for number in range(4))
        raise InputError("no more")

    jobs = [job(str(number)) for number in range(5)]
    with pytest.raises(InputError, match="no more"):
        gallery_files.write(tmp_path / "g.html", model(), jobs, answers(), {}.get)
    assert list(tmp_path.iterdir()) == []


def test_photographs_of_the_corpus_are_found_by_name_and_only_below_their_folder(tmp_path):
    folder = tmp_path / "corpus"
    for name in ("1.jpg", "deep/2.png", "../secret.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    place = corpus_place(tmp_path, folder)
    assert place("1") == place("1.jpg") == folder / "1.jpg"
    assert place("deep/2.png") == folder / "deep" / "2.png"
    for name in ("3", "../secret", "../secret.jpg", str(tmp_path / "secret.jpg"), "a\0b", ""):
        assert place(name) is None


def test_photographs_of_the_corpus_are_where_the_data_set_says(tmp_path):
    assert corpus_place(tmp_path, None)("1") is None  # a SavedModel without its run
    (tmp_path / "config.json").write_text(json.dumps({"data": str(tmp_path / "data")}))
    assert corpus_place(tmp_path, None)("1") is None  # its data set is gone
    (tmp_path / "data").mkdir()
    rows = [{"image_id": "1", "path": "/photos/1.jpg"}, {"image_id": "2"}]
    (tmp_path / "data" / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    place = corpus_place(tmp_path, None)
    assert place("1") == Path("/photos/1.jpg")
    assert place("2") is None


def test_a_thumbnail_is_upright_and_fits(tmp_path):
    image = Image.new("RGB", (4000, 1000), "black")
    image.paste("white", (0, 0, 1000, 1000))
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is the right-hand side: turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    small = thumbnail(tmp_path / "a.jpg", (240, 240))
    assert (small.width, small.height) == (60, 240)
    with Image.open(io.BytesIO(base64.b64decode(small.base64 or ""))) as decoded:
        assert decoded.size == (60, 240)
        assert decoded.getpixel((30, 10)) == (255, 255, 255)
        assert decoded.getpixel((30, 200)) == (0, 0, 0)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="b.jpg: not a supported image"):
        thumbnail(tmp_path / "b.jpg", (240, 240))
