"""What went in: the rows that were read, and those that could not be used."""

from typing import Any

from reft.report.html import RunResult

PLACE = 4
SHOWN = 20


def values(result: RunResult) -> dict[str, Any]:
    """Counts, the first bad rows and the checks on the whole."""
    validated = result.validated
    return {
        "read": validated.read,
        "filtered": result.filtered.report.rows,
        "unusable": len(validated.quarantined),
        "first": validated.quarantined[:SHOWN],
        "checks": validated.checks,
        "docs": validated.docs is not None,
    }
