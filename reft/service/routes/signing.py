"""`/`, `/review/sign-in` and `/review/sign-out`."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from reft.service.access import Serving
from reft.service.pages import SIGN_IN, PageRoute, page
from reft.service.sign_in import (
    BEFORE,
    COOKIE,
    Token,
    Visitor,
    elsewhere,
    end_session,
    form_token,
    open_session,
    require_token,
    sending,
    set_cookie,
)  # fmt: skip

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Back = Annotated[str, Query(max_length=300)]


def _form(request: Request, *, back: str, wrong: str = "") -> Response:
    cookie = request.cookies.get(BEFORE) or secrets.token_urlsafe(32)
    answer = page("sign_in.html.j2", code=401 if wrong else 200, token=form_token(cookie), back=back, wrong=wrong)
    set_cookie(request, answer, name=BEFORE, value=cookie)
    return answer


@router.get("/")
def front() -> Response:
    """Whoever opens the service's address in a browser wants its pages."""
    return elsewhere("/review")


@router.get(SIGN_IN)
def form(request: Request, back: Back = "/review") -> Response:
    """Ask for a key."""
    return _form(request, back=back)


@router.post(SIGN_IN)
def sign_in(
    request: Request,
    service: Serving,
    *,
    key: Annotated[str, Form(max_length=300)] = "",
    back: Annotated[str, Form(max_length=300)] = "/review",
    token: Token = "",
) -> Response:
    """Take a key."""
    require_token(request.cookies.get(BEFORE, ""), token)
    cookie = open_session(service, key.strip())
    if cookie is None:
        return _form(request, back=back, wrong="This key is not known, has ended, or has neither of the two scopes.")
    answer = elsewhere(back)
    set_cookie(request, answer, name=COOKIE, value=cookie)
    answer.delete_cookie(BEFORE, path="/")
    return answer


@router.post("/review/sign-out")
def sign_out(request: Request, service: Serving, _: Annotated[Visitor, Depends(sending())]) -> Response:
    """Forget who looks."""
    end_session(service, request.cookies.get(COOKIE, ""))
    answer = elsewhere("/review")
    answer.headers["location"] = SIGN_IN
    answer.delete_cookie(COOKIE, path="/")
    return answer
