"""One part of a shared validation sorted, and all parts put together: byte for byte what one process would have left.

Under the work's folder in the store: `work.json` and `tokenizer` (what everybody must know), and the parts with their
markers (`reft.storage.parts`).
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reft.conversations.containers import TYPED, Container
from reft.conversations.limits import require_few_blank
from reft.conversations.reading import require_rows
from reft.conversations.schemas import Together
from reft.conversations.writer import give_back, stage
from reft.errors import ConfigurationError, DataFormatError, explain, parts
from reft.runtime.progress import Report
from reft.storage.artifacts import scratch
from reft.storage.parts import Parted
from reft.storage.store import Store
from reft.validation.file import FileReport, report_of
from reft.validation.identity import decided_by
from reft.validation.merging import finish, take_sorted
from reft.validation.outputs import GROUPS, Outputs, Tally
from reft.validation.parts import Assignment, fetched, of_kind
from reft.validation.rows import Columns, Judge
from reft.validation.sorting import Rules, Shard, bad_in, shards_of
from reft.validation.validate import lost_at
from reft.validation.workers import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COUNTED = ("shard.json", "rows", "findings.jsonl")


@dataclass(frozen=True, kw_only=True)
class Shared(Parted):
    """A validation that several machines share, as one of them sees it; a marker says the part's lines, its rows, and
    the pieces that could not be read.
    """

    job: Assignment
    rules: Rules

    @classmethod
    def found(cls, store: Store, folder: str, load: Callable[[str], "PreTrainedTokenizerBase"]) -> "Shared":
        """What was written for everybody.

        Args:
            load: makes a tokenizer of a local folder.

        Raises:
            ConfigurationError: this machine's code, or its libraries, would judge rows otherwise.
        """
        name = f"{folder}/work.json"
        job = Assignment.of_text(store.read(name).decode(), store.key(name))
        with scratch("tokenizer") as local:
            for file in store.files(f"{folder}/tokenizer"):
                store.get(file.name, local / Path(file.name).name)
            tokenizer = load(str(local))
        rules = rules_of(job, tokenizer)
        if decided_by(rules) != job.decided_by:
            what = "this machine's reft, or a library of its, is of another version than where the work was given out"
            raise ConfigurationError(explain(what, store.key(name), "set cluster.image to the image of that version"))
        return cls(job=job, rules=rules, store=store, folder=folder)


def rules_of(job: Assignment, tokenizer: "PreTrainedTokenizerBase") -> Rules:
    """How rows are read and judged."""
    judge = Judge(tokenizer=tokenizer, settings=job.settings, max_length=job.max_length)
    return Rules(judge=judge, columns=job.columns, fix=job.fix, held_out=frozenset(job.held_out))


def validate_part(shared: Shared, number: int, most_bad: int | None = None) -> None:
    """Sort the rows of a part and leave them in the store, its marker last.

    Args:
        most_bad: no row is looked at after so many bad ones, where that is known.

    Raises:
        StorageError: the disk is full, or the store does not answer.
    """
    with scratch("part") as scratched:
        whole = scratched / "whole"
        whole.mkdir()
        read, faults, schema = _read(shared, number, scratched)
        tally = Tally(Columns(shared.rules.judge.tokenizer, shared.rules.held_out), named=sys.maxsize)
        lines = sum(shard.lines for _, shards in read.values() for shard in shards)
        _sort(shared, read, tally, whole=whole, most_bad=sys.maxsize if most_bad is None else most_bad)
        files = tuple(file for container, _ in read.values() for file in container.files)
        kind = of_kind(shared.job.kind, files, shared.job.settings, schema=schema)
        give_back(kind, whole, GROUPS, group_of=tally.groups_with(lines - tally.seen), for_people=GROUPS[1:])
        mark = {"lines": lines, "rows": len(tally.noted), "suffix": kind.suffix, "faults": faults}
        shared.finish(number, whole, mark)


def _read(
    shared: Shared, number: int, scratched: Path
) -> tuple[dict[Path, tuple[Container, list[Shard]]], list[dict[str, Any]], pa.Schema | None]:
    """The pieces of a part as files of lines, each with its shards; which of them cannot be read, and why; and the
    schema that the others have together.
    """
    found, faults, data, together = {}, [], Store(shared.job.data), Together()
    before = 0
    for place, piece in enumerate(shared.job.parts[number]):
        folder = scratched / f"{place:06d}"
        try:
            container = fetched(data, piece, shared.job.kind, limits=shared.job.settings, into=folder)
            if container.kind in TYPED:
                together.add(container.files[0], container.kind)
            staged = stage(container, folder / "staged")
            shards = shards_of(staged.files[0], shared.job.settings)
        except DataFormatError as error:
            what, _, remedy = parts(error)
            where = {"key": data.key(piece.name), "offset": piece.begin, "end": piece.end}
            faults.append({**where, "what": what, "remedy": remedy})
            shutil.rmtree(folder, ignore_errors=True)
            continue
        found[staged.files[0]] = (
            container, [replace(shard, first_line=before + shard.first_line) for shard in shards],
        )  # fmt: skip
        before += sum(shard.lines for shard in shards)
    return found, faults, together.schema


def _sort(
    shared: Shared,
    read: Mapping[Path, tuple[Container, list[Shard]]],
    tally: Tally,
    *,
    whole: Path,
    most_bad: int,
) -> None:
    with Outputs(whole, shared.job.settings.max_findings) as outputs:
        for file, (_, shards) in read.items():
            if tally.rules.total() < most_bad:
                folder = file.parent / "sorted"
                folder.mkdir()
                work = Work(file=file, rules=shared.rules, folder=folder, processes=shared.job.processes)
                take_sorted(work, shards, into=(tally, outputs), most_bad=most_bad)
                shutil.rmtree(folder)
        unlisted = outputs.unlisted
    tally.save(whole, unlisted)


def merge(shared: Shared, lost: Mapping[int, str], report: Report | None = None) -> FileReport:
    """The parts put together, in order, beside the work's folder: rows as files, findings and checks on the whole.

    Args:
        lost: parts that nobody could finish, and why.
        report: called with (parts so far, parts in all).

    Raises:
        DataFormatError: there are no rows.
    """
    job = shared.job
    marks = {number: shared.mark_of(number) for number in range(len(job.parts)) if number not in lost}
    unread = [fault for number in range(len(job.parts)) for fault in _unread(shared, number, marks=marks, lost=lost)]
    tally = Tally(Columns(shared.rules.judge.tokenizer, shared.rules.held_out))
    with scratch("merged") as scratched:
        whole = scratched / "whole"
        whole.mkdir()
        with Outputs(whole, job.settings.max_findings) as outputs:
            total = sum(mark["lines"] for mark in marks.values())
            kept = _take(shared, marks, into=(tally, outputs), most_bad=lost_at(total, job.settings), report=report)
            require_few_blank(tally.blank, len(tally.noted) + total - tally.seen, Path(job.data), limits=job.settings)
            require_rows(len(tally.noted), Path(job.data), tally.blank)
            finish(tally, outputs)
        for group in GROUPS:
            (whole / f"{group}.jsonl").unlink()
        container = Container(files=(), kind=job.kind["kind"], note=job.note)
        found = report_of(
            container, tally, job.settings,
            out=whole, unlisted=outputs.unlisted, unseen=total - tally.seen, unread=unread,
        )  # fmt: skip
        _appear(shared, kept, whole, suffix=next(iter(marks.values()))["suffix"], left_out=found.left_out > 0)
    return found


def _unread(
    shared: Shared, number: int, *, marks: Mapping[int, Mapping[str, Any]], lost: Mapping[int, str]
) -> list[dict[str, Any]]:
    if number not in lost:
        return marks[number]["faults"]
    remedy = "start the same command again: this part alone is validated anew"
    return [
        {
            "key": Store(shared.job.data).key(piece.name), "offset": piece.begin, "end": piece.end,
            "what": lost[number], "remedy": remedy,
        }
        for piece in shared.job.parts[number]
    ]  # fmt: skip


def _take(
    shared: Shared,
    marks: Mapping[int, Mapping[str, Any]],
    *,
    into: tuple[Tally, Outputs],
    most_bad: int,
    report: Report | None,
) -> list[int]:
    """The counts and findings of every part, up to the `most_bad`-th bad row; returns the parts that were taken."""
    (tally, outputs), lines, kept = into, 0, list[int]()
    for number, mark in marks.items():
        with scratch("counted") as folder:
            for name in COUNTED:
                shared.store.get(f"{shared.part(number)}/{name}", folder / name)
            left = most_bad - tally.rules.total()
            if bad_in(folder) >= left:  # here it ends, in the middle of the part perhaps
                validate_part(shared, number, left)
                for name in COUNTED:
                    shared.store.get(f"{shared.part(number)}/{name}", folder / name)
            outputs.take_findings(folder, tally.take(folder, lines), lines)
        kept.append(number)
        lines += mark["lines"]
        if report:
            report(len(kept), len(marks))
        if tally.rules.total() >= most_bad:
            break
    return kept


def _appear(shared: Shared, kept: Sequence[int], whole: Path, *, suffix: str, left_out: bool) -> None:
    """The results where the user looks for them; those of an earlier validation go."""
    store = shared.store
    there = {file.name for file in store.files(f"{shared.folder}/parts")}
    for group in GROUPS:
        store.remove(group)
        for number in kept if left_out or group != "left_out" else ():
            if (name := f"{shared.part(number)}/{group}{suffix}") in there:  # of a table without rows there is none
                store.copy(name, f"{group}/part-{number:06d}{suffix}")
    store.remove("docs")
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        store.put(file, file.relative_to(whole).as_posix())


def forget(shared: Shared, lost: Mapping[int, str], unread: Sequence[Mapping[str, Any]]) -> None:
    """Take the work away; where something could not be read, that alone, so that a new start looks at it again."""
    if not lost and not unread:
        shared.store.remove(shared.folder)
        return
    for number in set(range(len(shared.job.parts))) - set(lost):
        if shared.mark_of(number)["faults"]:
            shared.store.remove(shared.marker(number))


def give_out(job: Assignment, tokenizer: "PreTrainedTokenizerBase", *, store: Store, folder: str) -> Shared:
    """Write what every machine must know, once, and take up what is there of it."""
    shared = Shared(job=job, rules=rules_of(job, tokenizer), store=store, folder=folder)
    name = f"{folder}/work.json"
    if not store.has(name):
        with scratch("tokenizer") as local:
            tokenizer.save_pretrained(str(local))
            for file in sorted(path for path in local.iterdir() if path.is_file()):
                store.put(file, f"{folder}/tokenizer/{file.name}")
        store.write(name, job.text().encode())
    return shared
