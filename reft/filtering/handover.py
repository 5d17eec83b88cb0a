"""Leaves what a filter decided where others wait for it (`screening`)."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation, written
from reft.filtering.decisions import Decision
from reft.filtering.filter import Filter
from reft.filtering.screening import LEFT_OUT, ROWS, UNUSABLE, WHOLE
from reft.filtering.spans import span_of
from reft.storage.artifacts import write_json, write_text
from reft.validation.validate import ValidatedData


def leave_screening(folder: Path, validated: ValidatedData, *, chosen: Filter, decisions: Sequence[Decision]) -> None:
    """Write the decisions; `screening.json` comes last, and is there only where the rows are whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_decided(row, d, chosen) for row, d in zip(validated.rows, decisions, strict=True)]
    for name, rows in ((UNUSABLE, validated.quarantined), (LEFT_OUT, validated.left_out)):
        lines += [_unread(row, name) for row in rows]
    lines.sort(key=lambda line: line["row"])
    write_text(folder / ROWS, "".join(json.dumps(line) + "\n" for line in lines))
    write_json(folder / WHOLE, {"counts": Counter(line["decision"] for line in lines)})


def _decided(row: Conversation, decision: Decision, chosen: Filter) -> dict[str, Any]:
    thresholds = chosen.calibration.thresholds.of(row)
    dropped = decision.score > thresholds.drop
    line = {
        "row": row.row,
        "decision": decision.decision,
        "score": decision.score if decision.scored else None,
        "threshold": thresholds.drop if dropped else thresholds.quarantine,
        "reason": decision.reason,
        "where": decision.where,
        "span": span_of(row, decision.where),
    }
    if decision.decision != "keep":
        line["messages"] = written(row.messages)
    return line


def _unread(row: BadRow, decision: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("score", "threshold"))
    return {"row": row.row, "decision": decision, **nothing, "reason": row.code, "where": row.field, "span": ""}
