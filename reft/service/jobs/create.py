"""A new job: what is asked for, held against what there is; once, however often it is sent."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select

from reft.service.bodies import Hyperparameters, JobCreate
from reft.service.clock import now, now_ms
from reft.service.errors import ApiError, invalid, not_found, over_quota
from reft.service.files import FINE_TUNE, file_of, quotas_of
from reft.service.jobs import states
from reft.service.jobs.events import say
from reft.service.jobs.lifecycle import MOST_ROWS, settle_files, too_many_rows
from reft.service.keys import Caller
from reft.service.names import new_id
from reft.service.service import Service
from reft.service.tables import Job, JobLabel, StoredFile

SUPPORTED = "Supported: method.type 'supervised'."


@dataclass(frozen=True)
class Sent:
    """How a request came: when, and as which attempt of the SDK's (0: the first)."""

    arrived_ms: int
    attempt: int


def create_job(service: Service, caller: Caller, body: JobCreate, *, sent: Sent) -> Job:
    """Make the job, or find the one that this very request has made before.

    Raises:
        ApiError: a field is wrong, a file is not there or not usable, or a quota is used up.
    """
    hyperparameters = _hyperparameters(body)
    digest = hashlib.sha256(json.dumps(body.model_dump(), sort_keys=True).encode()).hexdigest()
    with service.database.writing() as session:
        if found := _made_before(service, session, caller, digest=digest, sent=sent):
            return found
        model = _require_model(service, body.model)
        training = _require_file(service, session, caller, name=body.training_file, param="training_file")
        if body.validation_file:
            _require_file(service, session, caller, name=body.validation_file, param="validation_file")
        most_rows = _require_quota(service, session, caller, rows=training.usable_rows or 0)
        job = Job(
            id=new_id("ftjob-"), organization_id=caller.organization_id, created_at=now(), created_ms=now_ms(),
            key_id=caller.key_id, model=model, training_file=body.training_file, validation_file=body.validation_file,
            suffix=body.suffix, seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
            hyperparameters=hyperparameters, user_metadata=body.metadata, status=states.VALIDATING,
            stage=states.CHECKING, body_digest=digest, retries=sent.attempt, work={MOST_ROWS: most_rows},
        )  # fmt: skip
        session.add(job)
        session.add_all(JobLabel(job_id=job.id, name=n, value=v) for n, v in (body.metadata or {}).items())
        session.flush()
        say(session, job, f"Created fine-tuning job: {job.id}", mark="created")
        say(session, job, f"Validating training file: {job.training_file}", mark="validating")
        settle_files(session, job)
    return job


def _hyperparameters(body: JobCreate) -> dict[str, Any]:
    """The method's, or the deprecated ones of the top level.

    Raises:
        ApiError: another method is asked for, or both are there and differ.
    """
    if body.integrations:
        raise invalid("Integrations are not supported: leave them out.", "integrations", "unsupported_integration")
    method, given = body.method, body.hyperparameters
    if method is not None:
        if method.type != "supervised":
            raise invalid(f"No such method: {method.type}. {SUPPORTED}", "method.type", "unsupported_method")
        for name in ("dpo", "reinforcement"):
            if getattr(method, name) is not None:
                raise invalid(f"{name} is not supported. {SUPPORTED}", f"method.{name}", "unsupported_method")
        inner = method.supervised.hyperparameters if method.supervised else None
        if inner and given and inner.filled() != given.filled():
            message = "hyperparameters (deprecated) and method.supervised.hyperparameters differ: send the latter."
            raise invalid(message, "hyperparameters", "conflicting_parameters")
        given = inner or given
    return (given or Hyperparameters()).filled()


def _made_before(service: Service, session: Session, caller: Caller, *, digest: str, sent: Sent) -> Job | None:
    """The job of a request that is sent again, since its answer was lost.

    Nothing in a request says which one it repeats: two equal creates that are both sent again find a job each, since
    each attempt takes one that no attempt of that number has taken. And a first attempt that was held up, and is
    overtaken by its own repetition, finds what that made after it had arrived.
    """
    since = now_ms() - 1000 * service.settings.repeat_seconds
    again = and_(col(Job.retries) < sent.attempt, col(Job.created_ms) >= since)
    overtaken = and_(col(Job.retries) > sent.attempt, col(Job.created_ms) >= sent.arrived_ms)
    query = (
        select(Job)
        .where(
            col(Job.organization_id) == caller.organization_id,
            col(Job.key_id) == caller.key_id,
            col(Job.body_digest) == digest,
            or_(again, overtaken),
        )
        .order_by(col(Job.seq))
    )
    found = session.exec(query).first()
    if found is not None and found.retries < sent.attempt:
        found.retries = sent.attempt
        session.add(found)
    return found


def _require_model(service: Service, name: str) -> str:
    if base := service.base_model(name):
        return base
    if name.startswith("ft:"):
        message = f"Training goes on from a base model alone: {', '.join(service.models)}."
        raise invalid(message, "model", "model_not_available")
    message = f"No such base model: {name:.100}. There are: {', '.join(service.models)}."
    raise ApiError(400, message, param="model", code="model_not_available")


def _require_file(service: Service, session: Session, caller: Caller, *, name: str, param: str) -> StoredFile:
    try:
        file = file_of(session, caller.organization_id, name, param=param)
    except ApiError:
        raise not_found("file", name, param) from None
    if file.purpose != FINE_TUNE:
        raise invalid(f"{name} has the purpose {file.purpose}; wanted: {FINE_TUNE}.", param, f"invalid_{param}")
    if file.status == "error":
        raise invalid(f"{name} cannot be used: {file.status_details}", param, f"invalid_{param}")
    least = service.run_settings.validation.min_rows
    if param == "training_file" and file.usable_rows is not None and file.usable_rows < least:
        message = f"{name} has {file.usable_rows} usable rows; a training needs {least}."
        raise invalid(message, param, "too_few_rows")
    return file


def _require_quota(service: Service, session: Session, caller: Caller, *, rows: int) -> int:
    """What the quotas allow; gives the rows that a job may have, for a file that has yet to be checked."""
    most = quotas_of(service, session, caller.organization_id)
    unfinished = (col(Job.organization_id) == caller.organization_id, col(Job.status).in_(states.UNFINISHED))
    running = session.exec(select(func.count(col(Job.seq))).where(*unfinished)).one()
    if running >= most["unfinished_jobs"]:
        raise over_quota(f"Your organization has {running} unfinished jobs, as many as it may have.")
    if rows > most["rows"]:
        raise over_quota(too_many_rows(rows, most["rows"]))
    return most["rows"]
