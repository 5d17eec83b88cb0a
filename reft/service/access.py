"""Who may do what: the key is looked at before anything else of a request is read."""

import logging
import secrets
from collections.abc import Callable
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reft.service.clock import now_ms
from reft.service.database import AWAY
from reft.service.errors import ApiError, error_body, invalid, unavailable
from reft.service.keys import Caller, caller_of
from reft.service.service import Service

LOG = logging.getLogger(__name__)
API = "/v1"
MULTIPART_SLACK = 1_000_000  # bytes beside the file in a form


class Entrance:
    """Every request comes through here: an id for it, its size, its key, and an answer even where the app fails.

    Starlette's own handler of errors lies outside all middleware, so that its answers would carry no id.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or answer."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id, started = f"req_{secrets.token_hex(16)}", False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        state = scope.setdefault("state", {})
        state["request_id"], state["arrived_ms"] = request_id, now_ms()
        try:
            await self._admit(scope)
            await self.app(scope, self._limited(scope, receive), answer)
        except ApiError as error:
            await error.answer()(scope, receive, answer)
        except AWAY:
            if started:
                raise
            LOG.warning("request %s: the database does not answer", request_id)
            await unavailable().answer()(scope, receive, answer)
        except Exception:
            LOG.exception("request %s failed", request_id)
            if started:
                raise  # half an answer is out: the client sees the connection end
            said = error_body(500, f"Something failed here; ask the operator for {request_id}.", code="internal_error")
            await JSONResponse(said, 500)(scope, receive, answer)

    async def _admit(self, scope: Scope) -> None:
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise invalid("a zero byte in the address")  # PostgreSQL keeps none
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and len(length) < 20 and int(length) > self._most(scope):
            raise too_large(self._most(scope))
        if scope["path"] == API or scope["path"].startswith(f"{API}/"):
            scope["state"]["caller"] = await to_thread.run_sync(self._caller, Headers(scope=scope))

    def _caller(self, headers: Headers) -> Caller:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            message = "No API key: send it as 'Authorization: Bearer KEY' (reft keys create makes one)."
            raise ApiError(401, message, code="missing_api_key")
        with self.service.database.reading() as session:
            caller = caller_of(session, key.strip())
        if caller is None:
            raise ApiError(401, "Incorrect API key, or one that was revoked.", code="invalid_api_key")
        named = headers.get("openai-organization")
        if named and named not in (caller.organization_id, caller.organization):
            message = "The header OpenAI-Organization names another organization than the key's."
            raise ApiError(401, message, code="mismatched_organization")
        return caller

    def _most(self, scope: Scope) -> int:
        """Bytes that a request to this address may bring."""
        limits, path = self.service.settings.limits, scope["path"].rstrip("/")
        if path == f"{API}/files":
            return limits.file_bytes + MULTIPART_SLACK
        if path.startswith(f"{API}/uploads/") and path.endswith("/parts"):
            return limits.part_bytes + MULTIPART_SLACK
        if path in (f"{API}/chat/completions", f"{API}/moderations"):
            return min(self.service.chat_limits.bytes, limits.body_bytes)
        return limits.body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """What comes without a length, or with a wrong one, ends at the limit, too."""
        most, got = self._most(scope), 0

        async def limited() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise too_large(most)
            return message

        return limited


def too_large(most: int) -> ApiError:
    """More bytes than are taken; the SDK does not send 413 again."""
    return ApiError(
        413, f"The request is larger than the {most:,} bytes that are taken here.", code="request_too_large"
    )


def service_of(request: Request) -> Service:
    """The service whose app answers."""
    return request.app.state.service


def needs(scope: str) -> Callable[[Request], Caller]:
    """A dependency: the caller, whose key must have this scope."""

    def caller(request: Request) -> Caller:
        found: Caller = request.state.caller
        if scope not in found.scopes:
            raise ApiError(403, f"This key ({found.role}) may not use {scope}.", code="insufficient_permissions")
        return found

    return caller


Serving = Annotated[Service, Depends(service_of)]
