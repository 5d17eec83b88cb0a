"""Keeping usable rows between steps: each as it was read, with its number and its line as uploaded."""

import json
from collections.abc import Iterable
from pathlib import Path

from reft.conversations.schema import Conversation, Message
from reft.storage.artifacts import write_text


def save_rows(path: Path, rows: Iterable[Conversation]) -> None:
    """Write one ASCII JSON object a line: a user's own line separators (U+2028, say) stay escaped."""
    values = ({**vars(row), "messages": [message.model_dump() for message in row.messages]} for row in rows)
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def load_rows(path: Path) -> list[Conversation]:
    """Read what `save_rows` wrote."""
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Conversation(messages=tuple(Message(**m) for m in value.pop("messages")), **value) for value in values]
