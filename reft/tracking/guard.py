"""What stands before MLflow's scoring server in its own process: a request is held against the limits, and ends.

`mlflow models serve` starts MLflow's own program, which knows no limits: a body of any size is read, any number at
once, and what is asked for goes on after whoever asked has gone. The loader of the model runs in that very process
before the server is made, and puts the guard around it.
"""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from mlflow.exceptions import MlflowException

from reft.runtime.flags import Flag
from reft.tracking.limits import Limits, check_body, ended, over, refused, too_late, too_many

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

SERVER = "mlflow.pyfunc.scoring_server.app"
# A body must be there, and a server that was told to end must be gone, in so many seconds.
BODY_SECONDS = 10.0
END_SECONDS = 5.0
RETRY_AFTER_SECONDS = 5

_ending = Flag()


class Request:
    """One request on its way: whether what it asked for is still wanted. Any thread may ask."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._end = time.monotonic() + limits.seconds
        self._gone = threading.Event()

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self._gone.set()

    @property
    def stopped(self) -> bool:
        """Abandoned, out of time, or the server is ending."""
        return self._gone.is_set() or _ending.is_set() or time.monotonic() > self._end

    def check(self) -> None:
        """Go on only if the answer is still wanted.

        Raises:
            MlflowException: it is not; status 504 where its time is over, else 503.
        """
        if self._gone.is_set() or _ending.is_set():
            raise ended()
        if self.stopped:
            raise too_late(self.limits)


# The request that the code at hand works for; None where nobody asked through a server.
current: ContextVar[Request | None] = ContextVar("request", default=None)


def stand_before_mlflows_server(limits: Limits) -> None:
    """Put a guard around the app that MLflow's server is about to make; nothing happens in other processes."""
    if SERVER not in sys.modules:
        return
    from fastapi import FastAPI

    build = FastAPI.build_middleware_stack
    FastAPI.build_middleware_stack = lambda app: Guard(build(app), limits)  # ty: ignore[invalid-assignment]


class Guard:
    """ASGI: lets in what the limits allow, and tells the model when an answer is no longer wanted."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits, self._here = app, limits, 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            _end_soon_when_told_to()
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        try:
            with self._place():
                await self._answer(scope, body, send)
        except MlflowException as error:
            if b"expect" not in dict(scope["headers"]):  # who still sends would not read the answer
                await body.drain()
            await _tell(error, send)

    @contextmanager
    def _place(self) -> Generator[None]:
        if self._here >= self._limits.requests:
            raise too_many(self._limits)
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1

    async def _answer(self, scope: Message, body: "_Body", send: Send) -> None:
        request, headers = Request(self._limits), dict(scope["headers"])
        if sum(name == b"content-type" for name, _ in scope["headers"]) > 1:  # another one might be believed behind us
            raise refused("more than one content type", "request", "send application/json")
        if (kind := headers.get(b"content-type", b"").decode("latin-1")).split(";")[0].strip() != "application/json":
            # A table in Parquet or CSV may be far larger than its bytes.
            raise refused(f"content type {kind[:100]!r}", "request", "send application/json")
        await body.read(headers, self._limits)
        check_body(bytes(body.kept), self._limits)
        gone = asyncio.Event()

        async def watch() -> None:
            await body.disconnected()
            request.abandon()
            gone.set()

        given = [{"type": "http.request", "body": bytes(body.kept), "more_body": False}]

        async def replay() -> Message:
            if given:
                return given.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        watcher, token = asyncio.create_task(watch()), current.set(request)
        try:
            await self._app(scope, replay, send)
        finally:
            current.reset(token)
            request.abandon()  # MLflow's own time-out leaves the model at work
            watcher.cancel()


class _Body:
    """A request's body as it comes: kept up to the limit, beyond it counted and thrown away."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._size, self._over = receive, 0, False
        self.kept = bytearray()

    async def read(self, headers: dict[bytes, bytes], limits: Limits) -> None:
        """Raises: MlflowException: too large (status 400) or too slow (504)."""
        with suppress(ValueError):
            if (told := int(headers.get(b"content-length", b"0"))) > limits.bytes:
                raise over(f"{told} bytes", "request", "bytes", limit=limits.bytes)
        try:
            async with asyncio.timeout(min(BODY_SECONDS, limits.seconds)):
                while not self._over:
                    self.kept += await self._part()
                    if self._size > limits.bytes:
                        self.kept.clear()
        except TimeoutError:
            if self._size <= limits.bytes:
                self._over = True  # it was waited for long enough
                raise too_late(limits) from None
        if self._size > limits.bytes:
            self._over = True
            raise over(f"{self._size} bytes", "request", "bytes", limit=limits.bytes)

    async def drain(self) -> None:
        """Let it come to its end: whoever still sends does not read an answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                while not self._over:
                    await self._part()

    async def disconnected(self) -> None:
        """Wait until whoever sent it has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _part(self) -> bytes:
        message = await self._receive()
        self._over = not message.get("more_body", False)
        part = message.get("body", b"")
        self._size += len(part)
        return part


async def _tell(error: MlflowException, send: Send) -> None:
    status = error.get_http_status_code()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 429:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": error.serialize_as_json().encode()})


def _end_soon_when_told_to() -> None:
    """Let the server's handlers of signals stop what is being generated, and a process that lingers be gone."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals are not ours to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends a process, whatever hangs; a parent may have had it ignored
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def end(number: int, frame: Any, before: Any = before) -> None:
            if not _ending.is_set():
                # The system's own clock: a handler must take no lock, as starting a thread does.
                signal.setitimer(signal.ITIMER_REAL, END_SECONDS)
            _ending.set()
            if callable(before):
                before(number, frame)

        signal.signal(number, end)
