"""How a gallery opens and scrolls in headless Chromium, beside the same page built whole.

    python -m experiments.annotate --model=RUN --html=gallery.html FOLDER
    python -m benchmarks.speed.gallery --page=gallery.html    # or gallery_pages/1.html

Each time the page is scrolled from the top for so many frames, so many pixels each: 100 a
frame are 6,000 a second on a screen of 60 Hz. A frame that is late by more than 50 ms is one
that is felt. The other page has the same rows, all of them
built at once and laid out, as a page without a script would have them. Frames that no
screen waits for are drawn by the processor here.
"""

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, CDPSession, ViewportSize, sync_playwright

from benchmarks import machine
from tagnet.errors import InputError
from tagnet.system import console
from tagnet.system.console import option, say

WINDOW: ViewportSize = {"width": 1200, "height": 900}
WHOLE = "article { content-visibility: visible !important }"
BUILD = "near.disconnect(); data.photos.forEach(build)"
SCROLL = """async ([pixels, count]) => {
  const frames = [];
  let before = performance.now();
  while (frames.length < count) {
    scrollBy(0, pixels);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  return frames;
}"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    page: Path | None = option(None, "what --html wrote")
    pixels: int = option(100, "a frame")
    frames: int = option(600, "how many")


def main(options: Options) -> None:
    """Prints the times of both."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if options.page is None or chromium is None:
        raise InputError("--page must be given, and Chromium installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        for name, whole in (("rows built as they come near", False), ("all at once", True)):
            _measure(browser, options, name, whole)
        version = browser.version
        browser.close()
    say(f"Chromium {version}; {machine.described('playwright')}")


def _measure(browser: Browser, options: Options, name: str, whole: bool) -> None:
    assert options.page is not None
    tab = browser.new_page(viewport=WINDOW)
    tab.set_default_timeout(300_000)
    start = time.perf_counter()
    tab.goto(options.page.absolute().as_uri())
    tab.wait_for_selector("article ul.labels")
    if whole:
        tab.add_style_tag(content=WHOLE)
        tab.evaluate(BUILD)
        tab.evaluate("new Promise(requestAnimationFrame)")
    opened = time.perf_counter() - start
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable")
    before = _metrics(session)
    frames = np.array(tab.evaluate(SCROLL, [options.pixels, options.frames]))
    spent = {part: after - before[part] for part, after in _metrics(session).items()}
    rows, elements = tab.evaluate("[data.photos.length, document.querySelectorAll('*').length]")
    say(
        f"{name}: {rows:,} photographs, {options.page.stat().st_size / 1e6:.1f} MB, open in "
        f"{opened:.2f} s, {elements:,} elements at the end"
    )
    say(
        f"  {len(frames):,} frames: median {np.median(frames):.1f} ms, 99 of 100 within "
        f"{np.percentile(frames, 99):.1f}, longest {frames.max():.1f}, "
        f"late by more than 50 ms {np.mean(frames > 1000 / 60 + 50):.1%}"
    )
    say("  a frame: " + ", ".join(f"{k} {1e3 * v / len(frames):.2f} ms" for k, v in spent.items()))
    tab.close()


def _metrics(session: CDPSession) -> dict[str, float]:
    """Seconds since the session began."""
    entries = session.send("Performance.getMetrics")["metrics"]
    found = {entry["name"]: entry["value"] for entry in entries}
    return {
        "script": found["ScriptDuration"],
        "style": found["RecalcStyleDuration"],
        "layout": found["LayoutDuration"],
    }


if __name__ == "__main__":
    console.run(Options, main, __doc__ or "")
