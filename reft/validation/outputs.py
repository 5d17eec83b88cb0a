"""What a validation writes on the way, and what it counts: both bounded, whatever the file holds."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.storage.artifacts import read_json, write_json
from reft.validation.rows import LEFT_OUT, Columns, Usable

GROUPS = ("usable", "quarantined", "left_out")
# Whatever a check leaves, without suffixes.
RESULTS = (*GROUPS, "findings", "validation", "docs")
SHOWN = 20
# So many fields that nothing reads, and so many mendings, are named; the others are one.
NAMED = 50
# The group of rows that were not looked at any more.
UNSEEN = 255


class Tally:
    """What is counted on the way.

    Args:
        named: so many mendings, and fields that nothing reads, have a name of their own.
    """

    def __init__(self, noted: Columns, named: int = NAMED) -> None:
        self.noted, self._named = noted, named
        self.rules, self.fixes = Counter[str](), Counter[str]()
        self.first: list[dict[str, Any]] = []
        self.groups = bytearray()
        self.blank = self.seen = 0
        self.unread: dict[str, list[int]] = {}  # field -> its first row, how many rows

    def add(
        self,
        rows: Sequence[Conversation | BadRow],
        checked: Sequence[BadRow | Usable],
        mendings: Sequence[Sequence[str]],
    ) -> None:
        """More rows of a shard: all that they name, since a shard is small."""
        self.noted.add(rows, checked)
        for row, found, done in zip(rows, checked, mendings, strict=True):
            group = group_of(found)
            self.groups.append(GROUPS.index(group))
            self.fixes.update(done)
            for field in row.unread_fields if isinstance(row, Conversation) and row.unread else ():
                self.unread.setdefault(field, [row.row, 0])[1] += 1
            if group == "quarantined" and isinstance(found, BadRow):
                self.rules[found.code] += 1
                self.first += [_described(found)] if len(self.first) < SHOWN else []

    def save(self, folder: Path, unlisted: Mapping[tuple[str, str], int]) -> None:
        """Write what was counted in a shard, and what was noted of each of its rows."""
        counted = {name: getattr(self, name) for name in ("blank", "seen", "rules", "fixes", "first", "unread")}
        listed = [[*kind, count] for kind, count in unlisted.items()]
        write_json(folder / "shard.json", {**counted, "rows": len(self.noted), "unlisted": listed})
        with (folder / "rows").open("wb") as file:
            file.write(self.groups)
            self.noted.save(file)

    def take(self, folder: Path, after: int = 0) -> Counter[tuple[str, str]]:
        """What `save` wrote of the next shard; returns what it counted and did not list.

        Args:
            after: lines before the shard, where its own rows are numbered from 0.
        """
        found = read_json(folder / "shard.json")
        with (folder / "rows").open("rb") as file:
            self.groups += file.read(found["rows"])
            self.noted.take(file, found["rows"])
        self.blank, self.seen = self.blank + found["blank"], after + found["seen"]
        self.rules.update(found["rules"])
        for fix, count in found["fixes"].items():
            known = fix in self.fixes or len(self.fixes) < self._named
            self.fixes[fix if known else "other mendings"] += count
        for field, (first, count) in found["unread"].items():
            known = field in self.unread or len(self.unread) < self._named
            self.unread.setdefault(field if known else "other fields", [after + first, 0])[1] += count
        self.first += [_moved(bad, after) for bad in found["first"][: SHOWN - len(self.first)]]
        return Counter({(level, rule): count for level, rule, count in found["unlisted"]})

    def groups_with(self, unseen: int) -> np.ndarray:
        """The group of every row as an index, of those that were not looked at `UNSEEN`."""
        return np.frombuffer(self.groups + bytes([UNSEEN]) * unseen, np.uint8)

    def unread_fields(self) -> Iterator[dict[str, Any]]:
        """One finding for each field that holds text and is not read."""
        for field, (first, count) in self.unread.items():
            remedy = f"field {field} is not read: it is scored and not learnt ({count} rows, the first is row {first})"
            yield {"row": first, "rule": "unread_field", "field": field, "remedy": remedy, "level": "warning"}


class Outputs(ExitStack):
    """The files that rows and findings go to, one after another.

    Args:
        most: findings of one kind that are listed; the others are counted (`unlisted`).
    """

    def __init__(self, out: Path, most: int) -> None:
        super().__init__()
        self._most, self._listed = most, Counter[tuple[str, str]]()
        self.unlisted = Counter[tuple[str, str]]()
        names = (*GROUPS, "findings")
        self._files: list[TextIOWrapper] = [
            self.enter_context(
                (out / f"{name}.jsonl").open("w", encoding="utf-8", errors="surrogateescape", newline="")
            )
            for name in names
        ]

    def write(
        self,
        rows: Sequence[Conversation | BadRow],
        checked: Sequence[BadRow | Usable],
        mendings: Sequence[Sequence[str]],
    ) -> None:
        """The rows to where they belong, what was found to the findings."""
        lines: dict[str, list[str]] = {name: [] for name in GROUPS}
        for row, found, done in zip(rows, checked, mendings, strict=True):
            lines[group_of(found)].append(row.original)
            if done or isinstance(found, BadRow) or found.warnings or (isinstance(row, Conversation) and row.notes):
                self.note(_findings(row, found, done))
        for name, file in zip(GROUPS, self._files, strict=False):
            file.write("".join([f"{line}\n" for line in lines[name]]))

    def take(self, shard: Path, unlisted: Counter[tuple[str, str]]) -> None:
        """The rows and the findings of the next shard."""
        for name, file in zip(GROUPS, self._files, strict=False):
            file.flush()
            with (shard / f"{name}.jsonl").open("rb") as rows:
                shutil.copyfileobj(rows, file.buffer, 1 << 20)
        self.take_findings(shard, unlisted)

    def take_findings(self, shard: Path, unlisted: Counter[tuple[str, str]], after: int = 0) -> None:
        """The findings alone, as `Tally.take` has it."""
        with (shard / "findings.jsonl").open(encoding="utf-8") as found:
            self.note(_moved(json.loads(line), after) for line in found)
        self.unlisted.update(unlisted)

    def note(self, findings: Iterable[dict[str, Any]]) -> None:
        """More findings."""
        for found in findings:
            kind = found["level"], found["rule"]
            if self._listed[kind] < self._most:
                self._listed[kind] += 1
                self._files[-1].write(json.dumps(found) + "\n")
            else:
                self.unlisted[kind] += 1

    def note_unlisted(self) -> None:
        """One last line for each kind of which not all are listed."""
        for (level, rule), count in self.unlisted.items():
            remedy = f"{count} more like these: validation.max_findings ({self._most}) of a kind are listed"
            found = {"row": None, "rule": rule, "field": "", "remedy": remedy, "level": level}
            self._files[-1].write(json.dumps(found) + "\n")

    def write_repeats(self, noted: Columns) -> None:
        """Which rows repeat which, known when all have been seen."""
        self.note(
            {"row": row, "rule": rule, "field": "row", "remedy": f"compare row {first}", "level": "warning"}
            for row, first, rule in noted.repeats()
        )


def _moved(found: dict[str, Any], lines: int) -> dict[str, Any]:
    """A finding of a row that has so many lines more before it."""
    return {**found, "row": found["row"] + lines} if lines else found


def _described(bad: BadRow) -> dict[str, Any]:
    return {"row": bad.row, "rule": bad.code, "field": bad.field, "remedy": bad.remedy}


def group_of(checked: BadRow | Usable) -> str:
    """Which of the outputs a row belongs to."""
    if isinstance(checked, Usable):
        return "usable"
    return "left_out" if checked.code == LEFT_OUT else "quarantined"


def _findings(row: Conversation | BadRow, checked: BadRow | Usable, done: Sequence[str]) -> Iterator[dict[str, Any]]:
    for fix in done:
        yield {"row": row.row, "rule": "mended", "field": "row", "remedy": fix, "level": "fixed"}
    for note in row.notes if isinstance(row, Conversation) else ():
        remedy = "nothing to do: it was taken off"
        yield {"row": row.row, "rule": note, "field": "line", "remedy": remedy, "level": "warning"}
    if isinstance(checked, BadRow):
        yield {**_described(checked), "level": group_of(checked)}
        return
    for rule, found in checked.warnings:
        yield {"row": row.row, "rule": rule, "field": "messages", "remedy": f"look at the {found}", "level": "warning"}
