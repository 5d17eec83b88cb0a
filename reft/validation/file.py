"""`reft validate`: a file of any length checked row by row, in memory that hardly grows with it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from reft.artifacts import write_json
from reft.config import ValidationSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.giving_back import count_lines, give_back, stage
from reft.conversations.reading import BadRow, read_row
from reft.errors import StorageError, explain
from reft.progress import Report
from reft.validation.expectations import suite_results
from reft.validation.mending import mended
from reft.validation.rows import Columns, Usable, check_row
from reft.validation.validate import prompts_of, why_not

GROUPS = ("usable", "quarantined")
SHOWN = 20


@dataclass(frozen=True)
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


def validate_file(
    path: Path,
    out: Path,
    tokenizer: PreTrainedTokenizerBase,
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
        fix: mend what can be mended without guessing; each mended row leaves mended, and is logged.

    Raises:
        DataFormatError: the file is missing, empty, damaged, or of no kind that can be read.
        StorageError: the results cannot be written.
    """
    container = recognise(path)
    staged = out / ".input"
    as_lines = stage(container, staged)
    total, noted = count_lines(as_lines.files[0]), Columns(tokenizer, prompts_of(held_out))
    rules, fixes, first, groups = Counter[str](), Counter[str](), list[dict[str, Any]](), bytearray()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with (out / "findings.jsonl").open("w") as findings:
            outputs = [(out / f"{name}.jsonl").open("w", encoding="utf-8", errors="surrogateescape") for name in GROUPS]
            for number, (line, done) in enumerate(_lines(lines(as_lines), fix)):
                row = read_row(line, number, settings.max_row_characters, columns)
                checked = check_row(row, tokenizer, settings, max_length)
                noted.add(row, checked)
                groups.append(isinstance(checked, BadRow))
                outputs[groups[-1]].write(line + "\n")
                fixes.update(done)
                for found in _findings(row.row, checked, done):
                    findings.write(json.dumps(found) + "\n")
                if isinstance(checked, BadRow):
                    rules[checked.code] += 1
                    first += [_described(checked)] if len(first) < SHOWN else []
                if report and (number % 256 == 255 or number + 1 == total):
                    report(number + 1, total)
            for output in outputs:
                output.close()
        give_back(container, out, GROUPS, np.frombuffer(groups, np.uint8))
    except OSError as error:
        remedy = "free some disk space or choose another folder"
        raise StorageError(explain(f"could not write: {error}", str(out), remedy)) from error
    return _report(container.kind, noted, settings, out, rules, fixes, first)


def _lines(found: Iterator[str], fix: bool) -> Iterator[tuple[str, list[str]]]:
    for line in found:
        yield mended(line) if fix else (line, [])


def _described(bad: BadRow) -> dict[str, Any]:
    return {"row": bad.row, "rule": bad.code, "field": bad.field, "remedy": bad.remedy}


def _findings(row: int, checked: BadRow | Usable, done: list[str]) -> Iterator[dict[str, Any]]:
    for fix in done:
        yield {"row": row, "rule": "mended", "field": "row", "remedy": fix, "level": "fixed"}
    if isinstance(checked, BadRow):
        yield {**_described(checked), "level": "quarantined"}
        return
    for rule, found in checked.warnings:
        yield {"row": row, "rule": rule, "field": "messages", "remedy": f"remove the {found}", "level": "warning"}


def _report(
    kind: str, noted: Columns, settings: ValidationSettings, out: Path,
    rules: Counter[str], fixes: Counter[str], first: list[dict[str, Any]],
) -> FileReport:  # fmt: skip
    checks = suite_results(noted.frame(), settings, out / "docs")
    usable = len(noted) - rules.total()
    fails = why_not(checks, usable, len(noted), settings)
    found = FileReport(kind, len(noted), usable, rules.total(), dict(rules), dict(fixes), checks, first, fails)
    write_json(out / "validation.json", asdict(found))
    return found
