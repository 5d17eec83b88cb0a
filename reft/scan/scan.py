"""`reft scan`: the filter alone, on a file of any length, in memory that does not grow with it.

Rows are scored in shards, so that a scan that was killed resumes after the last whole shard, and several processes
share the work.
"""

import json
import shutil
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from reft.config import FilteringSettings, ValidationSettings
from reft.conversations.containers import Container, lines, recognise
from reft.conversations.folders import require_apart
from reft.conversations.limits import require_few_blank
from reft.conversations.reading import BadRow, is_blank, read_row, require_rows, rows_of
from reft.conversations.schema import Conversation
from reft.conversations.writer import counted, give_back, stage
from reft.errors import DataFormatError, ReftError, StorageError, explain
from reft.filtering.data_alarms import data_alarms, reservoir
from reft.filtering.filter import Filter
from reft.filtering.overrides import Override
from reft.filtering.scorers import Scorer
from reft.keys.closure import digest_of_code_with
from reft.runtime.ahead import ahead
from reft.runtime.progress import Report, progress
from reft.scan.judging import Judging
from reft.scan.result import Judged, ScanResult, scan_result
from reft.scan.shards import OUTPUTS, RESULTS, merge, wait_for, write_shard
from reft.storage.artifacts import read_json, write_json
from reft.storage.fingerprint import of_path, of_text

ROWS_PER_SHARD = 1024
# Equal rows are known again within so many rows: a part of a scan is judged alike by whoever takes it
# (`reft.scan.sharing`), to the last bit of a score, since the model reads the same rows together.
ROWS_PER_PART = 64 * ROWS_PER_SHARD
# So many rows that cannot be read are for a person; more of them, and more than half, are a mistake.
TOO_MANY_UNREADABLE = 10_000


def scan_file(
    path: Path,
    out: Path,
    scorer: Scorer,
    *,
    settings: FilteringSettings,
    overrides: Mapping[int, Override] | None = None,
    rank: int = 0,
    processes: int = 1,
    report: Report | None = None,
    columns: tuple[str, str] | None = None,
    split: str = "",
    limits: ValidationSettings | None = None,
    calibrations: Path | None = None,
) -> ScanResult | None:
    """Score and sort every row of a file or folder; returns the result on rank 0, None on others.

    Args:
        out: gets `kept`, `quarantined` and `dropped` in the input's own kind, and `decisions` as JSONL.
        columns: prompt's and answer's column, as `reft.conversations.reading.read_rows` takes them.
        split, limits: as `reft.conversations.containers.recognise` takes them.
        calibrations: where the scores of calibration rows are kept from one scan to the next; none: nowhere.

    Raises:
        ReftError: the file cannot be read, or lies where the results would; too few calibration rows, an alarm that
            stops the job, a full disk.
    """
    require_apart(path, out, RESULTS)
    overrides, container, tell = overrides or {}, recognise(path, split, limits), report or _nobody
    staged = out / f".input-{of_path(path)}{split}"
    with _room_for(out), _gone_if_refused(staged):
        as_lines = stage(container, staged, leads=rank == 0)
        total, looked_at = _looked_at(as_lines, path, container.limits, columns=columns)
        alarms = _alarms(looked_at, settings, container.note) if rank == 0 else []
    chosen = _calibrated(scorer, settings, calibrations, watched=report is not None)
    work = out / f".scan-{_key(path, scorer, settings, columns=(columns, split), overrides=overrides)}"
    shards = [work / f"{number:06d}" for number in range(-(-total // ROWS_PER_SHARD))]
    with _room_for(out):
        missing = {n: shards[n] for n in range(rank, len(shards), processes) if not shards[n].exists()}
        for done in write_shards(missing, lines(as_lines), chosen, columns=columns, overrides=overrides):
            tell(min(done * ROWS_PER_SHARD, total), total)
        if rank != 0:
            return None
        found = scan_result(_told(shards), total, Judged.by(chosen), overrides=[*overrides.values()], alarms=alarms)
        return _leave(found, shards, container, out=out, scratch=(work, staged))


def _told(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """What every shard tells of itself, in order, once it is there."""
    return (read_json(shard / "shard.json") for shard in wait_for(shards))


def _calibrated(scorer: Scorer, settings: FilteringSettings, kept_in: Path | None, *, watched: bool) -> Filter:
    calibrating = progress("calibrating", unit="rows") if watched else None
    return Filter.calibrated(scorer, settings, kept_in=kept_in, report=calibrating)


def _nobody(_done: int, _total: int) -> None:
    """Is told how far a scan is that nobody watches."""


def _looked_at(
    as_lines: Container, path: Path, limits: ValidationSettings, *, columns: tuple[str, str] | None
) -> tuple[int, Iterator[Conversation | BadRow]]:
    """How many rows there are, and the rows, decoded as they are asked for."""
    (file,) = as_lines.files
    total, every_line = counted(file, limits)
    require_few_blank(every_line - total, total, path, limits=limits)
    return total, _readable(rows_of(lines(as_lines), columns=columns), total, path)


def write_shards(
    missing: Mapping[int, Path],
    found: Iterable[str],
    chosen: Filter,
    *,
    columns: tuple[str, str] | None,
    overrides: Mapping[int, Override],
    first_line: int = 0,
) -> Iterator[int]:
    """The shards that are not there yet; gives the number of shards up to each.

    Args:
        missing: the folder of each by its number among those of `found`.
        first_line: the number of the first of these lines in the whole input.
    """
    judging, part_of = Judging(chosen), -1
    with ahead(_parts(found, missing, columns, first_line=first_line)) as parts:
        for number, part in parts:
            if (at := number * ROWS_PER_SHARD // ROWS_PER_PART) != part_of:
                judging, part_of = Judging(chosen), at
            write_shard(missing[number], part, judging, overrides=overrides)
            yield number + 1


def _parts(
    found: Iterable[str], ours: Collection[int], columns: tuple[str, str] | None, *, first_line: int
) -> Iterator[tuple[int, list[Conversation | BadRow]]]:
    """The rows of each of our shards, with its number; the lines of the others are not decoded."""
    rows = ((place, line) for place, line in enumerate(found, first_line) if not is_blank(line))
    for number in count():
        if not (part := list(islice(rows, ROWS_PER_SHARD))):
            return
        if number in ours:
            yield number, [read_row(line, place, columns=columns) for place, line in part]


@contextmanager
def _gone_if_refused(staged: Path) -> Generator[None]:
    """Of an input that is refused, or finds no room, no copy stays."""
    try:
        yield
    except (ReftError, OSError):
        shutil.rmtree(staged, ignore_errors=True)
        with suppress(OSError):  # it holds something, or is not there
            staged.parent.rmdir()
        raise


def _readable(rows: Iterable[Conversation | BadRow], total: int, path: Path) -> Iterator[Conversation | BadRow]:
    """The rows, until so many cannot be read that this is no file of rows: each would get a decision of its own."""
    bad = 0
    require_rows(total, path)
    for row in rows:
        bad += isinstance(row, BadRow)
        if bad > TOO_MANY_UNREADABLE and bad > total / 2:
            what = f"more than half of the {total} rows cannot be read"
            raise DataFormatError(explain(what, str(path), "see what is wrong with each: reft validate"))
        yield row


def _alarms(rows: Iterable[Conversation | BadRow], settings: FilteringSettings, note: str) -> list[str]:
    """What is wrong with the rows as a whole, from a sample of them; and what of a folder was left aside."""
    return alarms_of(reservoir(rows), settings, note)


def alarms_of(sample: Iterable[Conversation | BadRow], settings: FilteringSettings, note: str) -> list[str]:
    """What is wrong with rows of whom this is a sample; and what of a folder was left aside.

    Raises:
        DataValidationError: there is something, and the settings say that it stops the scan.
    """
    readable = [row for row in sample if isinstance(row, Conversation)]
    return [*([note] if note else []), *data_alarms(readable, settings.fail_on_alarms)]


def _leave(
    result: ScanResult, shards: Sequence[Path], container: Container, *, out: Path, scratch: Sequence[Path]
) -> ScanResult:
    """The sorted rows, the decisions and the result where the user looks for them; gives the result."""
    merge(shards, out)
    groups = list(OUTPUTS.values())
    of_rows = _groups(out / "decisions.jsonl", result.rows)
    give_back(container, out, groups, group_of=of_rows, for_people=groups[1:])
    write_json(out / "scan.json", result.as_dict())
    for folder in scratch:
        shutil.rmtree(folder, ignore_errors=True)
    return result


@contextmanager
def _room_for(out: Path) -> Generator[None]:
    """A full disk, or a folder that cannot be written, is explained."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = "free some disk space or choose another folder, and scan again: it resumes"
        raise StorageError(explain(f"could not write: {error}", str(out), remedy)) from error


def _key(
    path: Path,
    scorer: Scorer,
    settings: FilteringSettings,
    *,
    columns: tuple[tuple[str, str] | None, str],
    overrides: Mapping[int, Override],
) -> str:
    """A digest of all that decides about a row, its code among it.

    Another file, setting or code works elsewhere: nothing stale is ever merged.
    """
    decided_by = [of_path(path), str(columns), scorer.fingerprint, settings.model_dump_json()]
    return of_text(*decided_by, repr(sorted(overrides.items())), digest_of_code_with(__name__, scorer))[:16]


def _groups(decisions: Path, total: int) -> np.ndarray:
    """For each row the index of the output that it went to."""
    order = {decision: index for index, decision in enumerate(OUTPUTS)}
    with decisions.open() as rows:
        return np.fromiter((order[json.loads(row)["decision"]] for row in rows), np.uint8, total)
