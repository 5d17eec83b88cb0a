"""A job's rows that wait for a decision, and the end of the waiting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import func
from sqlmodel import Session, col, select

from reft.conversations.schema import from_prompt
from reft.pages.marking import texts_of
from reft.service.clock import now
from reft.service.errors import invalid, not_found
from reft.service.jobs.events import say
from reft.service.names import new_id
from reft.service.review.decisions import KEEP
from reft.service.tables import Job, ReviewItem
from reft.validation.repeats import bands_of, first_like

# In `Job.work`: "waiting" while people decide, "released" once they have; and what the filter counted.
STATE, WAITING, RELEASED, COUNTS = "review", "waiting", "released", "filter_counts"
NOTE = "reft_review"


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A row that the filter set aside, as its decision says; `content` is the row itself: its `messages`, and more."""

    row: int
    score: float
    threshold: float
    reason: str
    place: str = ""
    span: str = ""
    proposed: str = "quarantine"
    content: Mapping[str, Any] = field(default_factory=dict)


def hold(session: Session, job: Job, rows: Sequence[Quarantined], *, total: int, kept: int) -> int:
    """Let people decide on these rows of a job; done again, it changes nothing.

    Args:
        total: rows that the filter saw.
        kept: those of them that it kept.

    Returns:
        How many rows wait.
    """
    there = session.exec(select(func.count()).where(col(ReviewItem.job_id) == job.id)).one()
    if there or not rows:
        return there
    ids = [new_id("review_") for _ in rows]
    groups = near_duplicates([r.content for r in rows])
    session.add_all(
        ReviewItem(
            id=id_, organization_id=job.organization_id, created_at=now(), job_id=job.id, row=r.row,
            score=_finite(r.score), threshold=_finite(r.threshold), proposed=r.proposed, reason=_storable(r.reason),
            span=_storable(r.span), place=_storable(r.place), content=dict(r.content), group=ids[group],
        )
        for id_, r, group in zip(ids, rows, groups, strict=True)
    )  # fmt: skip
    job.work = {**job.work, STATE: WAITING, COUNTS: {"rows": total, "kept": kept, "quarantined": len(rows)}}
    waits = "1 quarantined row waits" if len(rows) == 1 else f"{len(rows)} quarantined rows wait"
    job.notes = {**job.notes, NOTE: f"{waits} for a person's decision"}
    session.add(job)
    say(session, job, f"{waits} for review", mark="review-waiting", data={"rows": len(rows)})
    return len(rows)


def release(session: Session, job_id: str, by: str) -> Job:
    """Let a job go on with what was decided, which is final from then on.

    Raises:
        ApiError: there is no such job, nothing of it waits, or rows are still undecided.
    """
    job = session.exec(select(Job).where(col(Job.id) == job_id).with_for_update()).first()
    if job is None:
        raise not_found("fine-tuning job", job_id)
    if job.work.get(STATE) != WAITING:
        raise invalid("Nothing of this job waits for review.", code="nothing_to_release")
    items = list(session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id)).all())
    if left := sum(item.decision is None for item in items):
        raise invalid(f"{left} rows are still undecided.", code="review_unfinished")
    for item in items:
        item.released_at = now()
        session.add(item)
    keeps = sum(item.decision == KEEP for item in items)
    job.work = {**job.work, STATE: RELEASED}
    job.notes = {name: value for name, value in job.notes.items() if name != NOTE}
    session.add(job)
    said = f"Review finished: {keeps} of {len(items)} quarantined rows are kept, {len(items) - keeps} dropped"
    data = {"kept": keeps, "dropped": len(items) - keeps, "by": by}
    say(session, job, said, mark="review-released", data=data)
    return job


def near_duplicates(contents: Sequence[Mapping[str, Any]]) -> list[int]:
    """For each row the first that says nearly the same, straight or by way of others; itself where none does."""
    if not contents:
        return []
    bands = np.array([bands_of(from_prompt(_storable("\n".join(texts_of(c))))) for c in contents], dtype=np.uint64)
    first = first_like(list(bands.T), np.arange(len(contents)))
    while not np.array_equal(first, first[first]):
        first = first[first]
    return first.tolist()


def _finite(value: float) -> float | None:
    """SQLite keeps no NaN, which a row that could not be scored has."""
    return value if math.isfinite(value) else None


def _storable(text: str) -> str:
    """Halves of characters, and the zero byte, are kept by no database's text."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
