"""The page of a scan, every text of which was written by somebody who attacks it."""

from reft.filtering.decisions import Thresholds
from reft.report.scan import render_scan
from tests.factories import MARKUP

COUNTS = {"kept": 1, "quarantined": 0, "dropped": 1}


def scan_page() -> str:
    """With an example, a warning, an override and a kind of calibration rows."""
    row = dict.fromkeys(("decision", "reason", "where", "text"), MARKUP) | {"row": 1, "score": 0.5}
    result = {
        "counts": COUNTS, "rows": 2, "scorer": MARKUP, "reads": MARKUP, "warnings": [MARKUP], "reasons": {MARKUP: 1},
        "overrides": [{"row": 1, "decision": MARKUP, "by": MARKUP, "reason": MARKUP}], "fpr_by_kind": {MARKUP: None},
    }  # fmt: skip
    return render_scan(f"{MARKUP}.jsonl", result, {MARKUP: [0.1, 0.5]}, thresholds=Thresholds(0.4, 0.6), examples=[row])
