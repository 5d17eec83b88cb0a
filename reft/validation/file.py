"""`reft validate`: a file of any length checked row by row, in memory that hardly grows with it."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from reft.config import ValidationSettings
from reft.conversations.containers import Container, lines, recognise
from reft.conversations.reading import BadRow, is_blank, read_row
from reft.conversations.schema import Conversation
from reft.conversations.templates import require_template, takes_system
from reft.conversations.writer import count_lines, give_back, stage
from reft.errors import StorageError, explain
from reft.runtime.progress import Report
from reft.storage.artifacts import write_json
from reft.validation.expectations import suite_results
from reft.validation.mending import mended
from reft.validation.rows import LEFT_OUT, Columns, Usable, check_row
from reft.validation.validate import prompts_of, why_not

GROUPS = ("usable", "quarantined", "left_out")
SHOWN = 20
# So many fields that nothing reads are named; the others are one.
NAMED_FIELDS = 50


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What a validation found.

    Attributes:
        note: what of a folder was not read.
        left_out: rows that say themselves that they are not to be learnt (KTO's label, a weight of 0).
        blank: lines without anything; they are no rows.
        unread: how many rows hold text in each field that nothing reads.
        rules: how many rows broke each rule.
        fixes: how many rows each mending changed.
        first: the first rows in quarantine, without their text.
        fails: why the data as a whole cannot be trained on; None where it can.
        too_few: fewer usable rows than a training wants (`validation.min_rows`).
    """

    kind: str
    note: str
    rows: int
    usable: int
    quarantined: int
    left_out: int
    blank: int
    unread: dict[str, int]
    rules: dict[str, int]
    fixes: dict[str, int]
    checks: list[dict[str, Any]]
    first: list[dict[str, Any]]
    fails: str | None
    too_few: bool


# A table's cells keep their types, which a mended line of JSON would not.
TYPED = ("parquet", "arrow")


def validate_file(
    path: Path,
    out: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    settings: ValidationSettings,
    max_length: int,
    columns: tuple[str, str] | None = None,
    fix: bool = False,
    held_out: Path | None = None,
    split: str = "",
    report: Report | None = None,
) -> FileReport:
    """Sort the rows into usable and quarantined ones, in the input's own kind, and note why.

    Args:
        out: gets both, `findings.jsonl` (row, rule, field, remedy; never the text), `docs` with the page
            of the checks, and `validation.json`.
        fix: mend what can be mended without guessing; each mended row leaves mended, and is logged. Parquet and Arrow
            are left as they are.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
        StorageError: the results cannot be written.
    """
    require_template(tokenizer)
    container, tally = recognise(path, split), _Tally(Columns(tokenizer, prompts_of(held_out)))
    mends = fix and container.kind not in TYPED
    rules = _Rules(tokenizer=tokenizer, settings=settings, max_length=max_length, columns=columns, fix=mends)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".validate-") as scratch:
            whole = Path(scratch, "outputs")
            whole.mkdir()
            with _Outputs(whole) as outputs:
                _sort(stage(container, Path(scratch, "input")), outputs, tally=tally, rules=rules, report=report)
            give_back(container, whole, GROUPS, group_of=np.frombuffer(tally.groups, np.uint8))
            found = _report(container, tally, settings, out=whole)
            if not found.left_out:
                (whole / f"left_out{container.suffix}").unlink()
            _appear(whole, out)
    except OSError as error:
        remedy = "free some disk space or choose another folder"
        raise StorageError(explain(f"could not write: {error}", str(out), remedy)) from error
    return found


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """How a line is read and judged."""

    tokenizer: PreTrainedTokenizerBase
    settings: ValidationSettings
    max_length: int
    columns: tuple[str, str] | None
    fix: bool

    @cached_property
    def merges_system(self) -> bool:
        """Whether mending must take system turns away."""
        return not takes_system(self.tokenizer)

    def apply(self, line: str, number: int) -> tuple[Conversation | BadRow, BadRow | Usable, list[str]]:
        """The row, the verdict, and what was mended before."""
        line, done = mended(line, merge_system=self.merges_system) if self.fix else (line, [])
        row = read_row(line, number, self.settings.max_row_characters, columns=self.columns)
        return row, check_row(row, self.tokenizer, self.settings, max_length=self.max_length), done


def _sort(rows: Container, outputs: "_Outputs", *, tally: "_Tally", rules: _Rules, report: Report | None) -> None:
    total = count_lines(rows.files[0])
    for number, line in enumerate(lines(rows)):
        if report and (number % 256 == 255 or number + 1 == total):
            report(number + 1, total)
        if is_blank(line):
            tally.blank += 1
            continue
        row, checked, done = rules.apply(line, number)
        tally.add(row, checked, done)
        outputs.write(row, checked, done=done)
    outputs.write_repeats(tally.noted)
    outputs.note(tally.unread_fields())


def _appear(whole: Path, out: Path) -> None:
    """The results where the user looks for them, once all are there; those of an earlier validation go."""
    for earlier in out.glob("left_out.*"):
        earlier.unlink()
    for item in sorted(whole.iterdir()):
        target = out / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)


class _Tally:
    """What is counted on the way."""

    def __init__(self, noted: Columns) -> None:
        self.noted = noted
        self.rules, self.fixes = Counter[str](), Counter[str]()
        self.first: list[dict[str, Any]] = []
        self.groups = bytearray()
        self.blank = 0
        self.unread: dict[str, list[int]] = {}  # field -> its first row, how many rows

    def add(self, row: Conversation | BadRow, checked: BadRow | Usable, done: list[str]) -> None:
        """One more row."""
        self.noted.add(row, checked)
        group = group_of(checked)
        self.groups.append(GROUPS.index(group))
        self.fixes.update(done)
        for field in row.unread_fields if isinstance(row, Conversation) else ():
            known = field in self.unread or len(self.unread) < NAMED_FIELDS
            self.unread.setdefault(field if known else "other fields", [row.row, 0])[1] += 1
        if group == "quarantined" and isinstance(checked, BadRow):
            self.rules[checked.code] += 1
            self.first += [_described(checked)] if len(self.first) < SHOWN else []

    def unread_fields(self) -> Iterator[dict[str, Any]]:
        """One finding for each field that holds text and is not read."""
        for field, (first, count) in self.unread.items():
            remedy = f"field {field} is not read: it is scored and not learnt ({count} rows, the first is row {first})"
            yield {"row": first, "rule": "unread_field", "field": field, "remedy": remedy, "level": "warning"}


class _Outputs(ExitStack):
    """The files that rows and findings go to, one after another."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        names = (*GROUPS, "findings")
        self._files = [
            self.enter_context(
                (out / f"{name}.jsonl").open("w", encoding="utf-8", errors="surrogateescape", newline="")
            )
            for name in names
        ]

    def write(self, row: Conversation | BadRow, checked: BadRow | Usable, *, done: list[str]) -> None:
        """The row to where it belongs, what was found to the findings."""
        self._files[GROUPS.index(group_of(checked))].write(row.original + "\n")
        self.note(_findings(row, checked, done))

    def note(self, findings: Iterable[dict[str, Any]]) -> None:
        """More findings."""
        self._files[-1].writelines(json.dumps(found) + "\n" for found in findings)

    def write_repeats(self, noted: Columns) -> None:
        """Which rows repeat which, known when all have been seen."""
        self.note(
            {"row": row, "rule": rule, "field": "row", "remedy": f"compare row {first}", "level": "warning"}
            for row, first, rule in noted.repeats()
        )


def _described(bad: BadRow) -> dict[str, Any]:
    return {"row": bad.row, "rule": bad.code, "field": bad.field, "remedy": bad.remedy}


def group_of(checked: BadRow | Usable) -> str:
    """Which of the outputs a row belongs to."""
    if isinstance(checked, Usable):
        return "usable"
    return "left_out" if checked.code == LEFT_OUT else "quarantined"


def _findings(row: Conversation | BadRow, checked: BadRow | Usable, done: list[str]) -> Iterator[dict[str, Any]]:
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


def _report(container: Container, tally: _Tally, settings: ValidationSettings, *, out: Path) -> FileReport:
    rows, bad = len(tally.noted), tally.rules.total()
    # A file may be checked before there is enough of it; only OpenAI's rules count the rows of an upload.
    least = settings if settings.rules == "openai" else settings.model_copy(update={"min_rows": 1})
    checks = suite_results(tally.noted.frame(), least, out / "docs")
    left_out = tally.groups.count(GROUPS.index("left_out"))
    usable = rows - bad - left_out
    fails = why_not(checks, usable, rows - left_out, settings=least)
    found = FileReport(
        kind=container.kind,
        note=container.note,
        rows=rows,
        usable=usable,
        quarantined=bad,
        left_out=left_out,
        blank=tally.blank,
        unread={field: count for field, (_, count) in tally.unread.items()},
        rules=dict(tally.rules),
        fixes=dict(tally.fixes),
        checks=checks,
        first=tally.first,
        fails=fails,
        too_few=usable < settings.min_rows,
    )
    write_json(out / "validation.json", asdict(found))
    return found
