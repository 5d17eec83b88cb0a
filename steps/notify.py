"""Telling people: through whatever alerter the stack has (Slack, Discord, ...); without one, nothing is said."""

from zenml import get_step_context
from zenml.client import Client
from zenml.logger import get_logger

logger = get_logger(__name__)


def notify(message: str) -> bool:
    """Post to the stack's alerter; whether there was one that took it. A dead alerter never fails a run."""
    alerter = Client().active_stack.alerter
    if alerter is None:
        return False
    try:
        return bool(alerter.post(message))
    except Exception as error:  # every alerter brings its own kinds of errors
        logger.warning("the alerter could not be told: %r", error)
        return False


def on_failure(error: BaseException) -> None:
    """A pipeline's failure hook: which step of which run failed, and its error's own words."""
    context = get_step_context()
    notify(f"ReFT: step {context.step_run.name} of run {context.pipeline_run.name} failed\n{error}")
