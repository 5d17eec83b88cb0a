"""A scan's input read through once, wherever it lies: where its parts begin, how many rows there are, and a sample."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from reft.config import ValidationSettings
from reft.conversations.containers import raw_lines, recognise, text_of
from reft.conversations.reading import BadRow, is_blank, read_row
from reft.conversations.schema import Conversation
from reft.conversations.writer import stage
from reft.errors import DataFormatError, explain, parts
from reft.filtering.data_alarms import reservoir
from reft.storage.artifacts import scratch
from reft.storage.store import Store, Stored
from reft.validation.parts import Piece, kind_of, told


@dataclass(frozen=True, kw_only=True)
class ScanPart:
    """Rows that one machine takes.

    Attributes:
        first_line: the number of its first line in the whole input.
        rows: how many of its lines hold something.
        pieces: the bytes that hold them, whole lines each.
    """

    first_line: int
    rows: int
    pieces: tuple[Piece, ...]


@dataclass(kw_only=True)
class Survey:
    """What was found.

    Attributes:
        files: each file's name and rows, in order, of those that could be read.
        sample: rows of the whole, as `reft.filtering.data_alarms.reservoir` draws them.
        unread: what could not be read: key, offset, end, what and remedy.
    """

    kind: dict[str, Any]
    parts: list[ScanPart] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)
    rows: int = 0
    lines: int = 0
    sample: list[Conversation | BadRow] = field(default_factory=list)
    unread: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_lines(self) -> bool:
        """Whether parts are pieces of the input itself: plain JSONL."""
        return is_lines(self.kind)


def is_lines(kind: dict[str, Any]) -> bool:
    """Whether files of a kind (`kind_of`) are plain JSONL."""
    return (kind["kind"], kind["compression"]) == ("jsonl", None)


@dataclass(frozen=True, kw_only=True)
class Staging:
    """Where rows that are not lines of the input itself are kept as such, a file a part.

    Attributes:
        folder: in the store.
    """

    store: Store
    folder: str

    def keep(self, local: Path, number: int) -> Piece:
        """The rows of a part."""
        name = f"{self.folder}/{number:06d}.jsonl"
        self.store.put(local, name)
        kept = self.store.stored(name)
        return Piece(name=name, begin=0, end=kept.size, size=kept.size, stamp=kept.stamp)


def surveyed(
    data: Store,
    files: Sequence[Stored],
    *,
    limits: ValidationSettings,
    columns: tuple[str, str] | None,
    rows_a_part: int,
    staging: Staging,
) -> Survey:
    """Read the files in order; a file, or the rest of one, that cannot be read is named, and the others go on.

    Raises:
        DataFormatError: the first file is of no kind that can be read.
        StorageError: a store does not answer.
    """
    found = Survey(kind=kind_of(told(data, next((file for file in files if file.size), files[0]))))
    with scratch("survey") as folder:
        cutter = _Cutter(found, rows_a_part, None if found.is_lines else staging, folder=folder)
        sample = reservoir(_rows(data, files, cutter, limits=limits, folder=folder))
        cutter.end()
    found.sample = [read_row(text, number, columns=columns) for number, text in sample]
    return found


def _rows(
    data: Store, files: Sequence[Stored], cutter: "_Cutter", *, limits: ValidationSettings, folder: Path
) -> Iterator[tuple[int, str]]:
    """Every row with the number of its line, while parts are cut."""
    found = cutter.found
    for file in files:
        before, at = found.rows, 0
        try:
            for raw in _lines_of(data, file, found, limits=limits, folder=folder / "file"):
                text, number = text_of(raw), found.lines
                is_row = not is_blank(text)
                cutter.add(file, at, raw, is_row=is_row)
                at += len(raw)
                if is_row:
                    yield number, text
        except (DataFormatError, FileNotFoundError, PermissionError) as error:
            what, remedy = str(error), "check that it is there and may be read"
            if isinstance(error, DataFormatError):
                what, _, remedy = parts(error)
            key = data.key(file.name)
            found.unread.append({"key": key, "offset": at, "end": file.size, "what": what, "remedy": remedy})
        found.files.append((file.name, found.rows - before))


def _lines_of(data: Store, file: Stored, found: Survey, *, limits: ValidationSettings, folder: Path) -> Iterator[bytes]:
    """A file's lines with their ends; of another kind than JSONL once all of it has been read."""
    name = PurePosixPath(file.name).name or PurePosixPath(data.address).name
    if found.is_lines:
        _require_kind(kind_of(told(data, file)), found.kind, data.key(file.name))
        with data.opened(file.name) as stream:
            yield from raw_lines(cast(BinaryIO, stream), Path(name), limits)
        return
    try:
        container = recognise(data.get(file.name, folder / name), limits=limits)
        _require_kind(kind_of(container), found.kind, data.key(file.name))
        with stage(container, folder / "staged").files[0].open("rb") as local:
            yield from raw_lines(cast(BinaryIO, local), Path(name), limits)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_kind(kind: dict[str, Any], first: dict[str, Any], key: str) -> None:
    if kind != first:
        what = f"of another kind ({kind['kind']}) than the first file ({first['kind']})"
        raise DataFormatError(explain(what, key, "scan each kind on its own"))


@dataclass
class _Span:
    file: Stored
    begin: int
    end: int


class _Cutter:
    """Makes parts of lines; a part ends where the next one's first row begins."""

    def __init__(self, found: Survey, rows_a_part: int, staging: Staging | None, *, folder: Path) -> None:
        self.found, self._most, self._staging = found, rows_a_part, staging
        self._local = folder / "part.jsonl"
        self._writing = self._local.open("wb") if staging else None
        self._spans: list[_Span] = []
        self._first, self._rows = 0, 0

    def add(self, file: Stored, begin: int, raw: bytes, *, is_row: bool) -> None:
        """The next line; `begin` is where in the file it stands."""
        if is_row and self._rows == self._most:
            self._cut()
        if self._writing:
            self._writing.write(raw)
        elif self._spans and self._spans[-1].file is file:
            self._spans[-1].end = begin + len(raw)
        else:
            self._spans.append(_Span(file, begin, begin + len(raw)))
        self._rows += is_row
        self.found.rows += is_row
        self.found.lines += 1

    def end(self) -> None:
        """After the last line."""
        if self._rows:
            self._cut()
        if self._writing:
            self._writing.close()

    def _cut(self) -> None:
        pieces = [
            Piece(name=span.file.name, begin=span.begin, end=span.end, size=span.file.size, stamp=span.file.stamp)
            for span in self._spans
        ]
        if self._writing and self._staging:
            self._writing.close()
            pieces = [self._staging.keep(self._local, len(self.found.parts))]
            self._writing = self._local.open("wb")
        self.found.parts.append(ScanPart(first_line=self._first, rows=self._rows, pieces=tuple(pieces)))
        self._spans, self._first, self._rows = [], self.found.lines, 0
