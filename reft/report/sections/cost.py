"""What every stage cost."""

from typing import Any

from reft.report.html import RunResult

PLACE = 6


def values(result: RunResult) -> dict[str, Any]:
    """Seconds, memory and tokens by stage."""
    return {"costs": result.summary["cost"]}
