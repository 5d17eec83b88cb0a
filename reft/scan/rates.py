"""How many rows a second one process of this machine validates and scans, in bounded time, on rows like the user's."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path

from reft.config import FilteringSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.reading import is_blank, read_rows
from reft.conversations.schema import Conversation
from reft.errors import DataFormatError, explain
from reft.filtering.scorers import Scorer
from reft.storage.artifacts import scratch
from reft.validation.sorting import Rules, shards_of, sort_shard

# Of a file so much is tried at most; where it is shorter, its rows are tried again.
SAMPLE_ROWS, SAMPLE_BYTES = 20_000, 16 << 20
SCORED_AT_ONCE = 32


def machine() -> str:
    """This machine, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def rate_of_validation(path: Path, rules: Rules, seconds: float) -> tuple[float, float]:
    """(rows a second, bytes of a row) of one process that sorts rows as `reft validate` does; start-up is not in it.

    Raises:
        DataFormatError: there is no row, or the file cannot be read.
    """
    with scratch("rates") as folder:
        sample, rows = folder / "rows.jsonl", 0
        with sample.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for line in _sampled(lines(recognise(path, limits=rules.judge.settings))):
                file.write(line.replace("\n", " ") + "\n")
                rows += 1
        _require(rows, path)
        shards = shards_of(sample, rules.judge.settings)

        def sort(number: int) -> int:
            sort_shard(sample, shards[number], rules, folder=folder / "sorted", most_bad=rows + 1)
            return shards[number].lines

        return _rate(sort, range(len(shards)), seconds), sample.stat().st_size / rows


def _sampled(found: Iterable[str]) -> Iterable[str]:
    size = 0
    for line in islice((line for line in found if not is_blank(line)), SAMPLE_ROWS):
        yield line
        size += len(line)
        if size > SAMPLE_BYTES:
            return


def rate_of_scan(path: Path, scorer: Scorer, settings: FilteringSettings, *, seconds: float) -> float:
    """Rows a second of one process that scores them; calibration and loading the model are not in it.

    Raises:
        DataFormatError: there is no row, or the file cannot be read.
    """
    rows = [row for row in islice(read_rows(path), SAMPLE_ROWS) if isinstance(row, Conversation)]
    _require(len(rows), path)
    some = [rows[begin : begin + SCORED_AT_ONCE] for begin in range(0, len(rows), SCORED_AT_ONCE)]
    return _rate(lambda number: len(scorer.score(some[number], settings)), range(len(some)), seconds)


def _require(rows: int, path: Path) -> None:
    if not rows:
        raise DataFormatError(explain("no rows", str(path), "name a file with rows like those that are to come"))


def _rate(work: Callable[[int], int], numbers: Sequence[int], seconds: float) -> float:
    """Units a second, after one piece of work that also pays for what loads once."""
    work(numbers[0])
    started, done = time.monotonic(), 0
    for number in cycle((*numbers[1:], numbers[0])):
        done += work(number)
        if (taken := time.monotonic() - started) >= seconds:
            return done / taken
    raise RuntimeError("a cycle that ended")
