"""`reft validate`: a file of any length checked row by row, in memory that hardly grows with it.

Killed and started again, it repeats at most the shards that were being worked on, one a process.
"""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft.config import ValidationSettings
from reft.conversations.containers import TYPED, Container, recognise
from reft.conversations.folders import require_apart
from reft.conversations.limits import require_few_blank
from reft.conversations.reading import require_rows
from reft.conversations.templates import require_template
from reft.conversations.writer import give_back, keep_only, stage
from reft.errors import StorageError, explain
from reft.moved import keep_old_names
from reft.runtime.progress import Report
from reft.storage.artifacts import resumed, write_json
from reft.storage.fingerprint import of_path, of_text
from reft.validation.expectations import import_gx, suite_results
from reft.validation.identity import decided_by
from reft.validation.merging import finish, take_sorted
from reft.validation.outputs import GROUPS, RESULTS, Outputs, Tally
from reft.validation.rows import Columns, Judge
from reft.validation.sorting import Rules, shards_of
from reft.validation.validate import lost_at, prompts_of, why_not
from reft.validation.workers import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
        unread_parts: what of an input in many parts could not be read: its key, the bytes from `offset` to `end`, why.
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
    unread_parts: list[dict[str, Any]] = field(default_factory=list)


ROOM = "free some disk space or choose another folder"


def validate_file(
    path: Path,
    out: Path,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    settings: ValidationSettings,
    max_length: int,
    columns: tuple[str, str] | None = None,
    fix: bool = False,
    held_out: Path | None = None,
    split: str = "",
    report: Report | None = None,
    processes: int | None = None,
) -> FileReport:
    """Sort the rows into usable and quarantined ones, in the input's own kind, and note why.

    Args:
        out: gets both, `findings.jsonl` (never the text), `docs` with the page of the checks, and `validation.json`.
        fix: mend what can be mended without guessing, and log it; Parquet and Arrow are left as they are.
        processes: how many share a long file; none: as many as there are cores.

    Raises:
        ReftError: the file cannot be read, holds no rows, or lies where the results would; they cannot be written.
    """
    require_template(tokenizer)
    require_apart(path, out, RESULTS)
    container, tested = recognise(path, split, settings), prompts_of(held_out, limits=settings)
    judge = Judge(tokenizer=tokenizer, settings=settings, max_length=max_length)
    rules = Rules(judge=judge, columns=columns, fix=fix and container.kind not in TYPED, held_out=tested)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with resumed("validate", out, of_text(decided_by(rules), of_path(path), split)[:16]) as folder:
            whole = _emptied(folder / "outputs")
            tally, staged = Tally(Columns(tokenizer, tested)), stage(container, folder / "input")
            work = Work(file=staged.files[0], rules=rules, folder=folder, processes=processes, meanwhile=import_gx)
            with Outputs(whole, settings.max_findings) as outputs:
                unseen = _sort(work, outputs, tally, report=report)
            require_few_blank(tally.blank, len(tally.noted) + unseen, path, limits=settings)
            require_rows(len(tally.noted), path, tally.blank)
            give_back(container, whole, GROUPS, group_of=tally.groups_with(unseen), for_people=GROUPS[1:])
            found = report_of(container, tally, settings, out=whole, unlisted=outputs.unlisted, unseen=unseen)
            _appear(whole, out, left_out=found.left_out > 0)
            return found
    except OSError as error:
        raise StorageError(explain(f"could not write: {error}", str(out), ROOM)) from error


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _sort(work: Work, outputs: Outputs, tally: Tally, *, report: Report | None) -> int:
    """Every line to where it belongs; returns how many were not looked at, since the data is lost before them."""
    settings = work.rules.judge.settings
    shards = shards_of(work.file, settings)
    total = shards[-1].first_line + shards[-1].lines if shards else 0
    most_bad = lost_at(total, settings)
    take_sorted(work, shards, into=(tally, outputs), most_bad=most_bad, report=report)
    finish(tally, outputs)
    return total - tally.seen


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


def report_of(
    container: Container,
    tally: Tally,
    settings: ValidationSettings,
    *,
    out: Path,
    unlisted: Counter[tuple[str, str]],
    unseen: int,
    unread: Sequence[Mapping[str, Any]] = (),
) -> FileReport:
    """What was counted, and the checks on the whole; leaves `docs` and `validation.json` in `out`.

    Args:
        unread: the parts of the input that could not be read.
    """
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
        unread={name: count for name, (_, count) in tally.unread.items()},
        rules=dict(tally.rules),
        fixes=dict(tally.fixes),
        checks=checks,
        first=tally.first,
        fails=fails,
        unlisted={rule: count for (_, rule), count in unlisted.items()},
        unseen=unseen,
        too_few=not unseen and usable < settings.min_rows,
        unread_parts=[dict(part) for part in unread],
    )
    write_json(out / "validation.json", asdict(found))
    return found


keep_old_names(__name__)
