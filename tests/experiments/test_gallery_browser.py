"""The gallery in a browser: what is built when, filters, keys, phones, pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.galleries import HOSTILE, answer, model
from PIL import Image

from experiments.annotation import gallery_files
from experiments.annotation.batch import Job


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 photographs; of every third the truth is a cat, of the others a dog; one is hostile."""
    folder = tmp_path_factory.mktemp("gallery")
    Image.new("RGB", (300, 200), "red").save(folder / "a.jpg")
    jobs, answers = [], []
    for number in range(300):
        name = HOSTILE if number == 1 else f"photo {number}"
        truth = ("cat",) if number % 3 == 0 else ("dog",)
        jobs.append(Job(name, folder / "a.jpg", (), labels=truth))
        labels = [
            dict(label, probability=label["probability"] - number / 1000)
            for label in answer(name)["labels"]
        ]
        answers.append(answer(name, labels=labels, tags=[f"tag{number}", "beach", HOSTILE]))
    page = folder / "page.html"
    place = {name: folder / "a.jpg" for name in ("one", "two")}.get
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_files, "PAGE", 300)
        gallery_files.write(page, model("cat", "dog"), jobs, answers, place)
    gallery_files.write(folder / "pages.html", model("cat", "dog"), jobs, answers, place)
    return page


@pytest.fixture
def tab(browser: Any, many: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.on("request", lambda request: opened.wrong.append(request.url[:50]))
    opened.goto(many.as_uri())
    opened.wait_for_selector("article ul.labels")
    yield opened
    assert opened.wrong == [many.as_uri()[:50]], "an error, or a request besides the page itself"
    context.close()


@pytest.mark.large
def test_in_a_browser_rows_are_built_as_they_come_near(tab):
    assert tab.locator("article").count() == 300
    assert tab.locator("article ul.labels").count() < 20
    last = tab.locator("article").last
    last.scroll_into_view_if_needed()
    last.locator("ul.labels").wait_for()
    assert tab.locator("article ul.labels").count() < 20
    assert tab.evaluate("window.hacked") is None
    tab.evaluate("scrollTo(0, 0)")
    second = tab.locator("article").nth(1)
    second.locator("ul.labels").wait_for()
    assert HOSTILE[:30] in second.text_content()


@pytest.mark.large
def test_in_a_browser_filters_and_orders(tab):
    count, first = tab.locator("#count"), tab.locator("article h2").first
    tab.get_by_label("errors").select_option("any")
    assert count.inner_text() == "100 of 300 photos"  # no cat is given from 50 % on
    tab.get_by_label("label", exact=True).select_option("cat")
    assert count.inner_text() == "100 of 300 photos"
    tab.get_by_label("errors").select_option("wrong")
    assert count.inner_text() == "0 of 300 photos"
    tab.get_by_label("errors").select_option("")
    tab.get_by_label("label", exact=True).select_option("dog")
    tab.get_by_label("order").select_option("least")
    assert first.inner_text() == "photo 299"
    tab.get_by_label("minimum probability").fill("88")
    assert count.inner_text() == "207 of 300 photos"  # 0 to 20 by score; of others the true
    tab.get_by_label("name or tag").fill("tag77")
    assert count.inner_text() == "1 of 300 photos"


@pytest.mark.large
def test_in_a_browser_a_label_tells_what_gave_its_score(tab):
    article = tab.locator("article").first
    assert "Score for “dog”: image +1.00, tags +0.50, neighbours −0.50" in article.inner_text()
    # Of 2.625 in all; the largest first.
    assert article.locator(".gave").all_inner_texts() == [
        "10\u00a0% for dog",
        "29\u00a0% against dog",
    ]
    near = article.locator(".neighbours li").first
    assert near.locator("mark").all_inner_texts() == ["beach"]
    assert near.locator("b").inner_text() == "1 of 3 tags in common"
    assert near.locator(".same").inner_text() == "dog"
    cat = article.get_by_role("button", name="cat")
    assert cat.get_attribute("aria-pressed") == "false"
    cat.press("Enter")
    assert cat.get_attribute("aria-pressed") == "true"
    assert "Score for “cat”" in article.inner_text()
    assert re.sub(r"\s+", " ", cat.inner_text()) == "cat 40.0 % ✗ missed"
    assert article.locator("img").first.get_attribute("alt") == "photo 0: dog"


@pytest.mark.large
def test_in_a_browser_keys_alone_are_enough(tab):
    focused = "document.activeElement.closest('article')?.querySelector('h2').textContent"
    for _ in range(12):
        tab.keyboard.press("Tab")
        if tab.evaluate(focused) == "photo 0":
            break
    assert tab.evaluate(focused) == "photo 0"
    for _ in range(5):
        tab.keyboard.press("PageDown")
    assert tab.evaluate(focused) == "photo 5"
    tab.keyboard.press("PageUp")
    assert tab.evaluate(focused) == "photo 4"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "BUTTON"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.large
@pytest.mark.parametrize(("scheme", "back"), [("light", 255), ("dark", 22)])
def test_in_a_browser_dark_light_and_narrow(browser, many, scheme, back):
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(many.as_uri())
    tab.wait_for_selector("article ul.labels")
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert re.findall(r"\d+", colour)[0] == str(back)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


@pytest.mark.large
def test_in_a_browser_pages_show_the_neighbours_that_they_share(browser, many):
    tab = browser.new_page(viewport={"width": 1100, "height": 900})
    tab.goto((many.parent / "pages.html").as_uri())
    tab.get_by_role("link", name="photos 201–300").click()
    tab.wait_for_selector("article ul.labels")
    assert tab.locator("article").count() == 100
    picture = tab.locator(".neighbours img").first
    picture.scroll_into_view_if_needed()
    tab.wait_for_function("image => image.complete", arg=picture.element_handle())
    assert picture.evaluate("image => image.naturalWidth") > 0
    tab.get_by_role("link", name="previous page").click()
    tab.wait_for_selector("article ul.labels")
    assert "200 of 200 photos" in tab.locator("#count").inner_text()
    tab.close()


@pytest.mark.large
def test_in_a_browser_controls_are_folded_on_a_phone_and_fingers_find_them(browser, many):
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto(many.as_uri())
    tab.wait_for_selector("article ul.labels")
    assert not tab.get_by_label("order").is_visible()
    tab.get_by_text("Filter and sort").click()
    assert tab.get_by_label("order").is_visible()
    for target in ("summary", "select", "input", "article button"):
        for element in tab.locator(target).all()[:6]:
            assert element.bounding_box()["height"] >= 44, target
    tab.close()
