"""What a step cost, as metadata of the step: noted when it runs, kept when its result is reused."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from zenml import get_step_context, log_metadata
from zenml.enums import ExecutionStatus

from reft.runtime.cost import Cost, measured
from reft.runtime.progress import current_run
from reft.runtime.quiet import stay_quiet

COST = "cost"


@contextmanager
def measured_step(stage: str) -> Generator[Cost]:
    """Measure the body as a stage of the run and note its cost; outside of a run it is only measured."""
    note_reused()
    stay_quiet()  # what this step has imported may have brought log handlers of its own
    with measured(stage) as cost:
        yield cost
    try:
        get_step_context()
    except RuntimeError:
        return
    log_metadata(metadata={COST: dict(cost.as_dict())})


def note_reused() -> None:
    """Tell this process's run which of its steps ZenML takes from earlier runs; outside of one nothing is told."""
    run = current_run()
    if run is None:
        return
    try:
        steps = get_step_context().pipeline_run.steps
    except RuntimeError:
        return
    run.reuse(_reused(steps))


def reused_steps() -> tuple[str, ...]:
    """From inside a step: the steps of this run that ZenML took from earlier runs."""
    return _reused(get_step_context().pipeline_run.steps)


def _reused(steps: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, step in steps.items() if step.status == ExecutionStatus.CACHED)


def costs_of_run() -> dict[str, dict[str, Any]]:
    """From inside a step: the cost of every step of this run that has one, in the order in which they were made."""
    steps = get_step_context().pipeline_run.steps
    found: dict[str, Any] = {name: step.run_metadata.get(COST) for name, step in steps.items()}
    return {name: dict(cost) for name, cost in found.items() if cost}
