"""The losses of every training of the run."""

from typing import Any

from reft.report import plots
from reft.report.html import RunResult

PLACE = 5


def values(result: RunResult) -> dict[str, Any] | None:
    """One plot; nothing where nothing was trained."""
    return {"losses": plots.loss_curves(result.histories)} if result.histories else None
