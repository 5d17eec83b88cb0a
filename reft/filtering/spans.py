"""The text that a decision was made by, from the name of its part (`parts.row_parts`)."""

import re

from reft.conversations.schema import Conversation
from reft.filtering.parts import PARTS, unread_texts
from reft.filtering.variants import variants

PIECE = re.compile(r"^(?P<text>.*):(?P<first>\d+)-(?P<last>\d+)$", re.DOTALL)
READING = re.compile(r"^(?P<text>.*) as (?P<name>[\w+]+)$", re.DOTALL)
MESSAGE = re.compile(r"^(?P<kind>\w+)\[(?P<index>\d+)\](?P<rest>| alone| reasoning)$")


def span_of(row: Conversation, where: str) -> str:
    """The part of a row of this name: a piece of a text, another reading of it, or the whole; "" where none is."""
    if piece := PIECE.match(where):
        return span_of(row, piece["text"])[int(piece["first"]) : int(piece["last"])].strip()
    if (text := _whole(row, where)) is not None:
        return text
    if reading := READING.match(where):
        texts = {other.name: other.text for other in variants(span_of(row, reading["text"]))}
        return texts.get(reading["name"], "")
    return ""


def _whole(row: Conversation, where: str) -> str | None:
    """A turn, what an assistant thought before it, or a text beside the turns."""
    if named := MESSAGE.match(where):
        index = int(named["index"])
        if index < len(row.messages) and PARTS.get(row.messages[index].role) == named["kind"]:
            message = row.messages[index]
            return message.reasoning if named["rest"] == " reasoning" else message.content
    if where in ("system", "system reasoning"):
        return next((m.content for m in row.messages if m.role == "system"), None)
    return dict(unread_texts(row)).get(where)
