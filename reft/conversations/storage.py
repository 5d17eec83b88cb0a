"""Keeping usable rows between steps: each line as uploaded, with its number."""

import json
from collections.abc import Iterable
from pathlib import Path

from reft.artifacts import write_text
from reft.conversations.reading import parse_row
from reft.conversations.schema import Conversation


def save_rows(path: Path, rows: Iterable[Conversation]) -> None:
    """Write one ASCII JSON object a line: a user's own line separators (U+2028, say) stay escaped."""
    write_text(path, "".join(json.dumps({"row": c.row, "line": c.original}) + "\n" for c in rows))


def load_rows(path: Path) -> list[Conversation]:
    """Read what `save_rows` wrote."""
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [parse_row(value["line"], value["row"], len(value["line"])) for value in values]
