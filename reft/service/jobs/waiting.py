"""A job that waits for people: the rows that they decide on, and what their decisions are to the next run."""

from pathlib import Path

from sqlmodel import Session

from reft.filtering.screening import Screening
from reft.service.jobs import states
from reft.service.review.export import overrides_jsonl
from reft.service.review.holding import STATE, WAITING, Quarantined, hold
from reft.service.tables import Job
from reft.storage.artifacts import write_text

REVIEWED = "reviewed"  # in a job's notebook: the rows have been put before people


def ask(session: Session, job: Job, found: Screening) -> bool:
    """Put the quarantined rows before people, each once; whether the job waits for them."""
    rows = [
        Quarantined(
            row=row["row"], score=_number(row["score"]), threshold=_number(row["threshold"]), reason=row["reason"],
            place=row["where"], span=row["span"], content={"messages": row["messages"]},
        )
        for row in found.rows
        if row["decision"] == "quarantine"
    ]  # fmt: skip
    hold(session, job, rows, total=found.scored, kept=found.counts.get("keep", 0))
    job.work = {**job.work, REVIEWED: bool(rows)}
    if waits(job):
        job.stage, job.estimated_finish = states.REVIEW, None
    return waits(job)


def waits(job: Job) -> bool:
    """Whether people must let the job go on; also while it is paused, and when that has ended."""
    return job.work.get(STATE) == WAITING


def write_overrides(session: Session, job_id: str, path: Path) -> None:
    """What people decided, as the pipeline reads it."""
    write_text(path, overrides_jsonl(session, job_id))


def _number(value: float | None) -> float:
    """A row that could not be scored has none."""
    return float("nan") if value is None else value
