"""What the terminal shows of a run: its steps, their progress, the result and errors."""

from pathlib import Path

from zenml.exceptions import RunInterruptedException  # ZenML puts its own handlers in place, to be quieted

from reft.runtime.quiet import LOGS, quiet_terminal

# Of libraries' lines those that name a step, and those that say that a server, as MLflow's, does not answer just now.
STEPS = r"Step `|Using cached version of step|Skipping step|Retrying \("


STOPPED = "stopped: start the same command again; it goes on where it was"


def quiet() -> Path | None:
    """Everything else into a file of this run's own."""
    return quiet_terminal(LOGS, STEPS, ends={RunInterruptedException: STOPPED})
