"""What happens to a job, said once."""

from typing import Any, Literal

from sqlalchemy import func
from sqlmodel import Session, col, select

from reft.service.clock import now
from reft.service.names import new_id
from reft.service.tables import Event, Job


def say(
    session: Session,
    job: Job,
    message: str,
    *,
    mark: str | None = None,
    level: Literal["info", "warn", "error"] = "info",
    data: dict[str, Any] | None = None,
    metrics: bool = False,
) -> bool:
    """Add an event; one of the same `mark` is not added twice, so that work done again may say it again.

    Returns:
        Whether it was new.
    """
    mark = mark or new_id("once-")
    said = select(Event.id).where(col(Event.job_id) == job.id, col(Event.mark) == mark)
    if session.exec(said).first() is not None:
        return False
    session.add(
        Event(
            id=new_id("ftevent-"),
            organization_id=job.organization_id,
            created_at=now(),
            job_id=job.id,
            mark=mark,
            level=level,
            message=message,
            type="metrics" if metrics else "message",
            data=data,
        )
    )
    session.flush()
    return True


def newest(session: Session, job_id: str) -> int:
    """The place of the newest event: it grows with all that is new of a job; 0 before the first."""
    return session.exec(select(func.max(Event.seq)).where(col(Event.job_id) == job_id)).one() or 0


def newest_step(session: Session, job_id: str) -> dict[str, Any]:
    """What the newest of a training's steps said: `step`, `total_steps`, `train_loss`; empty before the first."""
    steps = (col(Event.job_id) == job_id, col(Event.type) == "metrics")
    return session.exec(select(Event.data).where(*steps).order_by(col(Event.seq).desc()).limit(1)).first() or {}
