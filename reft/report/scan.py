"""The page of a scan: what was removed from a file, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from reft.filtering.decisions import Thresholds
from reft.report import plots
from reft.report.page import render


def render_scan(
    name: str,
    result: Mapping[str, Any],
    groups: Mapping[str, Sequence[float]],
    *,
    thresholds: Thresholds,
    examples: Sequence[Mapping[str, Any]],
) -> str:
    """One self-contained page; what users wrote is escaped.

    Args:
        name: of the scanned file.
        result: the scan's result as it is written to `scan.json`.
        groups: scores to draw, by what they are of.
        examples: removed rows, each with `row`, `score`, `decision`, `reason`, `where` and `text`.
    """
    return render(
        "scan.html.j2",
        name=name,
        result=result,
        examples=examples,
        plot=plots.score_distribution(groups, thresholds),
    )
