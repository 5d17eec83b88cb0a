"""What every stage cost."""

from typing import Any

from reft.report import plots
from reft.report.html import RunResult

PLACE = 6


def values(result: RunResult) -> dict[str, Any] | None:
    """Seconds, memory and tokens by stage, and a bar each; nothing where nothing was measured."""
    costs, reused = result.summary["cost"], result.summary["run"]["reused"]
    if not costs:
        return None
    return {"costs": costs, "reused": reused, "seconds": plots.seconds_by_stage(costs, reused)}
