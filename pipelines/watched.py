"""What is known of a run from outside: its steps, whether a cluster still has it, and why it failed."""

from contextlib import suppress

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse
from zenml.orchestrators.publish_utils import publish_pipeline_run_status_update, publish_stopped_step_run
from zenml.utils import run_utils

USERS_ERRORS = "reft.errors."


def say_steps(run: PipelineRunResponse, begun: set[str]) -> None:
    """The steps that work, as they say it themselves where the run is this process."""
    steps = [step for step in run.steps.values() if step.status != ExecutionStatus.CACHED and step.start_time]
    for step in sorted(steps, key=lambda step: step.start_time or run.created):
        if step.name not in begun:
            begun.add(step.name)
            print(f"  {step.name} begins, in {run.name}", flush=True)


def refresh(run: PipelineRunResponse) -> None:
    """Let ZenML look whether the run's own pod has ended without a word."""
    with suppress(NotImplementedError, ValueError):
        run_utils.refresh_run_status(run)


def last_words(run: PipelineRunResponse) -> str:
    """Why a run failed: a user's error as the command line says it, anything else with its traceback."""
    failed = [step.exception_info for step in run.steps.values() if step.status == ExecutionStatus.FAILED]
    for found in (*failed, run.exception_info):
        if found is None:
            continue
        if (found.source or "").startswith(USERS_ERRORS) and found.message:
            return f"error: {found.message}"
        return found.traceback
    return f"{run.name} has failed; the logs of its pods say why"


def is_lost(run: PipelineRunResponse) -> bool:
    """Whether Kubernetes has no Job of a run: its submitter was killed too early, or somebody deleted it by hand."""
    orchestrator = Client().active_stack.orchestrator
    if orchestrator.flavor != "kubernetes":
        return False
    from kubernetes.client import BatchV1Api
    from zenml.integrations.kubernetes.orchestrators import KubernetesOrchestrator

    assert isinstance(orchestrator, KubernetesOrchestrator)
    jobs = BatchV1Api(orchestrator.get_kube_client())
    namespace = orchestrator.config.kubernetes_namespace
    return not jobs.list_namespaced_job(namespace, label_selector=f"run_id={run.id}").items


def give_up(run: PipelineRunResponse) -> PipelineRunResponse:
    """Note the end of a run that nothing runs any more; its steps' first, without which ZenML takes it for running."""
    for step in run.steps.values():
        if not step.status.is_finished:
            publish_stopped_step_run(step.id)
    said = "nothing runs it any more"
    return publish_pipeline_run_status_update(run.id, ExecutionStatus.STOPPED, status_reason=said)
