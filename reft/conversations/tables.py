"""CSV and TSV as people have them: their delimiter, their header, their quotes."""

import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import IO, Any

DELIMITERS = ",\t;|"
# What Excel reads on the first line, and shows nobody.
SEPARATOR = re.compile(rf'"?sep=([{DELIMITERS}])"?\s*', re.IGNORECASE)
LINE_END = re.compile(r"\r\n?|\n")
UNREADABLE = "unreadable line"
LONGEST_FIELD = 1 << 28
# Names that formats know, in whatever case a header has them.
KNOWN = frozenset({
    "messages", "conversations", "prompt", "completion", "instruction", "input", "output", "response", "question",
    "answer", "query", "answers", "context", "system", "system_prompt", "history", "tools", "label", "weight", "text",
    "source", "target",
})  # fmt: skip


def head_of(text: str) -> tuple[str, tuple[str, ...]]:
    """`header_of` for the beginning of a table, whatever ends its lines; a line of Excel's may name the delimiter."""
    first, second = _two_lines(text)
    given = SEPARATOR.fullmatch(first)
    return header_of(second, given[1]) if given else header_of(first)


def is_drawn(text: str) -> bool:
    """Whether it begins as a table that is drawn for people: a line of dashes and bars under the header, or over it."""
    first, second = _two_lines(text)
    return (_is_rule(second) and "|" in first) or (_is_rule(first) and "|" in second)


def _is_rule(line: str) -> bool:
    marks = set(line) - {" ", "\t"}
    return "-" in marks and marks <= set("|:+-") and ("--" in line or line.lstrip().startswith("|"))


def _two_lines(text: str) -> tuple[str, str]:
    first, second, *_ = *LINE_END.split(text, maxsplit=2), ""
    return first, second


def header_of(line: str, delimiters: str = DELIMITERS) -> tuple[str, tuple[str, ...]]:
    """The delimiter and the columns that a table's first line names; ("", ()) where it is no header.

    A delimiter that gives each column a name of its own goes before one that gives two the same.
    """
    found: tuple[str, tuple[str, ...]] = ("", ())
    best = False, 1
    for delimiter in delimiters:
        try:
            columns = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        names = [name.strip() for name in columns if name.strip()]
        # pandas writes its index under no name; spreadsheets write empty columns, beside names that tell a header.
        most_named = len(columns) - len(names) <= 1 or len(KNOWN & {name.lower() for name in names}) > 1
        apart = len(set(names)) == len(names)
        if len(columns) > 1 and most_named and (apart, len(columns)) > best:
            best, found = (apart, len(columns)), (delimiter, tuple(columns))
    return found


def keys_of(columns: Sequence[str]) -> list[str]:
    """The columns as keys of rows, each another: without blanks around them, known names in small letters.

    A column without a name is `index`, or where that is a column's name, `index_2` and so on: keys that met would lose
    a cell.
    """
    names = [name.strip() for name in columns]
    plain = [name.lower().replace(" ", "_") for name in names]
    known = [
        small if small in KNOWN and plain.count(small) == 1 else name for name, small in zip(names, plain, strict=True)
    ]
    free = (name for number in count(1) if (name := f"index_{number}" if number > 1 else "index") not in known)
    return [name or next(free) for name in known]


class LineTooLongError(ValueError):
    """A table's line is longer than the limit."""


def table_rows(
    stream: IO[bytes], columns: Sequence[str], delimiter: str, *, longest: int = LONGEST_FIELD
) -> Iterator[str]:
    """Rows as objects in the header's order; one with too many or too few fields as a list.

    A quote that does not close names the line where it opens, and reading goes on after that line: nothing is
    swallowed.

    Raises:
        LineTooLongError: a line has more characters than `longest`.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(LONGEST_FIELD)
    keys, again = keys_of(columns), deque[str]()
    number = 1
    if SEPARATOR.fullmatch(first := text.readline(longest)):
        number += 1
    else:
        again.append(first)
    next(csv.reader(_fed(again, text, [], longest=longest), delimiter=delimiter), None)
    number += 1
    while True:
        taken: list[str] = []
        feed = _fed(again, text, taken, longest=longest)
        try:
            fields = next(csv.reader(feed, delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            broken = [{UNREADABLE: f"{number}: {error}"}, taken[0].rstrip("\r\n")]
            yield json.dumps(broken, ensure_ascii=False)
            again.extendleft(reversed(taken[1:]))
            number += 1
            continue
        if fields is None:
            return
        number += len(taken)
        if fields:  # else a blank line
            whole = len(fields) == len(keys)
            yield json.dumps(dict(zip(keys, fields, strict=True)) if whole else fields, ensure_ascii=False)


def unreadable(row: Any) -> tuple[str, str] | None:
    """The number and fault of a line that could not be read, and the line itself; None for every other row.

    It travels as a list that begins with an object. Cells are texts: no header and no row of a table makes one.
    """
    if isinstance(row, list) and len(row) == 2 and isinstance(row[0], dict) and UNREADABLE in row[0]:
        return str(row[0][UNREADABLE]), str(row[1])
    return None


def _fed(again: deque[str], text: io.TextIOWrapper, taken: list[str], *, longest: int) -> Iterator[str]:
    """The lines to read again, then new ones; notes what was taken."""
    while line := again.popleft() if again else text.readline(longest):
        if len(line) >= longest:
            raise LineTooLongError
        taken.append(line)
        yield line
