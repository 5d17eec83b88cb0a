"""`/v1/chat/completions`."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from reft.service.access import Serving, needs
from reft.service.errors import ApiError
from reft.service.keys import Caller
from reft.service.models import usable_model
from reft.service.service import Service
from reft.service.serving.bodies import ChatCreate
from reft.service.serving.dialogue import Dialogue
from reft.service.serving.engine import Engine, Wanted
from reft.service.serving.requests import ask_of
from reft.service.serving.wire import DONE, event

router = APIRouter(prefix="/v1/chat", tags=["chat"])
Key = Annotated[Caller, Depends(needs("chat"))]
GONE = 499  # nobody reads it


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def engine_of(request: Request) -> Engine:
    """What answers in this process."""
    return request.app.state.engine


Answering = Annotated[Engine, Depends(engine_of)]


@router.post("/completions", response_model=None)
async def create(
    request: Request, service: Serving, caller: Key, *, engine: Answering, body: ChatCreate
) -> Response | dict[str, Any]:
    """Answer, in one piece or as a stream."""
    ask = ask_of(body, service.chat_limits)
    wanted = await to_thread.run_sync(_wanted, service, caller, body.model)
    dialogue = Dialogue(engine, wanted, ask, body=body)
    pieces = dialogue.pieces()
    try:
        if not body.stream:
            await _unless_gone(request, pieces, _drained(pieces))
            return JSONResponse(dialogue.whole())
        # What is wrong with the request is found before the first piece, and said with a status.
        first = await _unless_gone(request, pieces, _first(pieces))
    except ClientGone:
        return Response(status_code=GONE)
    return StreamingResponse(_stream(first, pieces), media_type="text/event-stream", headers=STREAMED)


STREAMED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def _wanted(service: Service, caller: Caller, name: str) -> Wanted:
    if base := service.base_model(name):
        return Wanted(base, base)
    with service.database.reading() as session:
        row = usable_model(session, caller, name)
        return Wanted(row.id, row.base, row.folder)


async def _drained(pieces: AsyncGenerator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def _first(pieces: AsyncGenerator[bytes]) -> bytes:
    return await anext(pieces)


async def _unless_gone(request: Request, pieces: AsyncGenerator[bytes], work: Coroutine[Any, Any, bytes]) -> bytes:
    """What comes of the work.

    Raises:
        ApiError: as the pieces do.
        ClientGone: the client went away, and the making of its answer was ended.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await pieces.aclose()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(first: bytes, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for piece in pieces:
            yield piece
        yield DONE
    except ApiError as error:
        yield event(error.body())
    finally:
        await pieces.aclose()
