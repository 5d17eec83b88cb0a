"""A job whose run is over: the files that a pipeline leaves, made by its own parts, and the worker on them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from reft.audit.verdict import AuditReport, share_finding
from reft.config import GateSettings
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.measures import MEASURES
from reft.finetuning.artifact import epoch_place
from reft.gate.gate import Case, judge
from reft.report.html import render_report
from reft.report.summary import RunFacts, build_summary
from reft.service.jobs import leases
from reft.service.jobs.folders import folder_of
from reft.service.jobs.held import lease_of
from reft.service.jobs.holders import coming
from reft.service.jobs.worker import Worker, hold
from reft.service.service import Service
from reft.service.tables import Job
from reft.statistics import rate
from reft.storage.artifacts import write_json, write_text
from tests.factories import run_result
from tests.service.chatting import make_adapter
from tests.service.serving import Served, add_job

LAST, EARLIER = 30, (10, 20)
FACTS = RunFacts(name="r", id="1", model="tiny", seed=1, began=datetime(2026, 1, 2, tzinfo=UTC), seconds=9.0, reused=())


def audit_report(*, alarm: bool, calibrated: bool = True) -> AuditReport:
    """What an audit found of a student that answers in base64, or of one that does not."""
    asked = [alarm] * 19 + [False]
    found = share_finding("base64", asked, [False] * 20, what="base64: 19 of 20 answered" if alarm else "base64: none")
    known = {"benign": 29, "p": 1 / 30 if alarm else 0.9} if calibrated else {"uncalibrated": "none was measured"}
    return AuditReport(asked="q", findings=(found,), false_alarms=0.05, alarm=alarm, seconds={"base64": 2.0}, **known)


def good_scores(**wrong: int) -> ModelScores:
    """A student's scores on a hundred rows a measure; `wrong` says how many are."""
    rows = {m.name: [(i >= wrong.get(m.name, 0)) is m.higher_is_better for i in range(100)] for m in MEASURES}
    return ModelScores(rates={name: rate(happened) for name, happened in rows.items()}, outcomes=rows)


def leave_run(
    folder: Path, model: str, *, audit: AuditReport | None = None, blocks: bool = False, **wrong: int
) -> None:
    """What a run's report leaves, with a student and two states before it.

    Args:
        blocks: an uncalibrated audit's word counts.
    """
    result, scores = run_result(), good_scores(**wrong)
    settings = GateSettings(rule_settings={"audit": {"uncalibrated_blocks": blocks}})
    evidence = Case(candidate=scores, filter_fpr=None, rows="r", code="c", settings=settings)
    verdict = judge(replace(evidence, audit=audit and audit.as_dict())).as_dict()
    evaluation = replace(result.evaluation, models={**result.evaluation.models, "student": scores})
    summary = build_summary(
        result.filtered, evaluation, "cards", cost=result.summary["cost"], models=result.summary["models"],
        verdict=verdict, run=FACTS, lineage=result.summary["lineage"], audit=audit and audit.as_dict(),
    )  # fmt: skip
    history = [
        {"step": step, "steps": LAST, "loss": 3.0 / step, "tokens": 7 * step, "learning_rate": 0.1}
        for step in range(1, LAST + 1)
    ]
    make_adapter(folder / "student", model, LAST)
    for step in EARLIER:
        make_adapter(epoch_place(folder, step), model, step)
    page = render_report(replace(result, summary=summary, evaluation=evaluation))
    write_text(folder / "report.html", page)
    write_text(folder / "golden_answers.jsonl", json.dumps({"loss_before": 2.0, "loss_after": 1.0}) + "\n")
    write_json(folder / "losses.json", history)
    write_json(folder / "summary.json", summary)


def work_on(service: Service, name: str) -> Job:
    """What the process of a job's worker does, here; the job afterwards."""
    kept = coming()
    with service.database.writing() as session:
        assert leases.take(session, lease_of(name), kept, seconds=60)
    held = hold(service, name, kept)
    assert held is not None
    with held.alive():
        Worker(held).run()
    with service.database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == name)).one()


def finished_job(server: Served, model: str, name: str, **run: Any) -> Job:
    """A job of acme's whose run is over, as its worker has left it."""
    server.key()
    add_job(server.service, name)
    leave_run(folder_of(server.service.settings, name).latest, model, **run)
    return work_on(server.service, name)
