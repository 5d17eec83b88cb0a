"""How a job comes to be and ends; each change with its event, and with the webhooks that tell of it."""

from typing import Any

from sqlmodel import Session, col, select

from reft.service.clock import now
from reft.service.errors import invalid
from reft.service.jobs import states
from reft.service.jobs.events import say
from reft.service.jobs.tries import try_at_once
from reft.service.tables import Job, StoredFile
from reft.service.webhooks import announce

MOST_ROWS = "most_rows"  # in a job's `work`: what its organization's quota allowed when it was made


def too_many_rows(rows: int, most: int) -> str:
    """In words."""
    return f"A job of your organization may have {most:,} rows; this one has {rows:,}."


def settle_files(session: Session, job: Job) -> None:
    """Let a job whose files have been checked wait for its turn, or fail where one is wrong."""
    if job.status != states.VALIDATING:
        return
    for param in ("training_file", "validation_file"):
        name = getattr(job, param)
        if name is None:
            continue
        file = session.exec(select(StoredFile).where(col(StoredFile.id) == name)).first()
        if file is None or file.deleted_at is not None or file.status == "error":
            said = (file.status_details if file else None) or "the file is gone"
            finish(session, job, states.FAILED, error=error_of(f"invalid_{param}", said, param))
            return
        if file.status == "uploaded":
            return
        most = job.work.get(MOST_ROWS)
        if param == "training_file" and most is not None and (file.usable_rows or 0) > most:
            error = error_of("insufficient_quota", too_many_rows(file.usable_rows or 0, most), param)
            finish(session, job, states.FAILED, error=error)
            return
    job.status = states.QUEUED
    if job.stage == states.CHECKING:
        job.stage = states.WAITING
    session.add(job)
    say(session, job, "Files validated, moving job to queued state", mark="files-validated")


def error_of(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """A job's `error`."""
    return {"code": code, "message": message, "param": param}


def finish(
    session: Session, job: Job, status: str, *, error: dict[str, Any] | None = None, model: str | None = None
) -> bool:
    """End a job, once: whoever comes second changes nothing and is told so."""
    if job.status in states.FINISHED:
        return False
    job.status, job.stage, job.finished_at, job.estimated_finish = status, states.DONE, now(), None
    job.error, job.fine_tuned_model = error, model
    session.add(job)
    words = {
        states.SUCCEEDED: "The job has successfully completed",
        states.FAILED: f"The job failed: {error['message']}" if error else "The job failed",
        states.CANCELLED: "Fine-tuning job cancelled",
    }
    say(session, job, words[status], mark="finished", level="error" if status == states.FAILED else "info", data=error)
    announce(session, job, f"fine_tuning.job.{status}")
    return True


def give_up(session: Session, job: Job) -> None:
    """End a job that no try has brought to an end."""
    message = "The job could not be run here; the operator finds the reason in the server's log."
    finish(session, job, states.FAILED, error=error_of(states.SERVER_ERROR, message))


def cancel(session: Session, job: Job) -> None:
    """End a job on its owner's word; the runner sees `wanted` and frees the processes.

    Raises:
        ApiError: it has ended already (400: the SDK would send a 409 again).
    """
    _require_unfinished(job, "cancelled")
    job.wanted = states.CANCEL
    finish(session, job, states.CANCELLED)


def pause(session: Session, job: Job, *, runs: bool) -> None:
    """Ask for a pause; a job that nobody runs is paused at once.

    Raises:
        ApiError: it has ended, or is paused or about to be.
    """
    _require_unfinished(job, "paused")
    if job.wanted == states.PAUSE:
        raise invalid(f"{job.id} is paused already.", "id", "job_already_paused")
    job.wanted = states.PAUSE
    if not runs:
        job.stage = states.PAUSED
    session.add(job)
    say(session, job, "Pause requested; the checkpoint will be kept" if runs else "Fine-tuning job paused")


def rest(session: Session, job: Job) -> None:
    """A job that nobody works on any more is paused, where that is what its owner wants; said once for each pause."""
    if job.status in states.FINISHED or job.wanted != states.PAUSE or job.stage == states.PAUSED:
        return
    job.stage, job.estimated_finish = states.PAUSED, None
    session.add(job)
    say(session, job, "Fine-tuning job paused; its checkpoint is kept")


def resume(session: Session, job: Job) -> None:
    """Let a paused job go on.

    Raises:
        ApiError: it has ended, or is not paused.
    """
    _require_unfinished(job, "resumed")
    if job.wanted != states.PAUSE:
        raise invalid(f"{job.id} is not paused.", "id", "job_not_paused")
    job.wanted = states.RUN
    try_at_once(job)
    if job.stage == states.PAUSED:
        job.stage = states.CHECKING if job.status == states.VALIDATING else states.WAITING
    if job.status == states.RUNNING and job.stage == states.WAITING:
        job.status = states.QUEUED
    session.add(job)
    say(session, job, "Fine-tuning job resumed")


def _require_unfinished(job: Job, done: str) -> None:
    if job.status in states.FINISHED:
        raise invalid(f"{job.id} has {job.status} and cannot be {done}.", "id", "job_already_finished")
