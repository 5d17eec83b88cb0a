"""Keys: made at random, kept as digests, each with a role and its scopes.

The digest is one SHA-256: a key is 256 random bits, which nobody tries out, so that a slow hash as for passwords would
only make every request slow. Looking a digest up tells nothing about a key by the time that it takes.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from reft.errors import ConfigurationError, explain
from reft.service.clock import now
from reft.service.names import new_id
from reft.service.tables import ApiKey, Organization

PREFIX = "sk-reft-"
SHOWN = len(PREFIX) + 4
ROLES: dict[str, tuple[str, ...]] = {
    "customer": ("files", "jobs", "models", "chat", "webhooks"),
    "reviewer": ("review",),
    "operator": ("files", "jobs", "models", "chat", "webhooks", "review", "operate"),
}
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
GIVEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43,100}}")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    organization_id: str
    organization: str
    key_id: str
    role: str
    scopes: frozenset[str]


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def organization_of(session: Session, name: str) -> Organization:
    """The organization of this name, made where there is none.

    Raises:
        ConfigurationError: no model's name could hold this name.
    """
    if not NAME.fullmatch(name):
        remedy = "small letters, digits and hyphens, at most 63: it is part of the names of models"
        raise ConfigurationError(explain(f"{name!r} is no name of an organization", "--organization", remedy))
    found = session.exec(select(Organization).where(col(Organization.name) == name)).first()
    if found is None:
        found = Organization(id=new_id("org-"), name=name, created_at=now())
        session.add(found)
        session.flush()
    return found


def create_key(
    session: Session,
    organization: str,
    role: str,
    *,
    note: str = "",
    scopes: tuple[str, ...] = (),
    ends_at: int | None = None,
    key: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key; the second value is the key itself, which is nowhere kept.

    Args:
        key: the key, made elsewhere; one that is there already stays as it is, ended or not. None: a random one.

    Raises:
        ConfigurationError: there is no such role, or it has no such scope, or the given key could be guessed.
    """
    if role not in ROLES:
        raise ConfigurationError(explain(f"there is no role {role}", "--role", f"name one of {', '.join(ROLES)}"))
    if unknown := set(scopes) - set(ROLES[role]):
        remedy = f"a {role} may have {', '.join(ROLES[role])}"
        raise ConfigurationError(explain(f"no such scope: {', '.join(sorted(unknown))}", "--scope", remedy))
    if key is None:
        key = PREFIX + secrets.token_urlsafe(32)
    elif not GIVEN.fullmatch(key):
        remedy = f"{PREFIX} and 32 random bytes, as letters and digits: make_secrets.sh of deploy/k8s makes one"
        raise ConfigurationError(explain("this is no key of ours", "the given key", remedy))
    elif found := session.exec(select(ApiKey).where(col(ApiKey.digest) == digest_of(key))).first():
        return found, key
    made = ApiKey(
        id=new_id("key_"), organization_id=organization_of(session, organization).id, created_at=now(),
        digest=digest_of(key), prefix=key[:SHOWN], role=role, scopes=list(scopes or ROLES[role]), note=note,
        ends_at=ends_at,
    )  # fmt: skip
    session.add(made)
    session.flush()
    return made, key


def rotate_key(session: Session, key_id: str, *, grace: int = 0) -> tuple[ApiKey, str]:
    """A new key like this one, which ends after `grace` seconds; the new one ends when it would have ended.

    Raises:
        ConfigurationError: there is no such key, or it has ended.
    """
    old = _living(session, key_id)
    owner = session.get_one(Organization, old.organization_id)
    # Who has no note is known by the key's id: nobody becomes two people by a new key.
    made = create_key(
        session, owner.name, old.role, note=old.note or old.id, scopes=tuple(old.scopes), ends_at=old.ends_at
    )
    old.ends_at = min(old.ends_at or now() + grace, now() + grace)
    session.add(old)
    return made


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """End a key at once.

    Raises:
        ConfigurationError: there is no such key, or it has ended.
    """
    found = _living(session, key_id)
    found.revoked_at = now()
    session.add(found)
    return found


def _living(session: Session, key_id: str) -> ApiKey:
    found = session.exec(select(ApiKey).where(col(ApiKey.id) == key_id)).first()
    if found is None or found.revoked_at is not None or (found.ends_at or now() + 1) <= now():
        raise ConfigurationError(explain("no such key, or it has ended", key_id, "reft keys list shows them"))
    return found


def caller_of(session: Session, key: str) -> Caller | None:
    """Whose key this is; None where it is nobody's, was revoked or has ended."""
    found = _alive(session, col(ApiKey.digest) == digest_of(key))
    return found[0] if found else None


def holder_of(session: Session, key_id: str) -> tuple[Caller, str] | None:
    """Whose key has this id, and the key's note; None as for `caller_of`."""
    return _alive(session, col(ApiKey.id) == key_id)


def _alive(session: Session, which: ColumnElement[bool]) -> tuple[Caller, str] | None:
    query = (
        select(ApiKey, Organization)
        .join(Organization, col(ApiKey.organization_id) == col(Organization.id))
        .where(which, col(ApiKey.revoked_at).is_(None))
    )
    found = session.exec(query).first()
    if found is None:
        return None
    row, owner = found
    if row.ends_at is not None and row.ends_at <= now():
        return None
    caller = Caller(
        organization_id=owner.id, organization=owner.name, key_id=row.id, role=row.role, scopes=frozenset(row.scopes)
    )
    return caller, row.note


def any_key(session: Session) -> bool:
    """Whether anybody at all could be let in."""
    return session.exec(select(col(ApiKey.id)).where(col(ApiKey.revoked_at).is_(None)).limit(1)).first() is not None
