"""What pods say about themselves: why they do not run yet, who took them away, and how they died."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

LATEST = datetime.max.replace(tzinfo=UTC)
INDEX = "batch.kubernetes.io/job-completion-index"
# A container's own end that says nothing which its log does not.
ORDINARY = ("Completed", "Error")


def by_node(pods: Iterable[Any]) -> dict[str, Any]:
    """The pod that is each node now, by the node's number; pods come oldest first."""
    return {(pod.metadata.labels or {}).get(INDEX, pod.metadata.name): pod for pod in pods}


def are_running(pods: Iterable[Any], nodes: int) -> bool:
    """Whether that many pods run, or ran and are done."""
    return sum(pod.status.phase in ("Running", "Succeeded", "Failed") for pod in pods) >= nodes


def why_pending(pods: Iterable[Any]) -> str:
    """What the scheduler, or the machine that pulls the image, says; empty where nobody says anything."""
    said = []
    for pod in pods:
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False":
                said.append(f"{pod.metadata.name}: {condition.message or condition.reason}")
        for container in _containers(pod):
            waiting = container.state and container.state.waiting
            if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
                said.append(f"{pod.metadata.name}: {waiting.reason}: {waiting.message or ''}")
    return "; ".join(said)


def disruption(pod: Any) -> str | None:
    """Why Kubernetes took the pod away (preempted, evicted, its machine drained), or None."""
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return f"{pod.metadata.name}: {condition.reason}: {condition.message or ''}"
    return None


def death(pod: Any) -> str | None:
    """How the pod ended where its log cannot tell: killed for memory, evicted; None where it can."""
    if pod.status.phase == "Failed" and pod.status.reason:
        return f"{pod.metadata.name}: {pod.status.reason}: {pod.status.message or ''}"
    for container in _containers(pod):
        ended = container.state and container.state.terminated
        if ended and ended.exit_code and ended.reason not in (None, *ORDINARY):
            return f"{pod.metadata.name}: {ended.reason} (exit code {ended.exit_code})"
    return None


def failed_first(pods: Sequence[Any]) -> Any | None:
    """The pod whose container failed first: the others failed because that one was gone."""
    ends = [
        (container.state.terminated.finished_at or LATEST, number)
        for number, pod in enumerate(pods)
        for container in _containers(pod)
        if container.state and container.state.terminated and container.state.terminated.exit_code
    ]
    return pods[min(ends)[1]] if ends else None


def _containers(pod: Any) -> list[Any]:
    return [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
