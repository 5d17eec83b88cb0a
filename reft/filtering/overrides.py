"""Decisions that people made about single rows; they stand over the filter's and say so."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from reft.errors import StorageError, explain, listed
from reft.filtering.decisions import NAMED, Decision, Verdict
from reft.storage.artifacts import whole
from reft.storage.files import lines_of

VERDICTS = get_args(Verdict)


@dataclass(frozen=True)
class Override:
    """A person's decision about one row, which stands over the filter's."""

    row: int
    decision: Verdict
    by: str
    reason: str


def read_overrides(path: Path) -> dict[int, Override]:
    """Overrides by row, from JSONL lines {"row", "decision", "by", "reason"}.

    Raises:
        DataFormatError: no such file, or a device or pipe in its place.
        StorageError: a line is not of this shape.
    """
    found = {}
    for where, line in lines_of(path):
        try:
            override = Override(**json.loads(line))
            if type(override.row) is not int or override.row < 0:  # true is an int of Python's, and no row's number
                raise ValueError("row must be a whole number from 0")
            if override.decision not in VERDICTS or not override.by or not override.reason:
                raise ValueError("decision must be keep, quarantine or drop; by and reason must not be empty")
            override = replace(override, by=whole(str(override.by)), reason=whole(str(override.reason)))
        except (ValueError, TypeError, RecursionError) as error:
            remedy = 'write {"row": 0, "decision": "keep", "by": "your name", "reason": "why"}'
            raise StorageError(explain(f"not an override: {error}", where, remedy)) from error
        found[override.row] = override
    return found


def without_rows(overrides: Iterable[Override], judged: Collection[int]) -> list[str]:
    """A warning that names the overrides of rows that are not among those judged; none where there are no such."""
    missed = [override for override in overrides if override.row not in judged]
    if not missed:
        return []
    named = listed((f"{override.row} (by {override.by[:60]})" for override in missed), NAMED)
    return [
        f"overrides of rows that were not judged change nothing: {named}: rows are counted from 0, blank lines "
        "among them, as in decisions.jsonl; correct the numbers, or see whether they were written for another file"
    ]


def overridden(decision: Decision, override: Override | None) -> Decision:
    """The decision that stands, with what the filter had said in its reason."""
    if override is None:
        return decision
    reason = f"override by {override.by}: {override.reason} (the filter said {decision.decision}: {decision.reason})"
    return replace(decision, decision=override.decision, reason=reason)
