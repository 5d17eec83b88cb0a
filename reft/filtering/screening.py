"""What a filter decided, for whoever must know before the training starts: every row of the file, and the counts.

Whoever reads it loads no model code (`handover` writes it).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.storage.artifacts import as_written, read_json

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
