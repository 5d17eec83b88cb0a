"""`reft validate`: a file of any length checked row by row, in memory that hardly grows with it."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from reft.config import ValidationSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.reading import BadRow, read_row
from reft.conversations.schema import Conversation
from reft.conversations.writer import count_lines, give_back, stage
from reft.errors import StorageError, explain
from reft.runtime.progress import Report
from reft.storage.artifacts import write_json
from reft.validation.expectations import suite_results
from reft.validation.mending import mended
from reft.validation.rows import Columns, Usable, check_row
from reft.validation.validate import prompts_of, why_not

GROUPS = ("usable", "quarantined")
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What a validation found.

    Attributes:
        rules: how many rows broke each rule.
        fixes: how many rows each mending changed.
        first: the first rows in quarantine, without their text.
        fails: why the data as a whole cannot be trained on; None where it can.
    """

    kind: str
    rows: int
    usable: int
    quarantined: int
    rules: dict[str, int]
    fixes: dict[str, int]
    checks: list[dict[str, Any]]
    first: list[dict[str, Any]]
    fails: str | None


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
    report: Report | None = None,
) -> FileReport:
    """Sort the rows into usable and quarantined ones, in the input's own kind, and note why.

    Args:
        out: gets both, `findings.jsonl` (row, rule, field, remedy; never the text), `docs` with Great Expectations'
            pages, and `validation.json`.
        fix: mend what can be mended without guessing; each mended row leaves mended, and is logged. Parquet and Arrow
            are left as they are.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
        StorageError: the results cannot be written.
    """
    container, tally = recognise(path), _Tally(Columns(tokenizer, prompts_of(held_out)))
    fix = fix and container.kind not in TYPED
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out) as staged, _Outputs(out) as outputs:
            rows = stage(container, Path(staged))
            total = count_lines(rows.files[0])
            for number, line in enumerate(lines(rows)):
                line, done = mended(line) if fix else (line, [])
                row = read_row(line, number, settings.max_row_characters, columns=columns)
                checked = check_row(row, tokenizer, settings, max_length=max_length)
                tally.add(row, checked, done)
                outputs.write(line, row.row, checked, done=done)
                if report and (number % 256 == 255 or number + 1 == total):
                    report(number + 1, total)
            outputs.write_repeats(tally.noted)
        give_back(container, out, GROUPS, group_of=np.frombuffer(tally.groups, np.uint8))
    except OSError as error:
        remedy = "free some disk space or choose another folder"
        raise StorageError(explain(f"could not write: {error}", str(out), remedy)) from error
    return _report(container.kind, tally, settings, out=out)


class _Tally:
    """What is counted on the way."""

    def __init__(self, noted: Columns) -> None:
        self.noted = noted
        self.rules, self.fixes = Counter[str](), Counter[str]()
        self.first: list[dict[str, Any]] = []
        self.groups = bytearray()

    def add(self, row: Conversation | BadRow, checked: BadRow | Usable, done: list[str]) -> None:
        """One more row."""
        self.noted.add(row, checked)
        self.groups.append(isinstance(checked, BadRow))
        self.fixes.update(done)
        if isinstance(checked, BadRow):
            self.rules[checked.code] += 1
            self.first += [_described(checked)] if len(self.first) < SHOWN else []


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

    def write(self, line: str, row: int, checked: BadRow | Usable, *, done: list[str]) -> None:
        """The row to where it belongs, what was found to the findings."""
        usable, quarantined, findings = self._files
        (quarantined if isinstance(checked, BadRow) else usable).write(line + "\n")
        for found in _findings(row, checked, done):
            findings.write(json.dumps(found) + "\n")

    def write_repeats(self, noted: Columns) -> None:
        """Which rows repeat which, known when all have been seen."""
        for row, first, rule in noted.repeats():
            found = {"row": row, "rule": rule, "field": "row", "remedy": f"compare row {first}", "level": "warning"}
            self._files[-1].write(json.dumps(found) + "\n")


def _described(bad: BadRow) -> dict[str, Any]:
    return {"row": bad.row, "rule": bad.code, "field": bad.field, "remedy": bad.remedy}


def _findings(row: int, checked: BadRow | Usable, done: list[str]) -> Iterator[dict[str, Any]]:
    for fix in done:
        yield {"row": row, "rule": "mended", "field": "row", "remedy": fix, "level": "fixed"}
    if isinstance(checked, BadRow):
        yield {**_described(checked), "level": "quarantined"}
        return
    for rule, found in checked.warnings:
        yield {"row": row, "rule": rule, "field": "messages", "remedy": f"look at the {found}", "level": "warning"}


def _report(kind: str, tally: _Tally, settings: ValidationSettings, *, out: Path) -> FileReport:
    rows, bad = len(tally.noted), tally.rules.total()
    checks = suite_results(tally.noted.frame(), settings, out / "docs")
    fails = why_not(checks, rows - bad, rows, settings=settings)
    found = FileReport(
        kind=kind,
        rows=rows,
        usable=rows - bad,
        quarantined=bad,
        rules=dict(tally.rules),
        fixes=dict(tally.fixes),
        checks=checks,
        first=tally.first,
        fails=fails,
    )
    write_json(out / "validation.json", asdict(found))
    return found
