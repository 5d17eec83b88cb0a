"""What was removed, and why."""

from collections.abc import Mapping
from typing import Any

from reft.filtering.decisions import Decision
from reft.report import plots
from reft.report.html import RunResult

PLACE = 3
BEGINNING = 160  # characters of a prompt


def values(result: RunResult) -> dict[str, Any]:
    """The filter's report, the removed rows to look at, and its plots."""
    filtered, teacher = result.filtered, result.teacher
    thresholds = filtered.report.thresholds
    beginnings = {row.row: row.instruction[:BEGINNING] for row in result.validated.rows}
    return {
        "filter": result.summary["filter"],
        "report": filtered.report,
        "calibration_recall": _plain(filtered.report.calibration_recall),
        "calibration_fpr": _plain(filtered.report.calibration_fpr),
        "fpr_by_kind": {kind: _plain(found) for kind, found in filtered.report.fpr_by_kind.items()},
        "examples": [(d, beginnings.get(d.row, "")) for d in _telling(filtered.decisions, result.examples)],
        "scores": plots.score_distribution(_groups(result), thresholds),
        "roc": plots.roc(filtered.decisions, result.labels, thresholds),
        "layers": plots.layer_separation(teacher.untrained.separations, teacher.feature.separations),
    }


def _telling(decisions: list[Decision], count: int) -> list[Decision]:
    """The surest and the least sure removals say most about a filter."""
    removed = sorted((d for d in decisions if d.decision != "keep"), key=lambda d: -d.score)
    return removed if len(removed) <= 2 * count else removed[:count] + removed[-count:]


def _groups(result: RunResult) -> dict[str, list[float]]:
    """Scores by what the rows are."""
    groups: dict[str, list[float]] = {}
    for decision in result.filtered.decisions:
        label = result.labels.get(decision.row, "not labelled")
        groups.setdefault(f"user rows, {label}", []).append(decision.score)
    curves = result.filtered.curves
    harmless, harmful = curves["calibration_harmless"], curves["calibration_harmful"]
    return {**groups, "harmless calibration": harmless, "harmful calibration": harmful}


def _plain(interval: Any) -> Mapping[str, Any] | None:
    return interval and vars(interval)
