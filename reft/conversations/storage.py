"""Keeping usable rows between steps: each as it was read, with its number and its line as uploaded."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft.conversations.schema import Conversation, Message, Unread
from reft.storage.artifacts import write_text


def save_rows(path: Path, rows: Iterable[Conversation]) -> None:
    """Write one ASCII JSON object a line: a user's own line separators (U+2028, say) stay escaped."""
    values = ({**asdict(row), "messages": [message.model_dump() for message in row.messages]} for row in rows)
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def load_rows(path: Path) -> list[Conversation]:
    """Read what `save_rows` wrote."""
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [_row(**value) for value in values]


def _row(
    *, messages: list[dict], unread: list[dict], options: list[list], notes: list[str], **rest: Any
) -> Conversation:
    return Conversation(
        messages=tuple(Message(**message) for message in messages),
        unread=tuple(Unread(**text) for text in unread),
        options=tuple((name, value) for name, value in options),
        notes=tuple(notes),
        **rest,
    )
