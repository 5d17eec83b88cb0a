"""Step 3: every row of the user's file is either usable or in quarantine with a reason."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft.config import ValidationSettings
from reft.conversations.containers import Container, lines, recognise
from reft.conversations.limits import require_few_blank
from reft.conversations.reading import BadRow, is_blank, read_rows, require_rows, rows_of
from reft.conversations.schema import Conversation
from reft.conversations.storage import load_rows, save_rows
from reft.conversations.templates import require_template
from reft.errors import DataValidationError, explain
from reft.storage.artifacts import read_json, write_json, write_text
from reft.validation.expectations import suite_results
from reft.validation.rows import LEFT_OUT, ROWS_AT_ONCE, Columns, Judge, Usable, digest_of, until_bad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)
# Of a row that is too long to be read so many characters are kept, for a person to find it by.
BEGINNING = 2000


@dataclass(frozen=True, kw_only=True)
class ValidatedData:
    """The usable rows, the quarantined ones and those left out; together they are all that was read.

    Attributes:
        docs: the folder of the checks' page, where there is one.
        left_out: rows that say themselves that they are not to be learnt.
    """

    rows: list[Conversation]
    quarantined: list[BadRow]
    checks: list[dict[str, Any]]
    docs: Path | None = None
    left_out: list[BadRow] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many lines the file held."""
        return len(self.rows) + len(self.quarantined) + len(self.left_out)

    def save(self, folder: Path) -> None:
        """Write `rows.jsonl` (lines as uploaded, with their numbers), `quarantined.jsonl` and `checks.json`."""
        # Quarantined lines may hold broken text: ASCII JSON carries anything.
        save_rows(folder / "rows.jsonl", self.rows)
        for name in ("quarantined", "left_out"):
            write_text(folder / f"{name}.jsonl", "".join(json.dumps(asdict(b)) + "\n" for b in getattr(self, name)))
        write_json(folder / "checks.json", self.checks)
        if self.docs:
            shutil.copytree(self.docs, folder / "docs")

    @classmethod
    def load(cls, folder: Path) -> ValidatedData:
        """Read what `save` wrote."""
        rows = load_rows(folder / "rows.jsonl")
        quarantined, left_out = (
            [BadRow(**json.loads(line)) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
            for name in ("quarantined", "left_out")
        )
        docs, checks = folder / "docs", read_json(folder / "checks.json")
        pages = docs if docs.is_dir() else None
        return cls(rows=rows, quarantined=quarantined, checks=checks, docs=pages, left_out=left_out)


def validate_user_data(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    settings: ValidationSettings,
    *,
    max_length: int,
    columns: tuple[str, str] | None = None,
    held_out: Path | None = None,
    docs: Path | None = None,
    split: str = "",
) -> ValidatedData:
    """Read, check and sort every row.

    Args:
        path: a file or folder of any kind.
        columns: names of the prompt's and the answer's column, where rows have no form of their own.
        held_out: the task's test rows, whose prompts must not be among the rows.
        docs: where the checks' page goes.
        split: which split of a folder; none: `train` where the folder has splits.

    Raises:
        DataFormatError: the file is missing, damaged, without rows, or of no kind that can be read.
        DataValidationError: a critical expectation fails (too many bad rows, too few usable ones).
    """
    require_template(tokenizer)
    rows: list[Conversation] = []
    bad, left_out = list[BadRow](), list[BadRow]()
    noted = Columns(tokenizer, prompts_of(held_out, limits=settings))
    container, total = _counted(path, split, settings)
    judge = Judge(tokenizer=tokenizer, settings=settings, max_length=max_length)
    found_rows = rows_of(lines(container), settings.max_row_characters, columns)
    for some, checked in _judged(found_rows, judge, lost_at(total, settings)):
        noted.add(some, checked)
        for row, found in zip(some, checked, strict=True):
            if isinstance(found, BadRow):
                (left_out if found.code == LEFT_OUT else bad).append(_without_flood(found))
            elif isinstance(row, Conversation):
                rows.append(row)
    early = (len(noted), total) if len(noted) < total else None
    checks = suite_results(noted.frame(), settings, docs, lost=early is not None)
    if said := why_not(checks, len(rows), len(rows) + len(bad), settings=settings, early=early):
        first = "; ".join(f"row {b.row}: {b.code} at {b.field} ({b.remedy})" for b in bad[:5])
        remedy = "do as each rule says; reft validate names every row that cannot be used and why"
        raise DataValidationError(explain(said, f"{path}: {first}", remedy))
    return ValidatedData(rows=rows, quarantined=bad, checks=checks, docs=docs, left_out=left_out)


def _judged(
    found: Iterator[Conversation | BadRow], judge: Judge, most_bad: int
) -> Iterator[tuple[list[Conversation | BadRow], list[BadRow | Usable]]]:
    """The rows, some at a time, and the verdicts, up to the `most_bad`-th bad one."""
    while most_bad and (some := list(islice(found, ROWS_AT_ONCE))):
        checked = judge.check(some)
        kept = until_bad(checked, most_bad)
        most_bad -= sum(isinstance(one, BadRow) and one.code != LEFT_OUT for one in checked[:kept])
        yield some[:kept], checked[:kept]


def _counted(path: Path, split: str, settings: ValidationSettings) -> tuple[Container, int]:
    """What holds the rows, and how many they are."""
    container = recognise(path, split, settings)
    if container.note:
        LOG.warning("%s: %s", path.name, container.note)
    total = blank = 0
    for line in lines(container):
        if is_blank(line):
            blank += 1
        else:
            total += 1
    require_few_blank(blank, total, path, limits=settings)
    require_rows(total, path)
    return container, total


def lost_at(total: int, settings: ValidationSettings) -> int:
    """The number of bad rows from which on the data fails, whatever follows, and they are more than are listed."""
    return max(settings.max_findings, math.floor(settings.max_bad_share * total)) + 1


def why_not(
    checks: Sequence[Mapping[str, Any]],
    usable: int,
    read: int,
    *,
    settings: ValidationSettings,
    early: tuple[int, int] | None = None,
) -> str | None:
    """Why the data cannot be trained on, and what to do about each rule that fails; None where it can.

    Args:
        early: how many lines were looked at, of how many, where the data was lost before its end.
    """
    failed = [check for check in checks if not check["passed"] and check["severity"] == "critical"]
    if not failed and usable < settings.min_rows:
        remedy = "mend the rows (reft validate --fix), add some, or lower validation.min_rows"
        failed = [{"rule": "enough usable rows", "remedy": remedy}]
    rules = "; ".join(f"{check['rule']} ({check['remedy']})" for check in failed)
    rows, rest = f"{read} rows", ""
    if early:
        rows, rest = f"the first {early[0]} of {early[1]} lines", "; the rest was not looked at"
    return f"the data fails, {read - usable} of {rows} cannot be used{rest}: {rules}" if failed else None


def _without_flood(bad: BadRow) -> BadRow:
    """A line may be of any length, and thousands of bad rows are held."""
    return replace(bad, original=bad.original[:BEGINNING]) if bad.code == "row_too_long" else bad


def prompts_of(
    path: Path | None, columns: tuple[str, str] | None = None, *, limits: ValidationSettings | None = None
) -> frozenset[int]:
    """Digests of the prompts of a file or folder; none for no file. `columns`, `limits`: as `read_rows` takes them."""
    if path is None or not path.exists():
        return frozenset()
    rows = (row for row in read_rows(path, columns=columns, limits=limits) if isinstance(row, Conversation))
    return frozenset(digest_of(row.instruction) for row in rows if row.asks)
