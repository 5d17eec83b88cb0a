"""`reft validate`: a file of any length checked row by row, in memory that hardly grows with it."""

import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from reft.config import ValidationSettings
from reft.conversations.containers import Container, lines, recognise
from reft.conversations.reading import BadRow, is_blank, read_row, require_rows
from reft.conversations.schema import Conversation
from reft.conversations.templates import require_template, takes_system
from reft.conversations.writer import count_lines, give_back, keep_only, stage
from reft.errors import StorageError, explain
from reft.moved import keep_old_names
from reft.runtime.progress import Report
from reft.storage.artifacts import scratch, write_json
from reft.validation.expectations import suite_results
from reft.validation.mending import mended
from reft.validation.outputs import GROUPS, Outputs, Tally
from reft.validation.rows import Columns, Usable, check_row
from reft.validation.validate import is_lost, prompts_of, why_not


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
        unlisted: how many findings of each rule are counted and not listed (`validation.max_findings`).
        unseen: lines that were not looked at, since so many rows before them are bad that the data fails.
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
    unlisted: dict[str, int]
    unseen: int
    too_few: bool


# A table's cells keep their types, which a mended line of JSON would not.
TYPED = ("parquet", "arrow")
ROOM = "free some disk space or choose another folder"


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
        DataFormatError: the file is missing, damaged, without rows, or of no kind that can be read.
        StorageError: the results cannot be written.
    """
    require_template(tokenizer)
    container, tested = recognise(path, split, settings), prompts_of(held_out, limits=settings)
    tally, mends = Tally(Columns(tokenizer, tested)), fix and container.kind not in TYPED
    rules = _Rules(tokenizer=tokenizer, settings=settings, max_length=max_length, columns=columns, fix=mends)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with scratch("validate", out) as folder:
            whole = folder / "outputs"
            whole.mkdir()
            with Outputs(whole, settings.max_findings) as outputs:
                staged = stage(container, folder / "input")
                unseen = _sort(staged, outputs, tally=tally, rules=rules, report=report)
            require_rows(len(tally.noted), path, tally.blank)
            give_back(container, whole, GROUPS, group_of=tally.groups_with(unseen), for_people=GROUPS[1:])
            found = _report(container, tally, settings, out=whole, unlisted=outputs.unlisted, unseen=unseen)
            _appear(whole, out, left_out=found.left_out > 0)
    except OSError as error:
        raise StorageError(explain(f"could not write: {error}", str(out), ROOM)) from error
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


def _sort(rows: Container, outputs: Outputs, *, tally: Tally, rules: _Rules, report: Report | None) -> int:
    """Every line to where it belongs; returns how many were not looked at, since the data is lost before them."""
    total, seen = count_lines(rows.files[0]), 0
    for number, line in enumerate(lines(rows)):
        if report and (number % 256 == 255 or number + 1 == total):
            report(number + 1, total)
        seen = number + 1
        if is_blank(line):
            tally.blank += 1
            continue
        row, checked, done = rules.apply(line, number)
        tally.add(row, checked, done)
        outputs.write(row, checked, done=done)
        if is_lost(tally.rules.total(), total, rules.settings):
            break
    if len(tally.noted):
        outputs.write_repeats(tally.noted)
    outputs.note(tally.unread_fields())
    outputs.note_unlisted()
    return total - seen


def _appear(whole: Path, out: Path, *, left_out: bool) -> None:
    """The results where the user looks for them, once all are there; those of an earlier validation go."""
    if not left_out:
        next(whole.glob("left_out.*")).unlink()
    keep_only(out, GROUPS, {item.name for item in whole.iterdir()})
    for item in sorted(whole.iterdir()):
        target = out / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)


def _report(
    container: Container,
    tally: Tally,
    settings: ValidationSettings,
    *,
    out: Path,
    unlisted: Counter[tuple[str, str]],
    unseen: int,
) -> FileReport:
    rows, bad = len(tally.noted), tally.rules.total()
    # A file may be checked before there is enough of it; only OpenAI's rules count the rows of an upload.
    least = settings if settings.rules == "openai" else settings.model_copy(update={"min_rows": 1})
    seen = rows + tally.blank
    checks = suite_results(tally.noted.frame(), least, out / "docs", lost=unseen > 0)
    left_out = tally.groups.count(GROUPS.index("left_out"))
    usable = rows - bad - left_out
    early = (seen, seen + unseen) if unseen else None
    fails = why_not(checks, usable, rows - left_out, settings=least, early=early)
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
        unlisted={rule: count for (_, rule), count in unlisted.items()},
        unseen=unseen,
        too_few=not unseen and usable < settings.min_rows,
    )
    write_json(out / "validation.json", asdict(found))
    return found


keep_old_names(__name__)
