"""`/jobs`: what all jobs do, for who runs the service."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import func
from sqlmodel import Session, col, select
from starlette.responses import Response, StreamingResponse

from reft.errors import StorageError
from reft.service.access import Serving
from reft.service.blobs import pieces_of
from reft.service.chart import loss_chart
from reft.service.clock import now
from reft.service.errors import not_found
from reft.service.jobs import states
from reft.service.jobs.events import newest_step
from reft.service.jobs.shown import has_report
from reft.service.names import report_key
from reft.service.pages import PageRoute, page
from reft.service.sign_in import Visitor, visiting
from reft.service.tables import Event, Job, Organization, ReviewItem, StoredFile

router = APIRouter(prefix="/jobs", route_class=PageRoute, include_in_schema=False)
Looks = Annotated[Visitor, Depends(visiting("operate"))]
AT_ONCE, EVENTS, STEPS = 50, 200, 20_000
# A report of ours is shown as it is, but runs and asks for nothing, as if it came from nowhere.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A job in the list."""

    job: Job
    owner: str
    stage: str
    progress: float | None
    time: str


@router.get("")
def index(
    service: Serving,
    visitor: Looks,
    *,
    status: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """All jobs, newest first."""
    with service.database.reading() as session:
        counts = dict(session.exec(select(Job.status, func.count()).group_by(col(Job.status))).all())
        query = select(Job, Organization.name).join(Organization, col(Organization.id) == col(Job.organization_id))
        if status:
            query = query.where(col(Job.status) == status)
        if after:
            place = session.exec(select(Job.seq).where(col(Job.id) == after)).first()
            query = query.where(col(Job.seq) < (place or 0))
        found = session.exec(query.order_by(col(Job.seq).desc()).limit(AT_ONCE + 1)).all()
        lines = [line_of(session, job, owner) for job, owner in found[:AT_ONCE]]
    order = (*states.UNFINISHED, *states.FINISHED)
    return page(
        "jobs_index.html.j2", visitor=visitor, lines=lines, status=status,
        older=lines[-1].job.id if len(found) > AT_ONCE else "",
        counts={name: counts[name] for name in order if name in counts},
    )  # fmt: skip


@router.get("/{job_id}")
def one(service: Serving, visitor: Looks, job_id: str) -> Response:
    """One job: progress, loss, costs, files, events."""
    with service.database.reading() as session:
        job, owner = _job(session, job_id)
        line = line_of(session, job, owner)
        query = select(Event).where(col(Event.job_id) == job.id).order_by(col(Event.seq).desc())
        events = session.exec(query.where(col(Event.type) == "message").limit(EVENTS + 1)).all()
        steps = session.exec(query.where(col(Event.type) == "metrics").limit(STEPS)).all()
        files = session.exec(select(StoredFile).where(*_results(job))).all()
        reviewed = select(func.count()).where(col(ReviewItem.job_id) == job.id)
        review = session.exec(reviewed).one() if visitor.may("review") else 0
    data = [event.data for event in steps if event.data]
    return page(
        "jobs_one.html.j2", visitor=visitor, job=job, line=line, events=events[:EVENTS], more=len(events) > EVENTS,
        files=files, review=review, report=has_report(job), costs=costs_of(job, line.time, files),
        chart=loss_chart(list(_points(data))),
    )  # fmt: skip


@router.get("/{job_id}/files/{file_id}")
def content(service: Serving, _: Looks, *, job_id: str, file_id: str) -> Response:
    """A result of a job, to keep."""
    with service.database.reading() as session:
        job, _owner = _job(session, job_id)
        where = (*_results(job), col(StoredFile.id) == file_id)
        file = session.exec(select(StoredFile).where(*where)).first()
    if file is None:
        raise not_found("file", file_id)
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in file.filename)
    headers = {"content-length": str(file.bytes), "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(service.blobs.read(file.blob), media_type="application/octet-stream", headers=headers)


@router.get("/{job_id}/report")
def report(service: Serving, _: Looks, job_id: str) -> Response:
    """The report that the job's run has left, to look at."""
    with service.database.reading() as session:
        _job(session, job_id)
    try:
        stream = service.blobs.open(report_key(job_id))
    except StorageError:  # it has ended without a model, or its training file was deleted
        raise not_found("report", job_id) from None
    headers = {"content-security-policy": REPORT_POLICY}
    return StreamingResponse(pieces_of(stream), media_type="text/html; charset=utf-8", headers=headers)


def _job(session: Session, job_id: str) -> tuple[Job, str]:
    query = select(Job, Organization.name).join(Organization, col(Organization.id) == col(Job.organization_id))
    if (found := session.exec(query.where(col(Job.id) == job_id)).first()) is None:
        raise not_found("job", job_id)
    return found[0], found[1]


def _results(job: Job) -> tuple[Any, ...]:
    return (col(StoredFile.id).in_(job.result_files), col(StoredFile.deleted_at).is_(None))


def line_of(session: Session, job: Job, owner: str) -> Line:
    """A job as the list shows it."""
    stage = "" if job.stage == states.DONE else job.stage.replace("_", " ")
    until = job.finished_at or now()
    time = duration(until - job.started_at) if job.started_at else ""
    return Line(job=job, owner=owner, stage=stage, progress=_progress(session, job), time=time)


def _progress(session: Session, job: Job) -> float | None:
    """How far the training is, as the newest step says; None where nobody knows."""
    if job.status == states.SUCCEEDED:
        return 1.0
    if job.status != states.RUNNING:
        return None
    data = newest_step(session, job.id)
    step, total = data.get("step"), data.get("total_steps")
    return min(1.0, step / total) if isinstance(step, int | float) and total else None


def _points(data: list[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    for one_ in data:
        step, loss = one_.get("step"), one_.get("train_loss")
        if isinstance(step, int | float) and isinstance(loss, int | float):
            yield float(step), float(loss)


def costs_of(job: Job, time: str, files: list[StoredFile] | Any) -> list[tuple[str, str]]:
    """What it has cost: time, tokens, bytes, and whatever its runner has noted under `costs`."""
    found = [("Time since it started", time or "not started")]
    if job.trained_tokens:
        found.append(("Trained tokens", f"{job.trained_tokens:,}"))
    found.append(("Bytes of results", f"{sum(file.bytes for file in files):,}"))
    if job.attempts > 1:
        found.append(("Attempts", str(job.attempts)))
    for name, value in (job.work.get("costs") or {}).items():
        shown = f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else str(value)
        found.append((name.replace("_", " "), shown))
    return found


def duration(seconds: int) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
