"""`/v1/moderations`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from reft.config.serving import variable
from reft.conversations.schema import from_prompt
from reft.service.access import Serving, needs
from reft.service.errors import invalid
from reft.service.keys import Caller
from reft.service.names import new_id
from reft.service.routes.chat import Answering
from reft.service.serving.bodies import ModerationCreate
from reft.service.serving.moderation import MODEL, result

router = APIRouter(prefix="/v1/moderations", tags=["moderations"])
Key = Annotated[Caller, Depends(needs("chat"))]


@router.post("")
async def create(service: Serving, _: Key, *, engine: Answering, body: ModerationCreate) -> dict[str, Any]:
    """The refusal feature's score of each text."""
    texts, most = body.texts(), service.chat_limits.rows
    if len(texts) > most:
        raise invalid(f"{len(texts)} texts, more than the limit of {most} ({variable('rows')})", "input")
    if broken := [index for index, text in enumerate(texts) if "\0" in text or _halved(text)]:
        raise invalid("A zero byte or half of a character is no text.", f"input.{broken[0]}")
    verdicts = await engine.verdicts([from_prompt(text, index) for index, text in enumerate(texts)])
    return {"id": new_id("modr-"), "model": MODEL, "results": [result(verdict) for verdict in verdicts]}


def _halved(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
