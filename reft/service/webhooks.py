"""Webhooks: what is sent, and the signature that `client.webhooks.unwrap` accepts."""

import base64
import hashlib
import hmac
import json
import secrets

from sqlmodel import Session, col, select

from reft.service.clock import now
from reft.service.names import new_id
from reft.service.tables import Job, WebhookDelivery, WebhookEndpoint

SECRET = "whsec_"


def new_secret() -> str:
    """A secret to sign with."""
    return SECRET + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, *, body: str) -> str:
    """The signature of one message, as Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix(SECRET))
    signed = hmac.new(key, f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def headers_for(endpoint: WebhookEndpoint, message_id: str, body: str, *, timestamp: int) -> dict[str, str]:
    """The headers of a delivery; for a day after a rotation the former secret signs, too, where that was asked for."""
    both = [endpoint.secret]
    if endpoint.previous_secret and (endpoint.previous_until or 0) > timestamp:
        both.append(endpoint.previous_secret)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, message_id, timestamp, body=body) for secret in both),
    }


def event_body(message_id: str, event_type: str, job_id: str, *, created_at: int) -> str:
    """The body of an event."""
    content = {
        "id": message_id,
        "object": "event",
        "created_at": created_at,
        "type": event_type,
        "data": {"id": job_id},
    }
    return json.dumps(content)


def announce(session: Session, job: Job, event_type: str) -> None:
    """Note what every endpoint of the job's owner is to be told; sending is somebody else's work, after the commit."""
    mine = (col(WebhookEndpoint.organization_id) == job.organization_id, col(WebhookEndpoint.deleted_at).is_(None))
    for endpoint in session.exec(select(WebhookEndpoint).where(*mine)).all():
        mark = f"{job.id}:{event_type}"
        there = select(WebhookDelivery.id).where(
            col(WebhookDelivery.endpoint_id) == endpoint.id, col(WebhookDelivery.mark) == mark
        )
        if event_type not in endpoint.event_types or session.exec(there).first() is not None:
            continue
        made = new_id("evt_")
        body = event_body(made, event_type, job.id, created_at=now())
        session.add(
            WebhookDelivery(
                id=made,
                organization_id=job.organization_id,
                created_at=now(),
                endpoint_id=endpoint.id,
                mark=mark,
                event_type=event_type,
                body=body,
                next_at=now(),
            )
        )
