"""A large input in parts, each validated by whichever machine comes to it; together they are the whole, in order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from reft.config import ValidationSettings
from reft.conversations.containers import TYPED, Container, recognise
from reft.conversations.folders import files_of, may_hold_rows, of_split
from reft.conversations.limits import too_long
from reft.errors import DataFormatError, explain
from reft.storage.artifacts import as_written, scratch, written
from reft.storage.store import PIECE, Store, Stored
from reft.validation.identity import decided_by
from reft.validation.sorting import Rules

# A file's kind is told by so many bytes of its beginning.
HEAD = 1 << 22
PIECES = 10_000  # of one part: small files share a part


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes of one file: the lines that begin in them, or the whole file.

    Attributes:
        size: of the file; a piece from 0 to there is the whole file, of whatever kind.
        stamp: of the file, when the parts were made.
    """

    name: str
    begin: int
    end: int
    size: int
    stamp: str

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return (self.begin, self.end) == (0, self.size)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What every machine must know of a validation that is shared; the tokenizer lies beside it.

    Attributes:
        data: the address of the file, or of the folder, that holds the rows.
        kind: what the files are; each must be the same.
        note: what of a folder is not read.
        decided_by: the digest of all that decides about a row: a machine with other code must not take part.
        processes: how many share a part on one machine.
        parts: the input in order.
    """

    data: str
    kind: dict[str, Any]
    note: str
    settings: ValidationSettings
    max_length: int
    columns: tuple[str, str] | None
    fix: bool
    held_out: tuple[int, ...]
    decided_by: str
    processes: int
    parts: tuple[tuple[Piece, ...], ...]

    def text(self) -> str:
        """As JSON."""
        pieces = [[asdict(piece) for piece in part] for part in self.parts]
        plain = {**self.__dict__, "settings": self.settings.model_dump(), "parts": pieces}
        return json.dumps(plain)

    @classmethod
    def of_text(cls, text: str, name: str) -> "Assignment":
        """What `text` gave.

        Args:
            name: of the file that it was read from.

        Raises:
            StorageError: it is something else.
        """
        with as_written(Path(name)):
            found = json.loads(text)
            found["settings"] = ValidationSettings(**found["settings"])
            found["columns"] = tuple(found["columns"]) if found["columns"] else None
            found["held_out"] = tuple(found["held_out"])
            found["parts"] = tuple(tuple(Piece(**piece) for piece in part) for part in found["parts"])
            return cls(**found)


def assigned(data: Store, rules: Rules, *, split: str, size: int, processes: int) -> Assignment:
    """A validation in parts of about `size` bytes.

    Raises:
        DataFormatError: the input is missing, or of no kind that can be read.
    """
    files, note = files_at(data, split)
    container, parts = parts_of(data, files, size)
    rules, judge = replace(rules, fix=rules.fix and container.kind not in TYPED), rules.judge
    return Assignment(
        data=data.address,
        kind=kind_of(container),
        note=note,
        settings=judge.settings,
        max_length=judge.max_length,
        columns=rules.columns,
        fix=rules.fix,
        held_out=tuple(sorted(rules.held_out)),
        decided_by=decided_by(rules),
        processes=processes,
        parts=tuple(parts),
    )


def kind_of(container: Container) -> dict[str, Any]:
    """What two files of one kind have in common."""
    return {
        "kind": container.kind,
        "compression": container.compression,
        "columns": list(container.columns),
        "delimiter": container.delimiter,
    }


def of_kind(
    kind: Mapping[str, Any], files: tuple[Path, ...], limits: ValidationSettings, *, schema: pa.Schema | None
) -> Container:
    """Files that have in common what `kind_of` gave, and the schema that they have together."""
    return Container(
        files=files, kind=kind["kind"], compression=kind["compression"], columns=tuple(kind["columns"]),
        delimiter=kind["delimiter"], limits=limits, schema=schema,
    )  # fmt: skip


def files_at(data: Store, split: str) -> tuple[list[Stored], str]:
    """The files that hold rows, in the order in which `recognise` has those of a folder; and what was left aside.

    Raises:
        DataFormatError: nothing is there, or the split is missing.
    """
    try:
        there = {file.name: file for file in data.files()}
    except (FileNotFoundError, PermissionError) as error:
        remedy = "check the address and the right to read it"
        raise DataFormatError(explain(str(error), data.address, remedy)) from error
    if not there:
        raise DataFormatError(explain("no such file or folder", data.address, "correct the address"))
    if "" in there:
        return [there[""]], ""
    if data.is_here:
        root = Path(data.address)
        chosen, note = files_of(root, split)
        return [there[file.relative_to(root).as_posix()] for file in chosen], note
    names = sorted(PurePosixPath(name) for name in there if not name.endswith("/"))
    kept = [name for name in names if may_hold_rows(name)]
    of_it, note = of_split(kept, PurePosixPath(), split, where=data.address)
    return [there[str(name)] for name in of_it], note


def parts_of(data: Store, files: Sequence[Stored], size: int) -> tuple[Container, list[tuple[Piece, ...]]]:
    """What the first file is, and the input in parts of about so many bytes: small files together, long ones cut.

    Only plain JSONL can be cut; a longer file of another kind is one part.

    Raises:
        DataFormatError: the first file is of no kind that can be read, or the input holds nothing.
    """
    container = told(data, next((file for file in files if file.size), files[0]))
    parts: list[tuple[Piece, ...]] = []
    waiting: list[Piece] = []
    taken = 0
    for file in files:
        cuts = [0, file.size]
        if container.is_lines and file.size > size:
            cuts = [*range(0, file.size, size), file.size]
        for begin, end in pairwise(cuts):
            if waiting and (taken + end - begin > size or len(waiting) >= PIECES):
                parts.append(tuple(waiting))
                waiting, taken = [], 0
            waiting.append(Piece(name=file.name, begin=begin, end=end, size=file.size, stamp=file.stamp))
            taken += end - begin
    return container, [*parts, tuple(waiting)]


def told(data: Store, file: Stored) -> Container:
    """What a file is, by its beginning.

    Raises:
        DataFormatError: of no kind that can be read.
    """
    with scratch("head") as folder, data.opened(file.name) as stream:
        head = folder / (PurePosixPath(file.name).name or PurePosixPath(data.address).name)
        head.write_bytes(stream.read(HEAD))
        try:
            return recognise(head)
        except DataFormatError as error:
            raise DataFormatError(str(error).replace(str(head), data.key(file.name))) from error


def fetched(data: Store, piece: Piece, kind: dict[str, Any], *, limits: ValidationSettings, into: Path) -> Container:
    """A piece as a local file of its kind.

    Raises:
        DataFormatError: it is gone, may not be read, is another than when the parts were made, or of another kind.
    """
    local = into / (PurePosixPath(piece.name or data.address).name or "rows")
    try:
        now = data.stored(piece.name)
        if (now.size, now.stamp) != (piece.size, piece.stamp):
            raise DataFormatError(explain("it changed meanwhile", data.key(piece.name), "start again"))
        if piece.is_whole:
            data.get(piece.name, local)
        else:
            _cut(data, piece, local, limits=limits)
    except (FileNotFoundError, PermissionError) as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else "it may not be read"
        remedy = "put it back, or give the right to read it"
        raise DataFormatError(explain(why, data.key(piece.name), remedy)) from error
    if piece.begin:  # the middle of a file does not say what it is
        return Container(files=(local,), kind="jsonl", limits=limits)
    found = recognise(local, limits=limits)
    if kind_of(found) != kind:
        what = f"of another kind ({found.kind}) than the first file ({kind['kind']})"
        raise DataFormatError(explain(what, data.key(piece.name), "validate each kind on its own"))
    return found


def _cut(data: Store, piece: Piece, local: Path, *, limits: ValidationSettings) -> None:
    """The lines that begin within the piece, the last of them to its end."""
    local.parent.mkdir(parents=True, exist_ok=True)
    at = max(0, piece.begin - 1)  # where the byte before is a line's end, a line begins with the piece
    longest = limits.max_line_mb << 20
    with written(local.parent), data.opened(piece.name, at) as source, local.open("wb") as target:
        inside = piece.begin == 0
        while block := source.read(PIECE):
            if not inside:
                ends = block.find(b"\n", 0, max(0, piece.end - 1 - at))
                if ends < 0:
                    at += len(block)
                    if at >= piece.end - 1:
                        return
                    continue
                inside, block, at = True, block[ends + 1 :], at + ends + 1
            if (last := block.find(b"\n", max(0, piece.end - 1 - at))) >= 0:
                target.write(block[: last + 1])
                return
            target.write(block)
            at += len(block)
            if at - piece.end > longest:
                raise too_long("a line", local, limits)
