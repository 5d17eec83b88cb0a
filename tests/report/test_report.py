"""The report, its summary and the table of a run."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reft.evaluation.measures import MEASURES
from reft.report.html import render_report
from reft.report.sections import section_names
from reft.report.summary import table
from tests.factories import CHROMIUM, EVIL, run_result


def test_the_summary_has_its_promised_shape():
    summary = run_result().summary
    assert summary["schema"] == 1
    assert set(summary["filter"]) >= {
        "rows", "kept", "dropped", "quarantined", "threshold", "layer", "position", "auroc", "recall", "fpr",
    }  # fmt: skip
    assert set(summary["safety"]["harmful_score"]) == {"student", "sft", "base", "aligned"}
    assert set(summary["task"]["accuracy"]) == {"student", "sft"}
    assert set(summary["filter"]["recall"]) == {"value", "low", "high", "n"}


def test_the_table_names_every_model_with_its_interval():
    text = table(run_result().summary)
    for label in ("base model", "safety-aligned", "SFT", "ReFT student"):
        assert label in text
    assert "[" in text
    assert "31 of 40 rows kept" in text
    assert "0.750 against task rows" in text
    assert "\nthe gate is NOT passed:\n" in text  # of one harmful prompt, one was answered


def test_a_gate_that_was_not_passed_is_told_and_summaries_without_one_are_read():
    summary = dict(run_result().summary)
    summary["gate"] = {"passed": False, "rules": [{"rule": "r", "passed": False, "figures": "5 > 3", "blocks": True}]}
    assert table(summary).endswith("the gate is NOT passed:\nBROKEN r: 5 > 3")
    del summary["gate"]  # as versions before wrote them
    assert "the gate" not in table(summary)


def test_the_page_says_where_the_untrained_feature_is_better():
    assert "the untrained difference of means separates better (1.000)" in render_report(run_result())


def test_the_page_needs_no_network_and_escapes_what_users_wrote():
    page = render_report(run_result())
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    for scheme in ('src="http', "href='http", "<link", "@import", "<script"):
        assert scheme not in page
    assert page.count("<svg") == len(MEASURES) + 4


def test_the_page_has_rates_by_source_and_false_positives_by_kind():
    page = render_report(run_result())
    assert "<h3>Harmful score by source</h3>" in page
    assert "<h3>Over-refusal by source</h3>" not in page
    for shown in ("100.0 % [20.0, 100.0]", "0.0 % [0.0, 80.0]"):
        assert shown in page


def test_labels_are_optional():
    page = render_report(replace(run_result(), labels={}))
    assert page.count("<svg") == len(MEASURES) + 3


def test_the_sections_stand_in_their_order():
    page = render_report(run_result())
    headings = (
        "Result", "What went in", "What was removed, and why", "What the models answer", "Training", "Cost per stage",
        "What this run cannot show",
    )  # fmt: skip
    places = [page.index(f"<h2>{heading}</h2>") for heading in headings]
    assert places == sorted(places)
    assert page.count("<h2>") == len(headings)


def test_a_section_with_nothing_to_show_is_left_out():
    assert "<h2>Training</h2>" not in render_report(replace(run_result(), histories={}))


@pytest.mark.slow
def test_a_new_section_is_a_module_and_a_template(tmp_path):
    """In a copy of the code, the smallest section under another name is shown without a change elsewhere."""
    shutil.copytree("reft", tmp_path / "reft", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "reft" / "report" / "sections"
    for ending in (".py", ".html.j2"):
        shutil.copy(folder / f"cost{ending}", folder / f"another{ending}")
    code = "from reft.report.html import render_report; from tests.factories import run_result\n"
    code += "print(render_report(run_result()))"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("<h2>Cost per stage</h2>") == 2


@pytest.mark.parametrize("name", section_names())
def test_every_section_has_its_template(name):
    assert Path("reft/report/sections", f"{name}.html.j2").is_file()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
@pytest.mark.slow
def test_the_page_opens_in_a_browser_without_an_error(tmp_path):
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(render_report(run_result()))
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith("file:") else None)
        page.goto((tmp_path / "report.html").as_uri())
        assert page.title() == "ReFT report: banking"
        boxes = [plot.bounding_box() for plot in page.query_selector_all("svg")]
        browser.close()
    assert complaints == []
    assert len(boxes) == len(MEASURES) + 4
    assert all(box["width"] > 100 and box["height"] > 100 for box in boxes)
