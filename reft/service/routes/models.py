"""`/v1/models`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlmodel import Session, col, or_, select

from reft.service.access import Serving, needs
from reft.service.clock import now
from reft.service.errors import invalid, not_found
from reft.service.files import remove_blobs
from reft.service.jobs.forgetting import ask_to_forget
from reft.service.keys import Caller
from reft.service.models import usable_model, visible
from reft.service.tables import Job, ServedModel

router = APIRouter(prefix="/v1/models", tags=["models"])
Key = Annotated[Caller, Depends(needs("models"))]
SINCE = 1_735_689_600  # the base models come with the software: the beginning of 2025


def model_body(row: ServedModel, owner: str) -> dict[str, Any]:
    """A model as the SDK reads it."""
    return {"id": row.id, "object": "model", "created": row.created_at, "owned_by": owner}


def base_body(name: str) -> dict[str, Any]:
    """A base model."""
    return {"id": name, "object": "model", "created": SINCE, "owned_by": "reft"}


@router.get("")
def index(service: Serving, caller: Key) -> dict[str, Any]:
    """The base models and those that the organization may use."""
    with service.database.reading() as session:
        made = session.exec(select(ServedModel).where(*visible(session, caller)).order_by(col(ServedModel.seq))).all()
    data = [*map(base_body, service.models), *(model_body(row, row.organization_id) for row in made)]
    return {"object": "list", "data": data, "has_more": False}


@router.get("/{model:path}")
def retrieve(service: Serving, caller: Key, model: str) -> dict[str, Any]:
    """One model."""
    if base := service.base_model(model):
        return base_body(base)
    with service.database.reading() as session:
        row = usable_model(session, caller, model)
    return model_body(row, row.organization_id)


@router.delete("/{model:path}")
def delete(service: Serving, caller: Key, model: str) -> dict[str, Any]:
    """Delete a finetuned model of one's own with its checkpoints, or one of these alone."""
    if service.base_model(model):
        raise invalid(f"{model} is a base model and stays.", "model", "model_not_deletable")
    with service.database.writing() as session:
        folders = _delete(session, caller, model)
    remove_blobs(service.blobs, folders)
    return {"id": model, "object": "model", "deleted": True}


def _delete(session: Session, caller: Caller, model: str) -> list[str]:
    mine = (col(ServedModel.organization_id) == caller.organization_id, col(ServedModel.deleted_at).is_(None))
    row = session.exec(select(ServedModel).where(col(ServedModel.id) == model, *mine)).first()
    if row is None:
        raise not_found("model", model, "model")
    same = or_(col(ServedModel.id) == model, col(ServedModel.id).startswith(f"{model}:ckpt-step-", autoescape=True))
    gone = session.exec(select(ServedModel).where(same, *mine)).all()
    for one in gone:
        one.deleted_at, one.passed = now(), False
        session.add(one)
    session.flush()
    # A model and its last checkpoint are the same files: they go with the last name that they have.
    jobs = {one.job_id for one in gone}
    stays = (col(ServedModel.job_id).in_(jobs), col(ServedModel.deleted_at).is_(None))
    left = session.exec(select(ServedModel).where(*stays)).all()
    for job in session.exec(select(Job).where(col(Job.id).in_(jobs - {one.job_id for one in left}))).all():
        ask_to_forget(session, job)
    return sorted({one.folder for one in gone if one.folder} - {one.folder for one in left})
