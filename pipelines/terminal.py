"""What the terminal shows of a run: its steps, their progress, the result and errors."""

from pathlib import Path

import zenml  # noqa: F401 (puts its own handlers in place, which have to be there before they are quieted)

from reft.runtime.quiet import LOGS, quiet_terminal

# Of libraries' lines those that name a step, and those that say that a server, as MLflow's, does not answer just now.
STEPS = r"Step `|Using cached version of step|Skipping step|Retrying \("


def quiet() -> Path | None:
    """Everything else into a file of this run's own."""
    return quiet_terminal(LOGS, STEPS)
