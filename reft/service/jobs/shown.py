"""A job as it is shown: to its owner by the API, to the operator in a terminal, from the same rows."""

from typing import Any

from sqlmodel import Session, col, select

from reft.errors import ConfigurationError, explain
from reft.service.jobs.events import newest_step
from reft.service.jobs.states import DONE, PAUSE, PAUSED, PAUSING, STAGE_KEY, TOLD
from reft.service.tables import Checkpoint, Event, Job, Organization, ServedModel

REPORT = "report"  # in a job's notebook: its run has left one
PASSES = "passes"  # in the notebook, too: what `n_epochs: auto` comes to, once its rows are counted
ROWS = "reft_rows_"  # a job's notes of how many were kept, quarantined, dropped


def job_body(row: Job) -> dict[str, Any]:
    """A job as the SDK reads it: all of its keys, always."""
    stage = PAUSING if row.wanted == PAUSE and row.stage not in (PAUSED, DONE) else row.stage
    told = {**row.notes, **({STAGE_KEY: stage} if stage in TOLD else {})}
    hyperparameters = row.hyperparameters
    if hyperparameters.get("n_epochs") == "auto" and PASSES in row.work:
        hyperparameters = {**hyperparameters, "n_epochs": row.work[PASSES]}
    return {
        "id": row.id, "object": "fine_tuning.job", "created_at": row.created_at, "model": row.model,
        "status": row.status, "error": row.error, "fine_tuned_model": row.fine_tuned_model,
        "finished_at": row.finished_at, "estimated_finish": row.estimated_finish,
        "hyperparameters": hyperparameters, "integrations": [],
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "metadata": {**(row.user_metadata or {}), **told} if told else row.user_metadata,
        "organization_id": row.organization_id, "result_files": row.result_files, "seed": row.seed,
        "trained_tokens": row.trained_tokens, "training_file": row.training_file,
        "validation_file": row.validation_file,
    }  # fmt: skip


def event_body(row: Event) -> dict[str, Any]:
    """An event as the SDK reads it."""
    return {
        "id": row.id, "object": "fine_tuning.job.event", "created_at": row.created_at, "level": row.level,
        "message": row.message, "type": row.type, "data": row.data,
    }  # fmt: skip


def checkpoint_body(row: Checkpoint) -> dict[str, Any]:
    """A checkpoint as the SDK reads it."""
    return {
        "id": row.id, "object": "fine_tuning.job.checkpoint", "created_at": row.created_at, "metrics": row.metrics,
        "fine_tuned_model_checkpoint": row.model, "fine_tuning_job_id": row.job_id, "step_number": row.step_number,
    }  # fmt: skip


def has_report(job: Job) -> bool:
    """Whether its run has left a report that is still there."""
    return bool(job.work.get(REPORT))


def checkpoints_of(job_id: str) -> list[Any]:
    """The conditions for a job's checkpoints whose models are there."""
    there = select(ServedModel.id).where(col(ServedModel.deleted_at).is_(None))
    return [col(Checkpoint.job_id) == job_id, col(Checkpoint.model).in_(there)]


def overview(session: Session, organization: str, limit: int) -> list[dict[str, Any]]:
    """The newest jobs, all organizations' or one's, newest first.

    Raises:
        ConfigurationError: there is no such organization.
    """
    query = select(Job, Organization.name).join(Organization, col(Job.organization_id) == col(Organization.id))
    if organization:
        if session.exec(select(Organization.id).where(col(Organization.name) == organization)).first() is None:
            remedy = "reft keys list shows the organizations that have keys"
            raise ConfigurationError(explain("there is no such organization", organization, remedy))
        query = query.where(col(Organization.name) == organization)
    rows = session.exec(query.order_by(col(Job.seq).desc()).limit(limit)).all()
    return [for_operator(session, job, owner) for job, owner in rows]


def one_job(session: Session, job_id: str, events: int) -> dict[str, Any]:
    """One job with its checkpoints and its newest events, as the API has them.

    Raises:
        ConfigurationError: there is no such job.
    """
    job = session.exec(select(Job).where(col(Job.id) == job_id)).first()
    if job is None:
        raise ConfigurationError(explain("there is no such job", job_id, "reft jobs lists them, newest first"))
    kept = select(Checkpoint).where(*checkpoints_of(job.id)).order_by(col(Checkpoint.seq).desc())
    said = select(Event).where(col(Event.job_id) == job.id).order_by(col(Event.seq).desc()).limit(events)
    return {
        **for_operator(session, job, session.get_one(Organization, job.organization_id).name),
        "checkpoints": [checkpoint_body(row) for row in session.exec(kept).all()],
        "events": [event_body(row) for row in session.exec(said).all()],
    }


def for_operator(session: Session, job: Job, organization: str) -> dict[str, Any]:
    """A job as its owner sees it, and beside it whose it is, the stage, the newest step, and how many rows are used."""
    data = newest_step(session, job.id)
    return {
        **job_body(job), "organization": organization, "stage": job.stage, "step": data.get("step"),
        "steps": data.get("total_steps"), "train_loss": data.get("train_loss"),
        "rows": {name.removeprefix(ROWS): int(n) for name, n in job.notes.items() if name.startswith(ROWS)},
    }  # fmt: skip
