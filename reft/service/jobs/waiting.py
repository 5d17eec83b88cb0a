"""A job that waits for people: the rows that they decide on, and what their decisions are to the next run."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from reft.filtering.screening import Screening
from reft.service.clock import now
from reft.service.jobs import states
from reft.service.jobs.events import say
from reft.service.names import new_id
from reft.service.tables import Job, ReviewDecision, ReviewItem
from reft.storage.artifacts import write_text

WORD = re.compile(r"[^\W\d_]+")
REVIEWED = "reviewed"  # in a job's notebook: the rows have been put before people


def undecided(session: Session, job_id: str) -> int:
    """How many rows of a job still wait for a decision."""
    open_ones = (col(ReviewItem.job_id) == job_id, col(ReviewItem.decision).is_(None))
    return len(session.exec(select(ReviewItem.id).where(*open_ones)).all())


def ask(session: Session, job: Job, found: Screening) -> int:
    """Put the quarantined rows before people, each once; gives how many still wait."""
    there = set(session.exec(select(ReviewItem.row).where(col(ReviewItem.job_id) == job.id)).all())
    rows = [row for row in found.rows if row["decision"] == "quarantine"]
    session.add_all(_item(job, row) for row in rows if row["row"] not in there)
    session.flush()
    waiting = undecided(session, job.id)
    job.work = {**job.work, REVIEWED: bool(rows)}
    if waiting:
        job.stage = states.REVIEW
        job.estimated_finish = None
        job.notes = {**job.notes, "reft_review": f"{len(rows)} quarantined rows wait for a reviewer's decision"}
        text = f"{len(rows)} quarantined rows wait for review; the training goes on when all are decided"
        say(session, job, text, mark="review", level="warn", data={"quarantined": len(rows)})
    return waiting


def write_overrides(session: Session, job_id: str, path: Path) -> None:
    """What people decided, as the pipeline reads it."""
    lines = []
    for item in session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id).order_by(col(ReviewItem.row))):
        said = session.exec(select(ReviewDecision).where(col(ReviewDecision.item_id) == item.id)).all()
        agree = [one for one in said if one.decision == item.decision]
        by = ", ".join(dict.fromkeys(one.reviewer for one in agree)) or "review"
        reason = "; ".join(dict.fromkeys(one.reason for one in agree if one.reason)) or "decided in review"
        lines.append(json.dumps({"row": item.row, "decision": item.decision, "by": by, "reason": reason}))
    write_text(path, "".join(f"{line}\n" for line in lines))


def _item(job: Job, row: dict[str, Any]) -> ReviewItem:
    return ReviewItem(
        id=new_id("review-"), organization_id=job.organization_id, created_at=now(), job_id=job.id, row=row["row"],
        score=row["score"] if row["score"] is not None else 0.0, threshold=row["threshold"] or 0.0,
        proposed=row["decision"], reason=row["reason"], span=row["span"], group=_group(row),
        content={"messages": row["messages"], "where": row["where"]},
    )  # fmt: skip


def _group(row: dict[str, Any]) -> str:
    """Rows of the same words, whatever their numbers and marks, are decided on together."""
    words = WORD.findall(" ".join(m["content"] for m in row["messages"] if m["role"] == "user").lower())
    return hashlib.sha256(" ".join(words).encode("utf-8", "replace")).hexdigest()[:16]
