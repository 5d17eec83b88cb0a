"""A real browser on pages: what a check for accessibility finds, what sticks out, and what cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.factories import CHROMIUM

PHONE, DESK = 390, 1280
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it is, of any weight: "rule (weight): the first element"."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not installed (pip install -e '.[dev]')")
    page.evaluate(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    result: dict[str, Any] = page.evaluate("axe.run()")
    assert len(result["passes"]) > 10, "axe has looked at nothing"
    return [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}" for v in result["violations"]]


def sticks_out(page: Page) -> list[str]:
    """Elements that are cut at the right edge, or make the page wider than the window; none on a page that fits."""
    return page.evaluate(STICKS_OUT)


def unreadable(page: Page) -> list[str]:
    """Words whose contrast with what lies behind them is below 4.5 to 1."""
    return page.evaluate(CONTRAST)


def smallest_words(page: Page) -> float:
    """The height in pixels of the smallest letters in any figure, as it is drawn; infinite without figures."""
    return page.evaluate(SMALLEST)


STICKS_OUT = """() => {
  const found = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
  for (const e of document.querySelectorAll("main *")) {
    const box = e.getBoundingClientRect();
    const hidden = e.closest("svg, .skip, thead, datalist") || !e.checkVisibility();
    if (!hidden && box.width && box.right > innerWidth + 1) found.push(e.outerHTML.slice(0, 90));
  }
  return found;
}"""
SMALLEST = """() => {
  let least = Infinity;
  for (const text of document.querySelectorAll("svg text")) {
    const scale = text.getScreenCTM();
    least = Math.min(least, parseFloat(getComputedStyle(text).fontSize) * Math.hypot(scale.a, scale.b));
  }
  return least;
}"""
CONTRAST = """() => {
  const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = c => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = c; paint.fillRect(0, 0, 1, 1);
    return paint.getImageData(0, 0, 1, 1).data; };
  const light = c => { const [r, g, b] = [...rgba(c)].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (rgba(c)[3] === 255) return c; } return "white"; };
  const bad = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    if (e.matches("script, style, title")) continue;
    const style = getComputedStyle(e), colour = e.matches("svg text, svg tspan") ? style.fill : style.color;
    const [a, b] = [light(colour), light(behind(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) bad.add(e.outerHTML.slice(0, 90));
  }
  return [...bad];
}"""
