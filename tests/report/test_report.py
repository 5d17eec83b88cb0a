from dataclasses import replace

import pytest

from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation, Message
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import ModelScores
from reft.filtering.artifact import FilteredData
from reft.filtering.decisions import Decision, FilterReport, Thresholds, measured
from reft.filtering.unseen import unseen_groups
from reft.refusal_feature.feature import Separation
from reft.report.html import ReportInputs, render_report
from reft.report.summary import build_summary, table
from reft.statistics import rate

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def inputs() -> ReportInputs:
    rows = [Conversation(row=i, messages=(Message(role="user", content=f"{EVIL} {i}"),)) for i in range(40)]
    labels = {i: "harmful" if i < 8 else "harmless" for i in range(40)}
    decisions = [
        Decision(
            row=i, score=0.8 - i / 50, decision="drop" if i < 9 else "keep", reason="harmful prompt", where="user[0]"
        )
        for i in range(40)
    ]
    auroc, recall, fpr = measured(decisions, labels)
    report = FilterReport(
        40, 31, 9, 0, Thresholds(0.4, 0.6), 16, "template", "mean", auroc, recall, fpr,
        rate([True, False]), rate([False]), ["watch out"], "teacher", 0.8, 0.9,
    )  # fmt: skip
    curves = {"calibration_harmless": [-0.5, -0.2], "calibration_harmful": [0.5, 0.2]}
    scores = {"harmful prompts": [0.9, 0.1], "task rows": [0.2, -0.4]}
    unseen = unseen_groups(scores, {"harmful prompts": [0.9, 0.8], "task rows": [0.2, -0.4]}, report.thresholds)
    filtered = FilteredData(kept=rows[9:], decisions=decisions, report=report, curves=curves, unseen=unseen)
    scores = ModelScores(rate([True]), rate([False]), rate([False]), rate([True, True]), [("harmful", EVIL, EVIL)])
    without = replace(scores, accuracy=None)
    evaluation = EvaluationReport({"student": scores, "plain_sft": scores, "base": without, "aligned": without})
    cost = {"finetuning": {"seconds": 1.0, "peak_rss_mb": 2.0, "tokens": 3}}
    models = {"student": {"registered_name": "n", "version": "1", "path": "p"}, "base": "b", "teacher": "t"}
    summary = build_summary(filtered, evaluation, "banking", cost=cost, models=models)
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    return ReportInputs(
        summary, rows, [BadRow(row=3, code="not_json", field="line", remedy=EVIL)], [], filtered, evaluation,
        (Separation(1, "template", 0.7), Separation(2, "template", 0.8)), (Separation(1, "template", 0.9),),
        {"teacher": history}, labels, 3,
    )  # fmt: skip


def test_the_summary_has_its_promised_shape():
    summary = inputs().summary
    assert summary["schema"] == 1
    assert set(summary["filter"]) >= {
        "rows", "kept", "dropped", "quarantined", "threshold", "layer", "position", "auroc", "recall", "fpr",
    }  # fmt: skip
    assert set(summary["safety"]["harmful_score"]) == {"student", "plain_sft", "base", "aligned"}
    assert set(summary["task"]["accuracy"]) == {"student", "plain_sft"}
    assert set(summary["filter"]["recall"]) == {"value", "low", "high", "n"}


def test_the_table_names_every_model_with_its_interval():
    text = table(inputs().summary)
    for label in ("base model", "safety-aligned", "plain finetune", "ReFT student"):
        assert label in text
    assert "[" in text
    assert "31 of 40 rows kept" in text
    assert "0.750 against task rows" in text


def test_the_page_says_where_the_untrained_feature_is_better():
    assert "the untrained difference of means separates better (1.000)" in render_report(inputs())


def test_the_page_needs_no_network_and_escapes_what_users_wrote():
    page = render_report(inputs())
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    for scheme in ('src="http', "href='http", "<link", "@import", "<script"):
        assert scheme not in page
    assert page.count("<svg") == 7


def test_labels_are_optional():
    page = render_report(replace(inputs(), labels={}))
    assert page.count("<svg") == 6


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_the_page_opens_in_a_browser_without_an_error(tmp_path):
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(render_report(inputs()))
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
    assert len(boxes) == 7
    assert all(box["width"] > 100 and box["height"] > 100 for box in boxes)
