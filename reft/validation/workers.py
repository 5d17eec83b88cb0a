"""Processes that share a file, each shard sorted by one of them; the shards come back in order."""

import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reft.errors import StorageError, explain
from reft.validation.sorting import Rules, Shard, sort_shard

# Fewer shards are sorted before one more process has begun.
WORTH_A_PROCESS = 2
# So many shards for each process are given out before they are asked for.
AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Work:
    """A file of lines, how they are sorted, and where the shards go.

    Attributes:
        processes: how many share the work; none: as many as there are cores.
        meanwhile: called in a thread while other processes sort: what is needed afterwards and takes seconds.
    """

    file: Path
    rules: Rules
    folder: Path
    processes: int | None = None
    meanwhile: Callable[[], object] | None = None


@contextmanager
def sorted_shards(work: Work, shards: Sequence[Shard], most_bad: int) -> Generator[Iterator[tuple[Shard, Path]]]:
    """The shards in order, each with its folder, once it is sorted; one that is there already is not sorted again.

    Args:
        most_bad: in no shard a line is looked at after so many bad rows.

    Raises:
        OSError: the disk is full or cannot be written.
        StorageError: a process was killed: by the system, for want of memory perhaps.
    """
    missing = [shard for shard in shards if not _folder(work, shard).is_dir()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(work.processes or cores, max(1, len(missing) // WORTH_A_PROCESS))
    if processes == 1:
        yield ((shard, _sorted_here(work, shard, most_bad)) for shard in shards)
        return
    # A fork shares the tokenizer's memory, and is there at once; where other threads run it may lock up.
    forks = sys.platform == "linux" and threading.active_count() == 1
    if forks:
        work.rules.judge.load()
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("fork" if forks else "spawn"),
        initializer=_begin,
        initargs=(work, most_bad, os.getpid()),
    )
    try:
        yield _in_order(pool, work, shards, ahead=AHEAD * processes)
    except BrokenProcessPool as error:
        remedy = "start the same command again: it resumes; give it more memory, or fewer processes (--processes)"
        raise StorageError(explain("a process that sorts rows was killed", str(work.file), remedy)) from error
    finally:
        # Whatever is still being sorted is not waited for: the data is lost, or this process was told to end.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _folder(work: Work, shard: Shard) -> Path:
    return work.folder / f"{shard.number:06d}"


def _sorted_here(work: Work, shard: Shard, most_bad: int) -> Path:
    folder = _folder(work, shard)
    if not folder.is_dir():
        sort_shard(work.file, shard, work.rules, folder=folder, most_bad=most_bad)
    return folder


def _in_order(
    pool: ProcessPoolExecutor, work: Work, shards: Sequence[Shard], *, ahead: int
) -> Iterator[tuple[Shard, Path]]:
    waiting: deque[tuple[Shard, Future[None] | None]] = deque()
    meanwhile = work.meanwhile
    for shard in (*shards, *[None] * ahead):
        if shard:
            waiting.append((shard, None if _folder(work, shard).is_dir() else pool.submit(_sort, shard)))
            if meanwhile and waiting[-1][1]:  # the first one forks all processes: a thread does them no harm from here
                threading.Thread(target=meanwhile).start()
                meanwhile = None
        if waiting and (shard is None or len(waiting) > ahead):
            first, coming = waiting.popleft()
            if coming:
                coming.result()
            yield first, _folder(work, first)


_given: tuple[Work, int] | None = None


def _begin(work: Work, most_bad: int, parent: int) -> None:
    """In a process of the pool: what all shards have in common; ends when the process that started it has gone."""
    global _given
    _given = work, most_bad
    stop_as_told()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def stop_as_told() -> None:
    """Signals end this process at once and in silence: whoever started it says what there is to say."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _sort(shard: Shard) -> None:
    if _given is None:
        raise RuntimeError("a process of the pool that was not begun")
    work, most_bad = _given
    sort_shard(work.file, shard, work.rules, folder=_folder(work, shard), most_bad=most_bad)
