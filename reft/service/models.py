"""Which models an organization may use: its own, and those that another gave it."""

from typing import Any

from sqlmodel import Session, col, or_, select

from reft.service.errors import not_found
from reft.service.keys import Caller
from reft.service.tables import Permission, ServedModel


def visible(session: Session, caller: Caller) -> tuple[Any, ...]:
    """The conditions for what a caller may use; nothing that has not passed its gate, nothing deleted."""
    to_me = col(Permission.project_id).in_([caller.organization_id, caller.organization])
    given = session.exec(select(Permission.model).where(to_me, col(Permission.deleted_at).is_(None))).all()
    mine = col(ServedModel.organization_id) == caller.organization_id
    return (
        or_(mine, col(ServedModel.id).in_(given)),
        col(ServedModel.deleted_at).is_(None),
        col(ServedModel.passed).is_(True),
    )


def usable_model(session: Session, caller: Caller, name: str) -> ServedModel:
    """One model that the caller may use.

    Raises:
        ApiError: there is none of this name for this caller.
    """
    found = session.exec(select(ServedModel).where(col(ServedModel.id) == name, *visible(session, caller))).first()
    if found is None:
        raise not_found("model", name, "model")
    return found
