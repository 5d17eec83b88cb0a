"""Who looks at the pages: a key is typed in once, and a cookie stands for it until it expires or the key ends."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Form, Request
from fastapi.responses import RedirectResponse
from sqlalchemy import delete
from sqlmodel import Session, col, select
from starlette.responses import Response

from reft.service.access import Serving
from reft.service.clock import now
from reft.service.errors import ApiError
from reft.service.keys import Caller, caller_of, digest_of, holder_of
from reft.service.pages import SignInNeeded
from reft.service.service import Service
from reft.service.tables import PageSession

COOKIE, BEFORE = "reft_session", "reft_form"
SECONDS = 8 * 3600
OPEN_TO = ("review", "operate")  # scopes that have pages
Token = Annotated[str, Form(max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who is signed in. `name` stands in the records: the key's note (the key's id where it has none) @ organization.

    A rotated key keeps its note, so that nobody becomes two people by it.
    """

    caller: Caller
    name: str
    token: str

    def may(self, scope: str) -> bool:
        """Whether the key has this scope."""
        return scope in self.caller.scopes

    @property
    def sees_all(self) -> bool:
        """Whether other organizations' jobs are shown, too."""
        return self.may("operate")


def form_token(cookie: str) -> str:
    """What a form must carry: whoever cannot read the cookie cannot make it."""
    return hmac.new(cookie.encode("utf-8", "replace"), b"a form of these pages", hashlib.sha256).hexdigest()


def require_token(cookie: str, token: str) -> None:
    """See that a form was made by one of our pages, for this browser.

    Raises:
        ApiError: it was not.
    """
    if not cookie or not hmac.compare_digest(form_token(cookie).encode(), token.encode("utf-8", "replace")):
        raise ApiError(403, "This form has run out, or was not made here. Go back, load the page again, send it again.")


def open_session(service: Service, key: str) -> str | None:
    """Begin a session for a key; gives the cookie, None where the key is nobody's or has no pages."""
    cookie = secrets.token_urlsafe(32)
    with service.database.writing() as session:
        caller = caller_of(session, key)
        if caller is None or not caller.scopes & set(OPEN_TO):
            return None
        session.exec(delete(PageSession).where(col(PageSession.expires_at) <= now()))
        session.add(
            PageSession(digest=digest_of(cookie), key_id=caller.key_id, created_at=now(), expires_at=now() + SECONDS)
        )
    return cookie


def end_session(service: Service, cookie: str) -> None:
    """End a session, on the server too."""
    with service.database.writing() as session:
        session.exec(delete(PageSession).where(col(PageSession.digest) == digest_of(cookie)))


def visitor_of(session: Session, cookie: str) -> Visitor | None:
    """Whose cookie this is; None where it is nobody's, has expired, or its key has ended."""
    where = (col(PageSession.digest) == digest_of(cookie), col(PageSession.expires_at) > now())
    found = session.exec(select(PageSession).where(*where)).first()
    holder = holder_of(session, found.key_id) if found else None
    if holder is None:
        return None
    caller, note = holder
    return Visitor(caller=caller, name=f"{note or caller.key_id}@{caller.organization}", token=form_token(cookie))


def visiting(scope: str | None = None) -> Callable[..., Visitor]:
    """A dependency: who is signed in, with this scope (None: with any)."""

    def visitor(request: Request, service: Serving) -> Visitor:
        with service.database.reading() as session:
            found = visitor_of(session, request.cookies.get(COOKIE, ""))
        if found is None:
            raise SignInNeeded
        if scope and not found.may(scope):
            raise ApiError(403, f"This key ({found.caller.role}) may not see this page: it needs the scope {scope}.")
        return found

    return visitor


def sending(scope: str | None = None) -> Callable[..., Visitor]:
    """A dependency of what changes something: who is signed in, whose form it is."""

    def visitor(request: Request, found: Annotated[Visitor, Depends(visiting(scope))], *, token: Token = "") -> Visitor:
        require_token(request.cookies.get(COOKIE, ""), token)
        return found

    return visitor


def set_cookie(request: Request, answer: Response, *, name: str, value: str) -> None:
    """A cookie that no script reads and that comes from nowhere but these pages."""
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=SECONDS, httponly=True, samesite="strict", secure=secure, path="/")


def elsewhere(back: str) -> RedirectResponse:
    """On to a page of ours, whatever was asked for."""
    ours = back in ("/review", "/jobs") or back.startswith(("/review/", "/jobs/"))
    return RedirectResponse(back if ours and "\\" not in back and "//" not in back else "/review", 303)
