"""Pages for people: rendered here, whole, with their style and script; a browser fetches nothing else for them."""

import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment
from starlette.exceptions import HTTPException
from starlette.responses import Response

from reft.pages.rendering import environment_of

SIGN_IN = "/review/sign-in"
# What a page may do: its own style and script alone, by a word that is new for each answer.
POLICY = (
    "default-src 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SignInNeeded(Exception):
    """Nobody is signed in, or no longer."""


class PageRoute(APIRoute):
    """A route whose every answer, errors too, is for a browser."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors as pages and the headers that keep a page to itself."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                answer = await inner(request)
            except SignInNeeded:
                back = request.url.path if request.method == "GET" else "/review"
                answer = RedirectResponse(f"{SIGN_IN}?back={quote(back, safe='')}", 303)
            except HTTPException as error:
                answer = page("error.html.j2", code=error.status_code, message=str(error.detail))
            except RequestValidationError as error:
                field = ".".join(str(step) for step in error.errors()[0]["loc"][1:])
                answer = page("error.html.j2", code=400, message=f"{field}: {error.errors()[0]['msg']}")
            for name, value in HEADERS.items():
                answer.headers.setdefault(name, value)
            return answer

        return handle


def page(template: str, *, code: int = 200, **values: Any) -> HTMLResponse:
    """The page of a template; whatever is put into it is text."""
    nonce = secrets.token_urlsafe(16)
    html = _environment().get_template(template).render(nonce=nonce, code=code, **values)
    # Half a character, which JSON may hold, has no bytes in UTF-8.
    answer = HTMLResponse(html.encode("utf-8", "backslashreplace"), code)
    answer.headers["content-security-policy"] = POLICY.format(nonce)
    return answer


@cache
def _environment() -> Environment:
    made = environment_of("reft.service", "templates")
    made.globals["visitor"] = None  # ty: ignore[invalid-assignment]
    made.filters.update(moment=_moment, number=_number)
    return made


def _moment(seconds: int | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
