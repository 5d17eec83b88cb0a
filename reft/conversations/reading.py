"""Reading JSONL into conversations; a line that cannot be read becomes a finding, never a crash."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.conversations.schema import ROLES, Conversation, Message
from reft.errors import DataFormatError, explain


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: which, why, and what to do.

    Attributes:
        row: 0-based number of the line in the file, as uploaded.
        code: stable name of the rule, in the words of the upload rules that users know.
        field: where in the row.
        remedy: what the owner of the file can do.
        original: the line as it was.
    """

    row: int
    code: str
    field: str
    remedy: str
    original: str = ""


class RowError(ValueError):
    """Raised while parsing one row; carries what becomes a `BadRow`."""

    def __init__(self, code: str, field: str, remedy: str) -> None:
        super().__init__(f"{code} at {field}: {remedy}")
        self.code, self.field, self.remedy = code, field, remedy


def read_rows(path: Path, max_characters: int = 100_000) -> Iterator[Conversation | BadRow]:
    """Every line of a JSONL file, in order, as a conversation or as a bad row. Blank lines count as bad rows.

    Raises:
        DataFormatError: the file is missing, empty, or not a JSONL file of objects at all.
    """
    for row, line in enumerate(_lines(path)):
        try:
            yield parse_row(line, row, max_characters)
        except RowError as error:
            yield BadRow(row, error.code, error.field, error.remedy, line[:max_characters])


def read_conversations(path: str | Path, limit: int | None = None) -> list[Conversation]:
    """All rows of a file that must be right (the shipped data, say), at most `limit`.

    Raises:
        DataFormatError: naming the first row that cannot be read.
    """
    rows: list[Conversation] = []
    for found in read_rows(Path(path)):
        if isinstance(found, BadRow):
            raise DataFormatError(explain(f"{found.code} at {found.field}", f"{path}, row {found.row}", found.remedy))
        rows.append(found)
        if limit and len(rows) == limit:
            break
    return rows


def parse_row(line: str, row: int, max_characters: int) -> Conversation:
    """One line, in chat form (`messages`) or as `prompt` and `completion`.

    Raises:
        RowError: with the rule that the line breaks.
    """
    if not line.strip():
        raise RowError("empty_line", "line", "delete the empty line")
    if len(line) > max_characters:
        raise RowError("row_too_long", "line", f"keep a row under {max_characters} characters")
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RowError("not_json", "line", f"write one JSON object per line ({error})") from error
    if not isinstance(value, dict):
        raise RowError("not_an_object", "line", "write one JSON object per line, not a list or a bare value")
    if "messages" in value:
        messages = _chat(value["messages"])
    elif "prompt" in value and "completion" in value:
        messages = _prompt_completion(value["prompt"], value["completion"])
    else:
        raise RowError(
            "missing_messages_list", f"keys {sorted(value)[:6]}", "give 'messages', or 'prompt' and 'completion'"
        )
    return Conversation(row, messages, str(value.get("source", "")), str(value.get("kind", "")), line)


def _chat(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise RowError("missing_messages_list", "messages", "give a list of at least one message")
    return tuple(_message(item, index) for index, item in enumerate(value))


def _message(item: Any, index: int) -> Message:
    field = f"messages[{index}]"
    if not isinstance(item, dict):
        raise RowError("data_type", field, "write a message as an object with 'role' and 'content'")
    for key in ("role", "content"):
        if key not in item:
            raise RowError("message_missing_key", f"{field}.{key}", f"add '{key}' to the message")
    if item["role"] not in ROLES:
        raise RowError("unrecognized_role", f"{field}.role", f"use one of {', '.join(ROLES)}")
    return Message(role=item["role"], content=_text(item["content"], f"{field}.content"))


def _prompt_completion(prompt: Any, completion: Any) -> tuple[Message, ...]:
    """TRL's two forms: plain strings, or lists of messages on both sides."""
    if isinstance(prompt, list) and isinstance(completion, list):
        return _chat(prompt + completion)
    return (
        Message(role="user", content=_text(prompt, "prompt")),
        Message(role="assistant", content=_text(completion, "completion")),
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise RowError("data_type", field, f"give text, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("encoding", field, "remove the lone surrogate (a half of an emoji, say)") from error
    return value


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise DataFormatError(explain("no such file", str(path), "correct the path in the data section"))
    if path.stat().st_size == 0:
        raise DataFormatError(explain("the file is empty", str(path), "give at least one row"))
    with path.open("rb") as file:
        for index, raw in enumerate(file):
            if index == 0:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
                if raw.strip() in (b"[", b"{"):
                    raise DataFormatError(
                        explain("pretty-printed JSON, not JSONL", str(path), "write one JSON object per line")
                    )
            # Undecodable bytes become lone surrogates, which `_text` then refuses row by row.
            yield raw.rstrip(b"\r\n").decode("utf-8", errors="surrogateescape")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
