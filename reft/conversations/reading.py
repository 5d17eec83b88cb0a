"""Reading files into conversations; a row that cannot be read becomes a finding, never a crash."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reft.config import ValidationSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.fields import DECODER, RowError
from reft.conversations.formats import row_of
from reft.conversations.schema import Conversation
from reft.conversations.tables import unreadable
from reft.errors import DataFormatError, explain

MARK = "\ufeff"  # of byte order, which Windows puts before a text, and `cat` into the middle of a file
# Control characters that no text holds; tabs and line ends are text.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# A carriage return alone ended a line before the year 2000, and ends none now.
OLD_LINE_ENDS = (
    "a carriage return (CR, the line end of old Macs) stands between rows: save the file with line feeds (LF) as line "
    "ends, as: tr '\\r' '\\n' < file > new"
)
DEEP = "nest objects and lists less deeply"
CARRIAGE_RETURN = r"a carriage return (CR) stands inside the row: write it as \r within a text, or take it out"


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
    path: Path,
    max_characters: int = 100_000,
    columns: tuple[str, str] | None = None,
    *,
    split: str = "",
    limits: ValidationSettings | None = None,
) -> Iterator[Conversation | BadRow]:
    """Every row of a file or folder of any kind, in order, as a conversation or as a bad row.

    Blank lines are no rows; a row's number is that of its line.

    Args:
        columns: names of the prompt's and the answer's column, where rows have no form of their own.
        split: which split of a folder; none: `train` where the folder has splits.
        limits: how far compressed files may expand; none: as far as the defaults say.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
    """
    yield from rows_of(lines(recognise(path, split, limits)), max_characters, columns)


def rows_of(
    found: Iterable[str], max_characters: int = 100_000, columns: tuple[str, str] | None = None
) -> Iterator[Conversation | BadRow]:
    """`read_rows` for lines of JSON that are at hand."""
    for row, line in enumerate(found):
        if not is_blank(line):
            yield read_row(line, row, max_characters, columns=columns)


def require_rows(rows: int, path: Path, blank: int = 0) -> None:
    """See that there are rows.

    Raises:
        DataFormatError: there is none.
    """
    if not rows:
        what = f"no rows, only {blank} blank lines" if blank else "no rows"
        raise DataFormatError(explain(what, str(path), "give at least one row"))


def is_blank(line: str) -> bool:
    """Whether there is nothing on the line, a byte order mark aside."""
    return not line.removeprefix(MARK).strip()


def read_row(
    line: str, row: int, max_characters: int = 100_000, *, columns: tuple[str, str] | None = None
) -> Conversation | BadRow:
    """`parse_row` that names what is wrong instead of raising it."""
    try:
        return parse_row(line, row, max_characters, columns=columns)
    except RowError as error:
        return BadRow(
            row=row, code=error.code, field=error.field, remedy=error.remedy, original=line.removeprefix(MARK)
        )


def read_conversations(path: str | Path, limit: int | None = None) -> list[Conversation]:
    """All rows of a file that must be right (the shipped data, say), at most `limit`.

    Raises:
        DataFormatError: naming the first row that cannot be read.
    """
    rows: list[Conversation] = []
    for found in read_rows(Path(path)):
        if isinstance(found, BadRow):
            raise DataFormatError(explain(f"{found.code} at {found.field}", f"{path}, row {found.row}", found.remedy))
        rows.append(replace(found, unread=()))  # its further fields are ours: where a row comes from
        if limit and len(rows) == limit:
            break
    return rows


def parse_row(line: str, row: int, max_characters: int, *, columns: tuple[str, str] | None = None) -> Conversation:
    """One line of JSON, in any of the known forms.

    Raises:
        RowError: with the rule that the line breaks.
    """
    text = line.removeprefix(MARK)
    if not text.strip():
        raise RowError("empty_line", "line", "delete the empty line")
    if len(text) > max_characters:
        remedy = f"keep a row under {max_characters} characters (validation.max_row_characters)"
        raise RowError("row_too_long", "line", OLD_LINE_ENDS if _rows_between(text) else remedy)
    value = _decoded(text)
    if broken := unreadable(value):
        number, _, fault = broken[0].partition(": ")
        raise RowError(
            "broken_table_row", f"line {number}", f"close the quote, or double quotes inside a field ({fault})"
        )
    if not isinstance(value, dict):
        remedy = "write one JSON object per line; in a table, as many fields as the header has"
        raise RowError("not_an_object", "line", remedy)
    try:
        found = row_of(value, columns)
    except RecursionError as error:
        raise RowError("not_json", "line", DEEP) from error
    for index, message in enumerate(found.messages):
        if any(CONTROL.search(text) for text in message.texts):
            raise RowError("control_character", f"message {index}", "remove NUL and other control characters")
    return Conversation(
        row=row,
        messages=found.messages,
        source=_word(value.get("source")),
        kind=_word(value.get("kind")),
        original=text,
        unread=found.unread,
        left_out=found.left_out,
        options=found.options,
        notes=("byte_order_mark",) if text != line else (),
    )


def _decoded(text: str) -> Any:
    """The value of a line of JSON."""
    try:
        # `json.loads` has words of its own for a second mark of byte order.
        decode = json.loads if text.startswith(MARK) else DECODER.decode
        return decode(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RowError):
            raise
        raise RowError("not_json", "line", _remedy(error, text)) from error


def _remedy(error: Exception, text: str) -> str:
    """What to do about a line that is no JSON."""
    if _rows_between(text):
        return OLD_LINE_ENDS
    if isinstance(error, RecursionError):
        return DEEP
    if isinstance(error, json.JSONDecodeError) and text[error.pos : error.pos + 1] == "\r":
        return CARRIAGE_RETURN
    return f"write one JSON object per line ({error})"


def _rows_between(text: str) -> bool:
    """Whether carriage returns stand where one row ends and the next begins."""
    return bool(re.search(r"\}[ \t]*\r\s*\{", text))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
