"""`/v1/fine_tuning/checkpoints/{model}/permissions`: another organization may use a model of this one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from sqlmodel import Session, col, select

from reft.service.access import Serving, needs
from reft.service.bodies import PermissionCreate
from reft.service.clock import now
from reft.service.errors import not_found
from reft.service.keys import Caller
from reft.service.listing import After, Few, Page, list_body, rows_of
from reft.service.names import new_id
from reft.service.tables import Permission, ServedModel

router = APIRouter(prefix="/v1/fine_tuning/checkpoints", tags=["permissions"])
Key = Annotated[Caller, Depends(needs("models"))]


def permission_body(row: Permission) -> dict[str, Any]:
    """A permission as the SDK reads it."""
    created = {"created_at": row.created_at, "project_id": row.project_id}
    return {"id": row.id, "object": "checkpoint.permission", **created}


@router.post("/{model:path}/permissions")
def create(service: Serving, caller: Key, model: str, *, body: PermissionCreate) -> dict[str, Any]:
    """Give it to others; the answer is a list. Whether there is such an organization is not said."""
    with service.database.writing() as session:
        _own(session, caller, model)
        rows = [_given(session, caller, model, project=name) for name in dict.fromkeys(body.project_ids)]
    return list_body(rows, False, permission_body)


def _given(session: Session, caller: Caller, model: str, *, project: str) -> Permission:
    there = (col(Permission.model) == model, col(Permission.project_id) == project)
    if found := session.exec(select(Permission).where(*there, col(Permission.deleted_at).is_(None))).first():
        return found
    made = Permission(
        id=new_id("cp_"), organization_id=caller.organization_id, created_at=now(), model=model, project_id=project
    )
    session.add(made)
    session.flush()
    return made


@router.get("/{model:path}/permissions")
def index(
    service: Serving,
    caller: Key,
    model: str,
    *,
    after: After = None,
    limit: Few = 10,
    order: Literal["ascending", "descending"] = "descending",
    project_id: str | None = None,
) -> dict[str, Any]:
    """Who has it."""
    page = Page(after=after, limit=limit, ascending=order == "ascending")
    where = [
        col(Permission.organization_id) == caller.organization_id,
        col(Permission.model) == model,
        col(Permission.deleted_at).is_(None),
        *([col(Permission.project_id) == project_id] if project_id else []),
    ]
    with service.database.reading() as session:
        _own(session, caller, model)
        return list_body(*rows_of(session, Permission, page, where=where), permission_body)


@router.delete("/{model:path}/permissions/{permission_id}")
def delete(service: Serving, caller: Key, model: str, *, permission_id: str) -> dict[str, Any]:
    """Take it back."""
    with service.database.writing() as session:
        where = (
            col(Permission.id) == permission_id,
            col(Permission.model) == model,
            col(Permission.organization_id) == caller.organization_id,
            col(Permission.deleted_at).is_(None),
        )
        found = session.exec(select(Permission).where(*where)).first()
        if found is None:
            raise not_found("permission", permission_id)
        found.deleted_at = now()
        session.add(found)
    return {"id": permission_id, "object": "checkpoint.permission", "deleted": True}


def _own(session: Session, caller: Caller, model: str) -> None:
    where = (
        col(ServedModel.id) == model,
        col(ServedModel.organization_id) == caller.organization_id,
        col(ServedModel.deleted_at).is_(None),
    )
    if session.exec(select(ServedModel.id).where(*where)).first() is None:
        raise not_found("model", model, "fine_tuned_model_checkpoint")
