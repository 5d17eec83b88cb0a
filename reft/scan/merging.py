"""The parts of a shared scan put together, where the user looks for the results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from reft.conversations.containers import recognise
from reft.conversations.writer import give_back
from reft.errors import ConfigurationError, explain
from reft.scan.result import ScanResult, scan_result
from reft.scan.shards import OUTPUTS
from reft.scan.sharing import SharedScan
from reft.storage.artifacts import scratch, write_json
from reft.storage.store import Store

GROUPS = list(OUTPUTS.values())
# The index of a row that is in no group: nobody judged it.
NOWHERE = 255


def merge_scan(shared: SharedScan, lost: Mapping[int, str]) -> ScanResult:
    """All parts in order, beside the work's folder: rows and decisions as files that follow one another.

    Args:
        lost: parts that nobody could finish, and why.

    Raises:
        ConfigurationError: machines of several kinds found several thresholds; the parts that disagree are undone.
    """
    job = shared.job
    marks = {number: shared.mark_of(number) for number in range(len(job.parts)) if number not in lost}
    taken = [number for number, mark in marks.items() if not mark["faults"]]
    unread = [*job.unread]
    for number in range(len(job.parts)):
        unread += _unfinished(shared, number, lost[number]) if number in lost else marks[number]["faults"]
    if not taken:
        raise ConfigurationError(explain(unread[0]["what"], unread[0]["key"], unread[0]["remedy"]))
    judged, digest = shared.judged()
    if others := [number for number in taken if marks[number]["filter"] != digest]:
        for number in others:
            shared.store.remove(shared.marker(number))
        what = f"{len(others)} parts were judged by other thresholds, found on a machine of another kind"
        remedy = "start again: they alone are repeated; machines of one kind (cluster.node_selector) agree"
        raise ConfigurationError(explain(what, shared.store.key(shared.folder), remedy))
    result = scan_result(
        _described(shared, taken), sum(job.parts[number].rows for number in taken), judged,
        overrides=list(job.overrides), alarms=list(job.alarms), unread_parts=unread,
    )  # fmt: skip
    _appear(shared, taken, result)
    return result


def forget(shared: SharedScan, lost: Mapping[int, str]) -> None:
    """Take the work away; where a part is missing, that alone, so that a new start looks at it again."""
    there = set(range(len(shared.job.parts))) - set(lost)
    faulty = [number for number in there if shared.mark_of(number)["faults"]]
    if not (lost or faulty):
        shared.store.remove(shared.folder)
    for number in faulty:
        shared.store.remove(shared.marker(number))


def _unfinished(shared: SharedScan, number: int, why: str) -> list[dict[str, Any]]:
    data = Store(shared.job.data) if shared.job.is_lines else shared.store
    remedy = "start the same command again: this part alone is scanned anew"
    return [
        {"key": data.key(piece.name), "offset": piece.begin, "end": piece.end, "what": why, "remedy": remedy}
        for piece in shared.job.parts[number].pieces
    ]


def _described(shared: SharedScan, taken: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What every shard says, in order."""
    for number in taken:
        for line in shared.store.read(f"{shared.part(number)}/shards.jsonl").decode().rstrip("\n").split("\n"):
            yield json.loads(line)


def _appear(shared: SharedScan, taken: Sequence[int], result: ScanResult) -> None:
    """The results where the user looks for them; those of an earlier scan go."""
    store, copied = shared.store, ["decisions", *(GROUPS if shared.job.is_lines else [])]
    for group in (*GROUPS, "decisions"):
        store.remove(group)
        for number in taken if group in copied else ():
            store.copy(f"{shared.part(number)}/{group}.jsonl", f"{group}/part-{number:06d}.jsonl")
    with scratch("given") as folder:
        if not shared.job.is_lines:
            _give_back(shared, taken, folder)
        write_json(folder / "scan.json", result.as_dict())
        store.put(folder / "scan.json", "scan.json")


def _give_back(shared: SharedScan, taken: Sequence[int], folder: Path) -> None:
    """Files of another kind than plain JSONL: the rows of each leave as a file of its kind for every group."""
    job, data = shared.job, Store(shared.job.data)
    decided = _decided(shared, taken, folder / "part")
    for number, (name, rows) in enumerate(job.files):
        if not rows:
            continue
        local = data.get(name, folder / "in" / (PurePosixPath(name).name or PurePosixPath(job.data).name))
        (out := folder / "out").mkdir(exist_ok=True)
        group_of = np.full(rows, NOWHERE, np.uint8)
        with ExitStack() as stack:
            files = [stack.enter_context((out / f"{group}.jsonl").open("wb")) for group in GROUPS]
            for row, (group, line) in enumerate(islice(decided, rows)):
                group_of[row] = group
                if group != NOWHERE:
                    files[group].write(line)
        container = recognise(local, limits=job.limits)
        written = give_back(container, out, GROUPS, group_of=group_of, for_people=GROUPS[1:])
        for group, path in zip(GROUPS, written, strict=True):
            if path.is_file():  # of a table without rows there is none
                shared.store.put(path, f"{group}/part-{number:06d}{container.suffix}")
                path.unlink()
        local.unlink()


def _decided(shared: SharedScan, taken: Sequence[int], folder: Path) -> Iterator[tuple[int, bytes]]:
    """The group of every row of the input in order, and its line."""
    order = {decision: index for index, decision in enumerate(OUTPUTS)}
    for number, part in enumerate(shared.job.parts):
        if number not in taken:
            yield from ((NOWHERE, b"") for _ in range(part.rows))
            continue
        with ExitStack() as stack:
            names = [f"{name}.jsonl" for name in ("decisions", *GROUPS)]
            local = [shared.store.get(f"{shared.part(number)}/{name}", folder / name) for name in names]
            decisions, *groups = (stack.enter_context(path.open("rb")) for path in local)
            for decision in decisions:
                index = order[json.loads(decision)["decision"]]
                yield index, groups[index].readline()
