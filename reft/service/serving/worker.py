"""One thread that answers one request after another; a bounded number of others waits."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from reft.errors import ReftError
from reft.service.errors import NO_RETRY, ApiError

LOG = logging.getLogger(__name__)
RETRY_AFTER = {"retry-after": "2"}


@dataclass(frozen=True)
class Begun:
    """The request was found good, and is being answered."""

    prompt_tokens: int


@dataclass(frozen=True)
class Said:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The end of the answer: `reason` is stop or length."""

    reason: str
    tokens: int


class Turn:
    """A request's place in the row; made in the event loop that waits for its news."""

    def __init__(self, seconds: float, closing: threading.Event) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._left, self._closing = threading.Event(), closing
        self._seconds, self._until = seconds, time.monotonic() + seconds

    def tell(self, news: Any) -> None:
        """In the thread: something for whoever waits."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)

    @property
    def over(self) -> bool:
        """Whether to stop: whoever asked has gone, time is up, or the server ends."""
        return self._left.is_set() or self._closing.is_set() or time.monotonic() > self._until

    def check(self) -> None:
        """Go no further where it is over.

        Raises:
            ApiError: out of time, or the server ends. The SDK would send a request that is too long again, and again.
        """
        if self._closing.is_set():
            raise ApiError(503, "The server is going down; ask again.", code="shutting_down", headers=RETRY_AFTER)
        if self.over:
            raise too_late(self._seconds)

    def leave(self) -> None:
        """Nobody waits any more."""
        self._left.set()

    async def news(self) -> AsyncGenerator[Any]:
        """What the thread tells, until it is done.

        Raises:
            ApiError: it could not be answered.
        """
        try:
            while (item := await self._news.get()) is not None:
                if isinstance(item, ApiError):
                    raise item
                yield item
        finally:
            self.leave()


Work = Callable[[Turn], None]


class Worker:
    """The thread, started with the first request."""

    def __init__(self, most: int) -> None:
        self._most, self._there = most, 0
        self._row: SimpleQueue[tuple[Turn, Work] | None] = SimpleQueue()
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, work: Work, seconds: float, *, bounded: bool = True) -> Turn:
        """A place for this work.

        Args:
            bounded: refuse where all places are taken; what belongs to a request that is being answered is not.

        Raises:
            ApiError: 429, all places are taken.
        """
        turn = Turn(seconds, self._closing)
        with self._lock:
            if bounded and self._there >= self._most:
                raise no_room(self._there)
            self._there += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="chat", daemon=True)
                self._thread.start()
        self._row.put((turn, work))
        return turn

    @property
    def there(self) -> int:
        """How many are answered or wait."""
        return self._there

    def close(self) -> None:
        """Stop what is being answered, and end."""
        self._closing.set()
        self._row.put(None)
        if self._thread:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while (item := self._row.get()) is not None:
            turn, work = item
            try:
                turn.check()
                work(turn)
            except Exception as error:
                turn.tell(told(error))
            finally:
                with self._lock:
                    self._there -= 1
                turn.tell(None)


def no_room(there: int) -> ApiError:
    """All places are taken."""
    message = f"{there} requests are being answered or wait, the limit; come back later."
    return ApiError(429, message, code="server_busy", headers=RETRY_AFTER)


def too_late(seconds: float) -> ApiError:
    """Time is up."""
    message = f"Not answered within the limit of {seconds:g} seconds: ask for fewer tokens."
    return ApiError(504, message, code="timeout", headers=NO_RETRY)


def told(error: Exception) -> ApiError:
    """What whoever asked is told; folders and causes are the operator's, in the log."""
    if isinstance(error, ApiError):
        return error
    LOG.error("a request could not be answered", exc_info=error)
    if isinstance(error, ReftError):
        message = "The model cannot be loaded or read; ask the operator, whose log says why."
        return ApiError(503, message, code="model_unavailable", headers=NO_RETRY)
    return ApiError(500, "Something failed here; ask the operator.", code="internal_error", headers=NO_RETRY)
