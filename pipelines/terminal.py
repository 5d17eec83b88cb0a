"""What the terminal shows of a run: its steps, their progress, the result and errors."""

from pathlib import Path

import zenml  # noqa: F401 (puts its own handlers in place, which have to be there before they are quieted)

from reft.runtime.quiet import LOGS, quiet_terminal

# Of ZenML's lines those that name a step: cached steps would pass unseen otherwise.
STEPS = r"Step `|Using cached version of step|Skipping step"


def quiet() -> Path | None:
    """Everything else into a file of this run's own."""
    return quiet_terminal(LOGS, STEPS)
