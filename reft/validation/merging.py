"""Sorted shards put together in order: as if one process had read the rows one after another."""

from collections.abc import Sequence

from reft.runtime.progress import Report
from reft.validation.outputs import Outputs, Tally
from reft.validation.sorting import Shard, bad_in, sort_shard
from reft.validation.workers import Work, sorted_shards


def take_sorted(
    work: Work, shards: Sequence[Shard], *, into: tuple[Tally, Outputs], most_bad: int, report: Report | None = None
) -> None:
    """The shards of a file, sorted by the processes that share it, up to the `most_bad`-th bad row.

    Args:
        into: what is counted and written, which may hold rows of files before this one.
        report: called with (lines so far, lines in all).
    """
    tally, outputs = into
    total = shards[-1].first_line + shards[-1].lines if shards else 0
    with sorted_shards(work, shards, most_bad) as done:
        for shard, folder in done:
            left = most_bad - tally.rules.total()
            if left < most_bad and bad_in(folder) >= left:  # here it ends, in the middle of the shard perhaps
                sort_shard(work.file, shard, work.rules, folder=folder, most_bad=left)
            outputs.take(folder, tally.take(folder))
            if report:
                report(tally.seen, total)
            if tally.rules.total() >= most_bad:
                break


def finish(tally: Tally, outputs: Outputs) -> None:
    """The findings that are known when all rows have been seen."""
    if len(tally.noted):
        outputs.write_repeats(tally.noted)
    outputs.note(tally.unread_fields())
    outputs.note_unlisted()
