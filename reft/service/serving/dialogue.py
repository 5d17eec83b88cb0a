"""One request from its question to its answer: moderation of both where it was asked for, and what is sent."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from reft.conversations.schema import Conversation, from_prompt
from reft.service.errors import ApiError
from reft.service.serving.bodies import ChatCreate
from reft.service.serving.engine import Engine, Wanted
from reft.service.serving.moderation import Verdict, part
from reft.service.serving.requests import Ask
from reft.service.serving.wire import Form, Usage
from reft.service.serving.worker import Begun, Ended, Said

FILTERED = "content_filter"


class Dialogue:
    """What becomes of a request; an answer in one piece is made of the same pieces as a stream."""

    def __init__(self, engine: Engine, wanted: Wanted, ask: Ask, *, body: ChatCreate) -> None:
        self._engine, self._wanted, self._ask, self._moderated = engine, wanted, ask, body.moderation
        self._form = Form(wanted.name, bool(body.stream_options and body.stream_options.include_usage))
        self._usage, self._text, self._reason = Usage(), "", "stop"
        self._moderation: dict[str, Any] | None = None

    def whole(self) -> dict[str, Any]:
        """The answer in one piece, once all pieces were made."""
        return self._form.whole(self._text, self._reason, usage=self._usage, moderation=self._moderation)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The events of a stream, but for its last.

        Raises:
            ApiError: the request is wrong (before the first event), or its answer came to nothing.
        """
        asked = await self._verdict(self._ask.conversation)
        blocked = self._blocks("input", asked)
        held = self._moderated is not None and self._moderated.blocks("output")
        if blocked:
            yield self._form.chunk({"role": "assistant", "content": ""})
            self._reason = FILTERED
        else:
            async with aclosing(self._engine.answer(self._wanted, self._ask)) as news:
                async for item in news:
                    if isinstance(item, Begun):
                        self._usage.prompt = item.prompt_tokens
                        yield self._form.chunk({"role": "assistant", "content": ""})
                    elif isinstance(item, Ended):
                        self._reason, self._usage.answer = item.reason, item.tokens
                    elif isinstance(item, Said):
                        self._text += item.text
                        if not held:
                            yield self._form.chunk({"content": item.text})
        answered = await self._verdict(from_prompt(self._text))
        if self._blocks("output", answered):
            self._text, self._reason = "", FILTERED
        elif held and self._text:
            yield self._form.chunk({"content": self._text})
        yield self._form.chunk({}, self._reason)
        if self._moderated and asked and answered:
            self._moderation = {"input": part(asked), "output": part(answered)}
            yield self._form.aside(moderation=self._moderation)
        if self._form.with_usage:
            yield self._form.aside(usage=self._usage.body())

    async def _verdict(self, row: Conversation) -> Verdict | ApiError | None:
        """None where nobody asked. A failed moderation is told in its place, unless the answer depends on it."""
        if not self._moderated:
            return None
        try:
            return (await self._engine.verdicts([row], bounded=row is self._ask.conversation))[0]
        except ApiError as error:
            if self._moderated.blocks("input") or self._moderated.blocks("output"):
                raise
            return error

    def _blocks(self, what: Any, verdict: Verdict | ApiError | None) -> bool:
        wanted = self._moderated is not None and self._moderated.blocks(what)
        return wanted and isinstance(verdict, Verdict) and verdict.flagged
