"""What the audit of the finished student found."""

from typing import Any

from reft.report.html import RunResult

PLACE = 1.5


def values(result: RunResult) -> dict[str, Any] | None:
    """The verdict, and every finding; None where no audit was made."""
    found = result.summary.get("audit")
    return {"audit": found, "total": sum(found["seconds"].values())} if found else None
