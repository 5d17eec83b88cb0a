"""The page of a data set's checks, in a real browser."""

import shutil
from dataclasses import replace

import pytest
from playwright.sync_api import sync_playwright

from reft.config import ValidationSettings
from reft.report.html import render_report
from reft.validation.file import validate_file
from tests.factories import CHROMIUM, EVIL, row, run_result, write_jsonl

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]


@pytest.fixture
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def docs(tmp_path, tokenizer):
    """The page of rows of which one is an attack, in every place that a customer can write to, and many are equal."""
    attack = {"messages": [{"role": EVIL, "content": EVIL}], EVIL: 1}
    rows = [*[row("question", "answer")] * 20, *(row(f"question {i}", f"answer {i}") for i in range(10))]
    path = write_jsonl(tmp_path / "<b>rows.jsonl", [*rows, row(EVIL, EVIL), attack])
    settings = ValidationSettings(max_bad_share=0.2)
    validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=200)
    return tmp_path / "out" / "docs"


def test_the_report_leads_to_the_checks_wherever_the_run_is_moved_to(docs, tmp_path, browser):
    result = run_result()
    result = replace(result, validated=replace(result.validated, docs=docs))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text(render_report(result))
    shutil.move(docs, tmp_path / "run" / "data_docs")
    moved = shutil.move(tmp_path / "run", tmp_path / "else where")
    page, asked, complaints = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((moved / "report.html").as_uri())
    page.get_by_role("link", name="data_docs/index.html").click()
    assert page.title() == "ReFT: checks of the user's rows"
    results = {cells[0]: cells[1:] for cells in _rows(page, "table >> nth=0")}
    assert results["few duplicates"][1:] == [
        "failed", "keep one of each set of equal rows: repeats are learnt by heart",
    ]  # fmt: skip
    assert results["enough rows"] == ["critical", "passed", ""]
    assert page.get_by_text("unexpected values found").count() >= 1  # Great Expectations' own words
    assert page.get_by_text("enough rows", exact=True).count() == 2
    text = page.inner_text("body")
    assert not [word for word in ("None", "__none__", "newsletter", "Show more", "local_site") if word in text]
    assert complaints == []
    assert [url for url in asked if not url.startswith(moved.as_uri())] == []


def test_the_page_shows_no_text_of_a_row_and_nothing_but_tables(docs, browser):
    (file,) = (path for path in docs.rglob("*") if path.is_file())
    assert EVIL not in file.read_text()
    page = browser.new_page()
    page.goto(file.as_uri())
    assert "owned" not in page.title()
    for element in ("script", "img", "a", "link", "button", "iframe", "form"):
        assert page.locator(element).count() == 0, element


def test_a_report_without_a_page_of_checks_links_none():
    assert "data_docs" not in render_report(run_result())


def _rows(page, table):
    lines = page.locator(table).locator("tr").all()
    return [found for line in lines if (found := line.locator("td").all_inner_texts())]
