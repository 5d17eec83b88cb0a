"""`/v1/webhook_endpoints`, as newer SDKs have it; the older ones verify what is sent all the same."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from reft.service.access import Serving, needs
from reft.service.bodies import WebhookCreate, WebhookRotate, WebhookUpdate
from reft.service.clock import DAY, now
from reft.service.errors import invalid, not_found, over_quota
from reft.service.files import quotas_of
from reft.service.keys import Caller
from reft.service.listing import After, Few, Page, list_body, rows_of
from reft.service.names import new_id
from reft.service.service import Service
from reft.service.tables import WebhookEndpoint
from reft.service.webhooks import SECRET, new_secret

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"])
Key = Annotated[Caller, Depends(needs("webhooks"))]


def endpoint_body(row: WebhookEndpoint, *, secret: bool = False) -> dict[str, Any]:
    """An endpoint as the SDK reads it; the secret only when it is made or changed."""
    shown = {
        "id": row.id, "object": "webhook_endpoint", "created_at": row.created_at, "updated_at": row.updated_at,
        "name": row.name, "url": row.url, "event_types": row.event_types,
        "signing_secret_hint": f"{SECRET}...{row.secret[-4:]}",
    }  # fmt: skip
    return {**shown, "signing_secret": row.secret} if secret else shown


def _require_address(service: Service, url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise invalid("This is no address.", "url", "invalid_url") from None
    schemes = ("https", "http") if service.settings.private_webhooks else ("https",)
    if parts.scheme not in schemes or not host or parts.username or parts.password:
        raise invalid(f"Name an address of {' or '.join(schemes)}, without a password.", "url", "invalid_url")
    if any(c.isspace() or not c.isprintable() for c in url):
        raise invalid("This is no address.", "url", "invalid_url")
    return url


@router.post("")
def create(service: Serving, caller: Key, body: WebhookCreate) -> dict[str, Any]:
    """Have events sent somewhere."""
    row = WebhookEndpoint(
        id=new_id("wh_"), organization_id=caller.organization_id, created_at=now(), updated_at=now(), name=body.name,
        url=_require_address(service, body.url), event_types=list(dict.fromkeys(body.event_types)),
        secret=new_secret(),
    )  # fmt: skip
    with service.database.writing() as session:
        most = quotas_of(service, session, caller.organization_id)["webhook_endpoints"]
        there = session.exec(select(func.count()).select_from(WebhookEndpoint).where(*_mine(caller))).one()
        if there >= most:
            raise over_quota(f"Your organization has {there} webhook endpoints, as many as it may have; delete some.")
        session.add(row)
    return endpoint_body(row, secret=True)


@router.get("")
def index(service: Serving, caller: Key, *, after: After = None, limit: Few = 20) -> dict[str, Any]:
    """Where events are sent."""
    with service.database.reading() as session:
        page = Page(after=after, limit=limit)
        return list_body(*rows_of(session, WebhookEndpoint, page, where=_mine(caller)), endpoint_body)


@router.get("/{endpoint_id}")
def retrieve(service: Serving, caller: Key, endpoint_id: str) -> dict[str, Any]:
    """One endpoint."""
    with service.database.reading() as session:
        return endpoint_body(_endpoint(session, caller, endpoint_id))


@router.post("/{endpoint_id}")
def update(service: Serving, caller: Key, endpoint_id: str, *, body: WebhookUpdate) -> dict[str, Any]:
    """Change it."""
    with service.database.writing() as session:
        row = _endpoint(session, caller, endpoint_id)
        changes = body.model_dump(exclude_none=True)
        if body.url is not None:
            _require_address(service, body.url)
        if any(getattr(row, name) != value for name, value in changes.items()):
            row.sqlmodel_update({**changes, "updated_at": now()})
            session.add(row)
    return endpoint_body(row)


@router.delete("/{endpoint_id}")
def delete(service: Serving, caller: Key, endpoint_id: str) -> dict[str, Any]:
    """Send nothing there any more."""
    with service.database.writing() as session:
        row = _endpoint(session, caller, endpoint_id)
        row.deleted_at, row.secret, row.previous_secret = now(), "", None
        session.add(row)
    return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}


@router.post("/{endpoint_id}/rotate_secret")
def rotate(service: Serving, caller: Key, endpoint_id: str, *, body: WebhookRotate | None = None) -> dict[str, Any]:
    """Sign with a new secret."""
    with service.database.writing() as session:
        row = _endpoint(session, caller, endpoint_id)
        keeps = body is not None and body.keep_old_secret_active_for_24_hours
        row.previous_secret, row.previous_until = (row.secret, now() + DAY) if keeps else (None, None)
        row.secret, row.updated_at = new_secret(), now()
        session.add(row)
    return endpoint_body(row, secret=True)


def _mine(caller: Caller) -> list[ColumnElement[bool]]:
    """The conditions for the endpoints of the caller's organization."""
    return [col(WebhookEndpoint.organization_id) == caller.organization_id, col(WebhookEndpoint.deleted_at).is_(None)]


def _endpoint(session: Session, caller: Caller, endpoint_id: str) -> WebhookEndpoint:
    where = (col(WebhookEndpoint.id) == endpoint_id, *_mine(caller))
    if (found := session.exec(select(WebhookEndpoint).where(*where)).first()) is None:
        raise not_found("webhook endpoint", endpoint_id)
    return found
