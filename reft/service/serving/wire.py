"""Answers as the SDK reads them, whole or as a stream of events."""

import json
from dataclasses import dataclass, field
from typing import Any

from reft.service.clock import now
from reft.service.names import new_id


@dataclass
class Usage:
    """Tokens so far."""

    prompt: int = 0
    answer: int = 0

    def body(self) -> dict[str, int]:
        """As the SDK reads it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
        }


@dataclass(frozen=True)
class Form:
    """One answer's id, time and model, in all that is sent of it."""

    model: str
    with_usage: bool = False
    id: str = field(default_factory=lambda: new_id("chatcmpl-"))
    created: int = field(default_factory=now)

    def whole(self, text: str, reason: str, *, usage: Usage, moderation: Any = None) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        body = self._head("chat.completion") | {"choices": [choice], "usage": usage.body()}
        return body | ({"moderation": moderation} if moderation else {})

    def chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        """A piece of it."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        body = self._head("chat.completion.chunk") | {"choices": [choice]}
        return event(body | ({"usage": None} if self.with_usage else {}))

    def aside(self, **said: Any) -> bytes:
        """A chunk without a piece of the answer."""
        return event(self._head("chat.completion.chunk") | {"choices": []} | said)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


DONE = b"data: [DONE]\n\n"


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
