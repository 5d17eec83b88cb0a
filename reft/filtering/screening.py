"""What a filter decided, for whoever must know before the training starts: every row of the file, and the counts."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.conversations.reading import BadRow
from reft.conversations.schema import Conversation
from reft.filtering.decisions import Decision
from reft.filtering.filter import Filter
from reft.filtering.spans import span_of
from reft.storage.artifacts import as_written, read_json, write_json, write_text
from reft.validation.validate import ValidatedData

ROWS, WHOLE = "rows.jsonl", "screening.json"
UNUSABLE, LEFT_OUT = "unusable", "left_out"


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The decisions of one run.

    Attributes:
        counts: rows by decision: keep, quarantine, drop; unusable (of no form that can be read) and left_out (the row
            itself says that it is not to be learnt).
        rows: of every row its number, decision, score and threshold (None where it was not scored), reason, the place
            and the text that decided, and the messages of a row that was not kept.
    """

    counts: dict[str, int]
    rows: list[dict[str, Any]]

    @property
    def scored(self) -> int:
        """How many rows the filter decided on."""
        return sum(count for name, count in self.counts.items() if name not in (UNUSABLE, LEFT_OUT))


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


def read_screening(folder: Path) -> Screening | None:
    """What `leave_screening` wrote; None where it has not, or not to its end.

    Raises:
        StorageError: the files are damaged.
    """
    if not (folder / WHOLE).is_file():
        return None
    counts = read_json(folder / WHOLE)["counts"]
    with as_written(folder / ROWS):
        rows = [json.loads(line) for line in (folder / ROWS).read_text(encoding="utf-8").splitlines()]
    return Screening(counts=counts, rows=rows)


def _decided(row: Conversation, decision: Decision, chosen: Filter) -> dict[str, Any]:
    thresholds = chosen.calibration.thresholds.of(row)
    dropped, scored = decision.score > thresholds.drop, not math.isnan(decision.score)
    line = {
        "row": row.row,
        "decision": decision.decision,
        "score": decision.score if scored else None,
        "threshold": thresholds.drop if dropped else thresholds.quarantine,
        "reason": decision.reason,
        "where": decision.where,
        "span": span_of(row, decision.where),
    }
    if decision.decision != "keep":
        line["messages"] = [{"role": m.role, "content": m.content} for m in row.messages]
    return line


def _unread(row: BadRow, decision: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("score", "threshold"))
    return {"row": row.row, "decision": decision, **nothing, "reason": row.code, "where": row.field, "span": ""}
