"""`/v1/fine_tuning/jobs`."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from sqlmodel import Session, col, select

from reft.service.access import Serving, needs
from reft.service.bodies import JobCreate
from reft.service.errors import invalid, not_found
from reft.service.jobs import lifecycle
from reft.service.jobs.create import Sent, create_job
from reft.service.jobs.leases import is_held
from reft.service.jobs.shown import checkpoint_body, checkpoints_of, event_body, job_body
from reft.service.keys import Caller
from reft.service.listing import After, Few, Page, list_body, rows_of
from reft.service.service import Service
from reft.service.tables import Checkpoint, Event, Job, JobLabel

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["jobs"])
Key = Annotated[Caller, Depends(needs("jobs"))]
PAIR = re.compile(r"metadata\[(.{0,100})\]", re.DOTALL)


@router.post("")
def create(
    request: Request,
    service: Serving,
    caller: Key,
    *,
    body: JobCreate,
    attempt: Annotated[str, Header(alias="x-stainless-retry-count")] = "0",
) -> dict[str, Any]:
    """Make a job."""
    sent = Sent(request.state.arrived_ms, int(attempt) if re.fullmatch("[0-9]{1,3}", attempt) else 0)
    return job_body(create_job(service, caller, body, sent=sent))


@router.get("")
def index(request: Request, service: Serving, caller: Key, *, after: After = None, limit: Few = 20) -> dict[str, Any]:
    """The organization's jobs, all those whose metadata has the pairs of `metadata[NAME]=VALUE`."""
    where = [col(Job.organization_id) == caller.organization_id, *_filters(request)]
    with service.database.reading() as session:
        return list_body(*rows_of(session, Job, Page(after=after, limit=limit), where=where), job_body)


def _filters(request: Request) -> list[Any]:
    found, none = [], False
    for name, value in request.query_params.multi_items():
        if pair := PAIR.fullmatch(name):
            has = select(JobLabel.job_id).where(col(JobLabel.name) == pair[1], col(JobLabel.value) == value)
            found.append(col(Job.id).in_(has))
        elif name == "metadata":
            if value != "null":
                raise invalid("Filter by metadata[NAME]=VALUE, or by metadata=null.", "metadata", "invalid_value")
            none = True
            found.append(~col(Job.id).in_(select(JobLabel.job_id)))
    if none and len(found) > 1:
        raise invalid("metadata=null and metadata[NAME] exclude one another.", "metadata", "invalid_value")
    return found


@router.get("/{job_id}")
def retrieve(service: Serving, caller: Key, job_id: str) -> dict[str, Any]:
    """One job."""
    with service.database.reading() as session:
        return job_body(job_of(session, caller, job_id))


@router.post("/{job_id}/cancel")
def cancel(service: Serving, caller: Key, job_id: str) -> dict[str, Any]:
    """End it; its processes are freed."""
    return _change(service, caller, job_id, change=lifecycle.cancel)


@router.post("/{job_id}/pause")
def pause(service: Serving, caller: Key, job_id: str) -> dict[str, Any]:
    """Let it rest; its checkpoint stays."""

    def change(session: Session, job: Job) -> None:
        lifecycle.pause(session, job, runs=is_held(session, f"job:{job.id}"))

    return _change(service, caller, job_id, change=change)


@router.post("/{job_id}/resume")
def resume(service: Serving, caller: Key, job_id: str) -> dict[str, Any]:
    """Let it go on."""
    return _change(service, caller, job_id, change=lifecycle.resume)


def _change(service: Service, caller: Caller, job_id: str, *, change: Callable[[Session, Job], None]) -> dict[str, Any]:
    with service.database.writing() as session:
        job = job_of(session, caller, job_id)
        change(session, job)
    return job_body(job)


@router.get("/{job_id}/events")
def events(service: Serving, caller: Key, job_id: str, *, after: After = None, limit: Few = 20) -> dict[str, Any]:
    """What happened to it, newest first."""
    with service.database.reading() as session:
        where = [col(Event.job_id) == job_of(session, caller, job_id).id]
        return list_body(*rows_of(session, Event, Page(after=after, limit=limit), where=where), event_body)


@router.get("/{job_id}/checkpoints")
def checkpoints(service: Serving, caller: Key, job_id: str, *, after: After = None, limit: Few = 10) -> dict[str, Any]:
    """Its checkpoints but for those whose models were deleted, newest first."""
    with service.database.reading() as session:
        where = checkpoints_of(job_of(session, caller, job_id).id)
        return list_body(*rows_of(session, Checkpoint, Page(after=after, limit=limit), where=where), checkpoint_body)


def job_of(session: Session, caller: Caller, job_id: str) -> Job:
    """One job of the caller's organization.

    Raises:
        ApiError: it has no such job.
    """
    mine = (col(Job.id) == job_id, col(Job.organization_id) == caller.organization_id)
    if (found := session.exec(select(Job).where(*mine)).first()) is None:
        raise not_found("fine-tuning job", job_id, "fine_tuning_job_id")
    return found
