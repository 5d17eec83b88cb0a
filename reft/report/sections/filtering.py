"""What was removed, and why."""

import math
from collections.abc import Mapping
from typing import Any

from reft.conversations.schema import Conversation, written
from reft.filtering.decisions import Decision
from reft.filtering.spans import span_of
from reft.pages.marking import Turn, marked, turns_of
from reft.report import plots
from reft.report.html import RunResult

PLACE = 1


def values(result: RunResult) -> dict[str, Any]:
    """The filter's report, the removed rows to look at, and its plots."""
    filtered, teacher = result.filtered, result.teacher
    thresholds = filtered.report.thresholds
    rows = {row.row: row for row in result.validated.rows}
    return {
        "filter": result.summary["filter"],
        "report": filtered.report,
        "calibration_recall": _plain(filtered.report.calibration_recall),
        "calibration_fpr": _plain(filtered.report.calibration_fpr),
        "fpr_by_kind": {kind: _plain(found) for kind, found in filtered.report.fpr_by_kind.items()},
        "examples": [(d, deciding(rows[d.row], d.where)) for d in _telling(filtered.decisions, result.examples)],
        "scores": plots.score_distribution(_groups(result), thresholds),
        "roc": plots.roc(filtered.decisions, result.labels, thresholds),
        "layers": plots.layer_separation(teacher.untrained.separations, teacher.feature.separations),
    }


def deciding(row: Conversation, where: str) -> list[Turn]:
    """The turn that a decision was made by, with its deciding words marked; of other readings what was read."""
    span = span_of(row, where)
    found = [turn for turn in turns_of({"messages": written(row.messages)}, where, span) if turn.decides]
    return found or [Turn(role=f"read at {where}", pieces=marked(span), decides=True, cut=False)]


def _telling(decisions: list[Decision], count: int) -> list[Decision]:
    """The surest and the least sure removals say most about a filter."""
    removed = sorted((d for d in decisions if d.decision != "keep"), key=lambda d: -d.score if d.scored else math.inf)
    return removed if len(removed) <= 2 * count else removed[:count] + removed[-count:]


def _groups(result: RunResult) -> dict[str, list[float]]:
    """Scores by what the rows are: the user's, those without harm first, then the calibration's."""
    groups: dict[str, list[float]] = {}
    for decision in (d for d in result.filtered.decisions if d.scored):
        label = result.labels.get(decision.row, "not labelled")
        groups.setdefault(f"user rows, {label}", []).append(decision.score)
    users = {name: groups[name] for name in sorted(groups, key=lambda name: name.endswith(" harmful"))}
    curves = result.filtered.curves
    harmless, harmful = curves["calibration_harmless"], curves["calibration_harmful"]
    return {**users, "harmless calibration": harmless, "harmful calibration": harmful}


def _plain(interval: Any) -> Mapping[str, Any] | None:
    return interval and vars(interval)
