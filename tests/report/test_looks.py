"""The pages as people see them: on a phone and on a desk, by day and by night, with eyes, ears and keys."""

import pytest

from reft.config import ValidationSettings
from reft.report.html import render_report
from reft.validation.file import validate_file
from tests.factories import row, run_result, write_jsonl
from tests.pages.browsing import (
    DESK,
    NEEDS_CHROMIUM,
    PHONE,
    chromium,
    smallest_words,
    sticks_out,
    unreadable,
    violations,
)
from tests.report.scanned import scan_page

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
LEGIBLE = 9  # pixels


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tokenizer):
    """A file of each page that a run leaves, by name."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "report.html").write_text(render_report(run_result()))
    (folder / "scan.html").write_text(scan_page())
    rows = [row("question", "answer")] * 20 + [row(f"question {i}", f"answer {i}") for i in range(10)]
    settings = ValidationSettings(max_bad_share=0.2)
    validate_file(write_jsonl(folder / "r.jsonl", rows), folder / "out", tokenizer, settings=settings, max_length=200)
    return {"report": folder / "report.html", "scan": folder / "scan.html", "checks": folder / "out/docs/index.html"}


@pytest.mark.parametrize("name", ["report", "scan", "checks"])
@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])
def test_everybody_can_read_a_page(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page.goto(pages[name].as_uri())
    assert sticks_out(page) == []
    assert smallest_words(page) >= LEGIBLE
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert sticks_out(page) == []
    assert unreadable(page) == []
    assert violations(page) == []
    page.close()


def test_a_harmful_prompt_is_shown_on_a_click_or_a_key_alone(browser, pages):
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    text, summary = page.locator("details .text").first, page.locator("details summary").first
    assert not text.is_visible()
    summary.click()
    assert text.is_visible()
    summary.press("Enter")
    assert not text.is_visible()
    page.close()


def test_tables_are_tables_to_who_hears_them_on_a_phone_too(browser, pages):
    for width in (PHONE, DESK):
        page = browser.new_page(viewport={"width": width, "height": 850})
        page.goto(pages["report"].as_uri())
        result = page.locator("#result")
        assert result.get_by_role("row").count() == 5
        assert result.get_by_role("rowheader").all_inner_texts()[-1] == "ReFT student"
        assert result.get_by_role("columnheader").count() == 6
        page.close()


def test_a_legend_lies_over_no_bar(browser, pages):
    """Every word of a histogram's legend stands above the highest bar."""
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    lowest, highest = page.locator("svg[aria-label^=Histogram]").evaluate(
        """svg => {
          const boxes = [...svg.querySelectorAll("text")].filter(t => /rows|calibration|above/.test(t.textContent));
          const bars = [...svg.querySelectorAll("path[clip-path]")];
          return [Math.max(...boxes.map(t => t.getBoundingClientRect().bottom)),
                  Math.min(...bars.map(b => b.getBoundingClientRect().top))];
        }"""
    )
    assert lowest <= highest
    page.close()
