"""The way out: rows sorted into groups leave in the form in which they came, every field and its order untouched."""

import csv
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft.config import ValidationSettings
from reft.conversations.containers import SUFFIXES, Container, Kind, Meter, batches, json_lines, lines
from reft.conversations.reading import is_blank
from reft.conversations.tables import unreadable

# Where a spreadsheet may begin a cell, whatever its separator and however it trims, before a sign that makes the cell
# a formula, full-width ones among them.
FORMULA = re.compile(r'(?:^|[,;|\t\r])(?:"|[^\S\t\r\n])*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])', re.MULTILINE)
# Cells are quoted that hold a character of this: a carriage return left bare would end the row.
LINE_END = "\r\n"


def stage(container: Container, folder: Path, leads: bool = True) -> Container:
    """The container's rows as one JSONL file; the container itself where it is one already.

    Args:
        leads: this process writes the file; others wait until it is there.
    """
    if container.is_lines:
        return container
    staged, partial = folder / "rows.jsonl", folder / "rows.jsonl.part"
    if leads and not staged.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                for line in lines(container):
                    file.write(line.replace("\n", " ") + "\n")
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, staged)
    while not staged.is_file():
        time.sleep(0.2)
    return Container(files=(staged,), kind="jsonl")


def counted(path: Path, limits: ValidationSettings | None = None) -> tuple[int, int]:
    """(rows, lines) of a JSONL file, read once; a row is a line that holds something.

    Raises:
        DataFormatError: a line is longer than the limits (none: the defaults) allow.
    """
    rows = lines = 0
    with path.open("rb") as file:
        for line in json_lines(file, path, limits):
            lines += 1
            rows += not is_blank(line)
    return rows, lines


def count_rows(path: Path) -> int:
    """How many lines of a JSONL file hold something: its rows."""
    return counted(path)[0]


def count_lines(path: Path) -> int:
    """How many lines, the last one with or without its end."""
    return counted(path)[1]


def give_back(
    container: Container,
    folder: Path,
    groups: Sequence[str],
    *,
    group_of: np.ndarray,
    for_people: Collection[str] = (),
) -> list[Path]:
    """Turn `GROUP.jsonl` in the folder into files of the container's own kind; returns what each is called now.

    Args:
        groups: their names.
        group_of: for each row in order the index of its group, for kinds whose types JSON does not keep.
        for_people: groups that people open and nobody trains on: in CSV and TSV no cell of theirs is a formula.
    """
    if container.kind in ("parquet", "arrow"):
        written = _split_tables(container, folder, groups, group_of=group_of)
    elif container.suffix == ".jsonl":  # shards, too, leave as one file
        written = [folder / f"{group}.jsonl" for group in groups]
    else:
        written = [_converted(container, folder / f"{group}.jsonl", for_people=group in for_people) for group in groups]
    keep_only(folder, groups, {path.name for path in written})
    return written


def keep_only(folder: Path, groups: Sequence[str], names: Collection[str]) -> None:
    """Take away what is called like a file of one of these groups, in whatever kind, and is none of these names."""
    for group in groups:
        for suffix in (f".{kind}{packed}" for kind in get_args(Kind) for packed in SUFFIXES.values()):
            if group + suffix not in names:
                (folder / f"{group}{suffix}").unlink(missing_ok=True)


def _converted(container: Container, source: Path, *, for_people: bool) -> Path:
    target = source.with_name(source.stem + container.suffix)
    with ExitStack() as stack:
        rows = stack.enter_context(source.open(encoding="utf-8", errors="surrogateescape", newline="\n"))
        stream: Any = pa.OSFile(str(target), "wb")
        if container.compression:
            stream = pa.CompressedOutputStream(stack.enter_context(stream), container.compression)
        output = stack.enter_context(stream)
        for text in _texts(container, (row.rstrip("\n") for row in rows), for_people=for_people):
            output.write(text.encode("utf-8", "surrogateescape"))
    return target


def _texts(container: Container, rows: Iterator[str], *, for_people: bool) -> Iterator[str]:
    if container.kind == "jsonl":
        yield from (row + "\n" for row in rows)
    elif container.kind == "json":
        yield "["
        for number, row in enumerate(rows):
            yield ("," if number else "") + "\n" + row
        yield "\n]\n"
    else:
        table = _Table(container.delimiter, for_people)
        yield table.line(container.columns)
        for row in rows:
            fields = json.loads(row)
            if broken := unreadable(fields):
                yield table.as_it_was(broken[1])
                continue
            yield table.line(fields.values() if isinstance(fields, Mapping) else fields)


class _Table:
    """Lines of CSV, one at a time.

    Spreadsheets run a cell that begins like a formula; for people an apostrophe before it makes it text (OWASP).
    """

    def __init__(self, delimiter: str, for_people: bool) -> None:
        self._for_people = for_people
        self._written: list[str] = []
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator=LINE_END)

    def write(self, text: str) -> None:
        self._written.append(text)

    def as_it_was(self, line: str) -> str:
        """A line that could not be read."""
        return (_as_text(line) if self._for_people else line) + "\n"

    def line(self, fields: Iterable[Any]) -> str:
        """A row."""
        self._writer.writerow(map(_as_text, fields) if self._for_people else fields)
        return self._written.pop().removesuffix(LINE_END) + "\n"


def _as_text(cell: Any) -> Any:
    return FORMULA.sub(r"\g<0>'", cell) if isinstance(cell, str) else cell


def _split_tables(container: Container, folder: Path, groups: Sequence[str], *, group_of: np.ndarray) -> list[Path]:
    targets = [folder / f"{group}{container.suffix}" for group in groups]
    start, meter = 0, Meter(container.limits)
    with ExitStack() as stack:
        writers: list[Any] = []
        for file in container.files:
            for batch in batches(file, container, meter):
                if not writers:
                    schema = batch.schema if container.schema is None else container.schema
                    writers = [stack.enter_context(_writer(container, target, schema)) for target in targets]
                which = group_of[start : start + len(batch)]
                start += len(batch)
                for index, writer in enumerate(writers):
                    part = _filtered(batch, which == index)
                    if len(part):
                        writer.write_batch(part)
    return targets


def _filtered(batch: pa.RecordBatch, wanted: np.ndarray) -> pa.RecordBatch:
    try:
        return batch.filter(pa.array(wanted))
    except pa.ArrowNotImplementedError:  # of views of text, as Polars writes them, and of runs
        ends = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).reshape(-1, 2)
        return pa.concat_batches([batch.slice(0, 0), *(batch.slice(begin, end - begin) for begin, end in ends)])


def _writer(container: Container, target: Path, schema: pa.Schema) -> Any:
    return pq.ParquetWriter(target, schema) if container.kind == "parquet" else pa.ipc.new_file(str(target), schema)
