"""One shard of a file: its lines read, judged and sorted into a folder of its own, in memory that the shard bounds."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reft.config import ValidationSettings
from reft.conversations.limits import too_long
from reft.conversations.reading import BadRow, is_blank, read_row
from reft.conversations.schema import Conversation
from reft.conversations.templates import takes_system
from reft.storage.artifacts import read_json
from reft.validation.mending import mended
from reft.validation.outputs import Outputs, Tally
from reft.validation.rows import ROWS_AT_ONCE, Columns, Judge, until_bad

# Rows judged at once have so many characters at most, unless one row has more.
CHARACTERS_AT_ONCE = 1 << 19
SHARD_BYTES = 1 << 20
BLOCK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Lines of a file that follow one another: its bytes from `begin` to `end`, which is where a line ends."""

    number: int
    begin: int
    end: int
    first_line: int
    lines: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a line is read and judged.

    Attributes:
        columns: names of the prompt's and the answer's column, where rows have no form of their own.
        fix: mend what can be mended without guessing.
        held_out: digests of the prompts of the task's test rows.
    """

    judge: Judge
    columns: tuple[str, str] | None
    fix: bool
    held_out: frozenset[int] = frozenset()

    @cached_property
    def merges_system(self) -> bool:
        """Whether mending must take system turns away."""
        return not takes_system(self.judge.tokenizer)

    def read(self, line: str, number: int) -> tuple[Conversation | BadRow, list[str]]:
        """The row, and what was mended before; a line too long for a row is not mended."""
        done, most = list[str](), self.judge.settings.max_row_characters
        if self.fix and len(line) <= most:
            line, done = mended(line, merge_system=self.merges_system)
        return read_row(line, number, most, columns=self.columns), done


def shards_of(file: Path, limits: ValidationSettings) -> list[Shard]:
    """The file in shards of whole lines; memory holds a block, however long a line is.

    Raises:
        DataFormatError: a line is longer than the settings allow.
    """
    shards: list[Shard] = []
    begin = first = ends = at = line_begins = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            found, last = block.count(b"\n"), block.rfind(b"\n")
            until = at + (block.find(b"\n") + 1 if found else len(block))
            if until - line_begins >= limits.max_line_mb << 20:
                raise too_long("a line", file, limits)
            line_begins = at + last + 1 if found else line_begins
            ends += found
            at += len(block)
            if found and line_begins - begin >= SHARD_BYTES:
                shards.append(Shard(number=len(shards), begin=begin, end=line_begins, first_line=first, lines=ends))
                begin, first, ends = line_begins, first + ends, 0
    if at > begin:
        lines = ends + (at > line_begins)
        shards.append(Shard(number=len(shards), begin=begin, end=at, first_line=first, lines=lines))
    return shards


def sort_shard(file: Path, shard: Shard, rules: Rules, *, folder: Path, most_bad: int) -> None:
    """Sort the shard's lines into a folder, which appears under its name only when it is whole.

    Args:
        most_bad: no line is looked at after so many bad rows.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tally, settings = Tally(Columns(rules.judge.tokenizer, rules.held_out)), rules.judge.settings
    with Outputs(partial, settings.max_findings) as outputs:
        for lines in _chunks(file, shard):
            rows, mendings = [], []
            numbers = [number for number, line in lines if not is_blank(line)]
            for number, line in lines:
                if is_blank(line):
                    continue
                row, done = rules.read(line, number)
                rows.append(row)
                mendings.append(done)
            checked = rules.judge.check(rows)
            kept = until_bad(checked, most_bad - tally.rules.total())
            tally.add(rows[:kept], checked[:kept], mendings[:kept])
            outputs.write(rows[:kept], checked[:kept], mendings[:kept])
            lost = tally.rules.total() >= most_bad
            tally.seen = numbers[kept - 1] + 1 if lost else lines[-1][0] + 1
            tally.blank += tally.seen - lines[0][0] - kept
            if lost:
                break
    tally.save(partial, outputs.unlisted)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def bad_in(folder: Path) -> int:
    """How many rows of a sorted shard are quarantined."""
    return sum(read_json(folder / "shard.json")["rules"].values())


def _chunks(file: Path, shard: Shard) -> Iterator[list[tuple[int, str]]]:
    """The shard's lines without their ends, each with its number, some at a time."""
    lines, size, number = list[tuple[int, str]](), 0, shard.first_line
    with file.open("rb") as stream:
        stream.seek(shard.begin)
        left = shard.end - shard.begin
        while left > 0 and (raw := stream.readline()):
            left -= len(raw)
            line = raw.rstrip(b"\r\n").decode("utf-8", errors="surrogateescape")
            lines.append((number, line))
            number, size = number + 1, size + len(line)
            if len(lines) >= ROWS_AT_ONCE or size >= CHARACTERS_AT_ONCE:
                yield lines
                lines, size = [], 0
    if lines:
        yield lines
