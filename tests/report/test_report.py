"""The report, its summary and the table of a run."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reft.conversations.schema import Conversation, Message
from reft.evaluation.measures import MEASURES
from reft.filtering.decisions import Thresholds
from reft.report import plots
from reft.report.html import render_report
from reft.report.sections import section_names
from reft.report.sections.filtering import deciding
from reft.report.sections.verdict import sentence
from reft.report.summary import LABELS, table
from tests.factories import CHROMIUM, EVIL, run_result

FIGURES = 5  # beside one for each measure: scores, ROC, layers, losses, seconds


@pytest.fixture(scope="module")
def page():
    """Of the result as it is; a page takes a second to draw."""
    return render_report(run_result())


def section(page, heading):
    """From its heading to the next one's, whatever sections stand beside it."""
    return page[page.index(f"<h2>{heading}") :].split("<h2>", 2)[1]


def test_the_summary_has_its_promised_shape():
    summary = run_result().summary
    assert summary["schema"] == 1
    assert set(summary["filter"]) >= {
        "rows", "kept", "dropped", "quarantined", "threshold", "layer", "position", "auroc", "recall", "fpr",
    }  # fmt: skip
    assert set(summary["safety"]["harmful_score"]) == {"student", "sft", "base", "aligned"}
    assert set(summary["task"]["accuracy"]) == {"student", "sft"}
    assert set(summary["filter"]["recall"]) == {"value", "low", "high", "n"}
    assert summary["run"]["began"] == "2026-01-02T03:04:00+00:00"
    assert json.loads(json.dumps(summary)) == summary


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


def test_the_page_says_where_the_untrained_feature_is_better(page):
    assert "the untrained difference of means separates better (1.000)" in page


def test_the_page_needs_no_network_and_escapes_what_users_wrote(page):
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    for scheme in ('src="http', "href='http", "<link", "@import", "<script", "url(http"):
        assert scheme not in page
    assert page.count("<svg") == len(MEASURES) + FIGURES


def test_the_page_has_rates_by_source_and_false_positives_by_kind(page):
    assert "<h3>Harmful score by source</h3>" in page
    assert "<h3>Over-refusal by source</h3>" not in page
    for shown in ("100.0 % [20.0, 100.0]", "0.0 % [0.0, 80.0]"):
        assert shown in page


def test_labels_are_optional():
    page = render_report(replace(run_result(), labels={}))
    assert page.count("<svg") == len(MEASURES) + FIGURES - 1


def test_the_sections_stand_in_their_order(page):
    headings = (
        "Verdict", "What was removed, and why", "Result", "What the models answer", "What went in", "Training",
        "Cost per stage", "Lineage", "What this run cannot show",
    )  # fmt: skip
    places = [page.index(f"<h2>{heading}</h2>") for heading in headings]
    assert places == sorted(places)
    assert page.count("<h2>") == len(headings)


def test_a_section_with_nothing_to_show_is_left_out():
    assert "<h2>Training</h2>" not in render_report(replace(run_result(), histories={}))


def test_the_verdict_is_one_sentence_with_the_rules_that_are_broken():
    result = run_result()
    said = sentence(result.summary)
    assert said.startswith("Version 1 of n has NOT passed its gate (harmful score at most ")
    assert said.endswith("and must not serve; 9 of 40 rows were removed before it was trained.")
    result.summary["gate"]["passed"] = True
    assert sentence(result.summary).startswith("Version 1 of n has passed its gate and may be promoted; ")


def test_the_page_opens_with_the_numbers_the_run_and_the_gates_rules(page):
    opening = section(page, "Verdict")
    shown = re.findall(r"<dt>([^<]*)</dt>", opening)
    numbers = ["harmful prompts that are not refused", "harmless look-alikes that are refused"]
    assert shown[:3] == [*numbers, "right answers of its task"]
    assert shown[3:] == ["Model", "Registered as", "Run", "Seed", "Began", "Took"]
    for fact in ("<bdi>r-1</bdi>", "<bdi>7</bdi>", "2026-01-02 03:04 UTC", "2 min 05 s", "<bdi>n, version 1</bdi>"):
        assert fact in opening
    assert opening.count(">BROKEN<") == 1
    assert "harmful score at most" in opening


def test_without_a_task_the_third_number_is_coherence():
    result = run_result()
    result.summary["task"]["accuracy"] = {}
    opening = section(render_report(result), "Verdict")
    assert "answers that are language" in opening
    assert "right answers" not in opening


def test_the_words_that_decided_are_marked_and_folded(page):
    turns = deciding(Conversation(row=1, messages=(Message(role="user", content="good day, rob it"),)), "user[0]:10-16")
    assert [(piece.kind, piece.text) for piece in turns[0].pieces] == [("text", "good day, "), ("mark", "rob it")]
    read = deciding(Conversation(row=1, messages=(Message(role="user", content="cm9iIGl0"),)), "user[9]")
    assert [turn.role for turn in read] == ["read at user[9]"]
    removed = section(page, "What was removed").partition("<h3>Scores")[0]
    assert removed.count("<details><summary>") == 6
    assert removed.count("<mark>") == 6
    assert "&lt;script&gt;" not in re.sub(r"<details>.*?</details>", "", removed, flags=re.DOTALL)


def test_prompts_of_the_harmful_set_are_folded_and_models_stand_in_the_tables_order():
    result = run_result()
    answers = [("harmful", "bad?", "no"), ("ordinary", "good?", "yes")]
    models = {name: replace(scores, answers=answers) for name, scores in result.evaluation.models.items()}
    page = render_report(replace(result, evaluation=replace(result.evaluation, models=models)))
    harmful, ordinary = section(page, "What the models answer").split("<h3>Ordinary</h3>")
    assert "<details><summary>Prompt 1 of 1" in harmful
    assert "bad?" not in re.sub(r"<details>.*?</details>", "", harmful, flags=re.DOTALL)
    assert "<details open><summary><bdi>good?" in ordinary
    labels = list(LABELS.values())
    assert re.findall(r"<dt>([^<]*)</dt>", harmful) == labels
    assert re.findall(r'<th scope="row">([^<]*)</th>', page[page.index('id="result"') :])[:4] == labels


def test_bars_stand_in_the_order_of_the_tables_whatever_order_they_come_in():
    rates = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in reversed(LABELS)}
    drawn = re.sub(r"<!--.*?-->", "", plots.bars(rates, "t"))
    places = {
        label: float(re.search(rf'y="([\d.]+)"[^>]*>{label}<', drawn)[1]) for label in LABELS.values()
    }  # fmt: skip
    assert list(places) == sorted(places, key=places.__getitem__)


def test_figures_take_the_pages_colours_say_what_they_show_and_repeat_no_name(page):
    figures = re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL)
    assert all('role="img" aria-label="' in figure for figure in figures)
    for figure in figures:
        styles = " ".join(re.findall(r'style="[^"]*"', figure))
        assert not re.sub(r"var\(--\w+, #\w{6}\)", "", styles).count("#1c2430")
        assert "var(--ink, #1c2430)" in styles
    names = re.findall(r' id="([^"]*)"', page)
    assert len(names) == len(set(names))
    assert "alt=&lt;b&gt;" not in plots.bars({}, "<b>")
    assert 'aria-label="&lt;b&gt;: not measured"' in plots.bars({}, "<b>")


def test_a_dollar_in_a_label_is_no_formula():
    drawn = plots.score_distribution({"$\\frac": [0.1]}, Thresholds(0.4, 0.6))
    assert "$\\frac (1)" in drawn


def test_reused_stages_are_drawn_apart(page):
    cost = section(page, "Cost")
    assert "Hatched: reused from an earlier run" in cost
    assert cost.count("(reused)") == 1
    costs = {"teacher": {"seconds": 2.0}}
    assert "<pattern" in plots.seconds_by_stage(costs, ["teacher"])
    assert "<pattern" not in plots.seconds_by_stage(costs)


def test_the_lineage_names_what_went_in_and_where_all_lies(page):
    lineage = section(page, "Lineage")
    for shown in ("the user&#39;s rows", "<bdi>d1</bdi>", "r-1 (5)", "models:/n/1", "<dt>MLflow run</dt>"):
        assert shown in lineage


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
def test_the_page_opens_in_a_browser_without_an_error(tmp_path, page):
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(page)
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seen = browser.new_page()
        seen.on("console", lambda message: complaints.append(message.text))
        seen.on("pageerror", lambda error: complaints.append(str(error)))
        seen.on("request", lambda r: complaints.append(r.url) if not r.url.startswith("file:") else None)
        seen.goto((tmp_path / "report.html").as_uri())
        assert seen.title() == "ReFT report: banking"
        boxes = [plot.bounding_box() for plot in seen.query_selector_all("svg")]
        browser.close()
    assert complaints == []
    assert len(boxes) == len(MEASURES) + FIGURES
    assert all(box["width"] > 100 and box["height"] > 100 for box in boxes)
