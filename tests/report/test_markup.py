"""Names and reasons full of markup on our own pages, in a real browser: text, and no element."""

import pytest
from playwright.sync_api import sync_playwright

from reft.report.html import render_report
from tests.factories import CHROMIUM, MARKUP, model_card, run_result
from tests.report.scanned import scan_page


def report_page():
    result = run_result()
    result.summary["task"]["name"] = MARKUP
    result.summary["models"]["student"]["registered_name"] = MARKUP
    result.filtered.report.alarms.append(MARKUP)
    return render_report(result)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
@pytest.mark.parametrize("made", [scan_page, report_page])
def test_markup_is_text_on_our_pages(made, tmp_path):
    (tmp_path / "page.html").write_text(made())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        assert page.locator(".owned, img").count() == 0
        assert "<b class=owned>bold</b><img src=x>" in page.inner_text("body")
        browser.close()


def test_a_card_holds_no_element_and_no_picture():
    card = model_card(MARKUP)
    assert "&lt;b class=owned>bold&lt;/b>&lt;img src=x>" in card
    assert "<" not in card.replace("<!--", "")
    assert "![" not in card
    assert len([line for line in card.splitlines() if "bold" in line]) == 2  # a name stays on its line
