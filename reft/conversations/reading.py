"""Reading files into conversations; a row that cannot be read becomes a finding, never a crash."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.conversations.containers import lines, recognise
from reft.conversations.formats import RowError, messages_of
from reft.conversations.schema import Conversation
from reft.errors import DataFormatError, explain

# Control characters that no text holds; tabs and line ends are text.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
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


def read_rows(
    path: Path, max_characters: int = 100_000, columns: tuple[str, str] | None = None
) -> Iterator[Conversation | BadRow]:
    """Every row of a file or folder of any kind, in order, as a conversation or as a bad row.

    A blank line counts as a bad row.

    Args:
        columns: names of the prompt's and the answer's column, where rows have no form of their own.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
    """
    yield from rows_of(lines(recognise(path)), max_characters, columns)


def rows_of(
    found: Iterable[str], max_characters: int = 100_000, columns: tuple[str, str] | None = None
) -> Iterator[Conversation | BadRow]:
    """`read_rows` for lines of JSON that are at hand."""
    for row, line in enumerate(found):
        yield read_row(line, row, max_characters, columns=columns)


def read_row(
    line: str, row: int, max_characters: int = 100_000, *, columns: tuple[str, str] | None = None
) -> Conversation | BadRow:
    """`parse_row` that names what is wrong instead of raising it."""
    try:
        return parse_row(line, row, max_characters, columns=columns)
    except RowError as error:
        return BadRow(row=row, code=error.code, field=error.field, remedy=error.remedy, original=line)


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


def parse_row(line: str, row: int, max_characters: int, *, columns: tuple[str, str] | None = None) -> Conversation:
    """One line of JSON, in any of the known forms.

    Raises:
        RowError: with the rule that the line breaks.
    """
    if not line.strip():
        raise RowError("empty_line", "line", "delete the empty line")
    if len(line) > max_characters:
        raise RowError("row_too_long", "line", f"keep a row under {max_characters} characters")
    try:
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RowError):
            raise
        raise RowError("not_json", "line", f"write one JSON object per line ({error})") from error
    if not isinstance(value, dict):
        remedy = "write one JSON object per line; in a table, as many fields as the header has"
        raise RowError("not_an_object", "line", remedy)
    messages = messages_of(value, columns)
    for index, message in enumerate(messages):
        if CONTROL.search(message.content):
            raise RowError("control_character", f"message {index}", "remove NUL and other control characters")
    return Conversation(
        row=row, messages=messages, source=str(value.get("source", "")), kind=str(value.get("kind", "")), original=line
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("duplicate_key", str(twice)[:60], "give each key once: readers differ on which one counts")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
