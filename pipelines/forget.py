"""Deletes what the pipeline's stores hold of jobs of the service: `python -m pipelines.forget JOB ...`.

ZenML's artifacts of the customer's steps and their logs, MLflow's runs, registered versions and files. What belongs to
all customers (the teacher, the soft labels, the provider's scores) stays, and so does the bare record of a run that
made it: ZenML's cache finds it there.
"""

import sys
from collections.abc import Iterator
from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.models import PipelineRunResponse, StepRunResponse
from zenml.stack.stack_component import StackComponent
from zenml.utils.pagination_utils import depaginate

from pipelines.terminal import quiet
from reft.keys.stages import STAGES
from reft.tracking.forgetting import forget_registered, forget_runs


def of_customers() -> set[str]:
    """Steps whose results are made of a customer's rows: validation and all that stands on it."""
    found = {"validation"}
    for name, stage in STAGES.items():  # each after those that it stands on
        if found & set(stage.after):
            found.add(name)
    return found | {"gate", "registration", "report"}


def forget(job: str) -> int:
    """Delete what is stored of one job; done again, it finds nothing. Gives how many runs of it there were.

    Raises:
        RegistryError: the MLflow server does not answer, or does not allow it.
    """
    client, found = Client(), 0
    if tracker := client.active_stack.experiment_tracker:
        tracker.configure_mlflow()  # ty: ignore[missing-attribute]
    for run in list(_runs(client, job)):
        found += 1
        _forget_run(client, run)
    return found


def _runs(client: Client, job: str) -> Iterator[PipelineRunResponse]:
    """Of a job there may be several: one that screens, one that trains, and those that were cut off."""
    for found in depaginate(client.list_pipeline_runs, tags=[job]):
        yield client.get_pipeline_run(found.id)


def _forget_run(client: Client, run: PipelineRunResponse) -> None:
    # Only what the run's own settings name: the default is the name of the operator's own student.
    if name := (run.config.parameters or {}).get("settings", {}).get("tracking", {}).get("registered_name"):
        forget_registered(name)
        for model in client.list_models(name=name).items:
            client.delete_model(model.id)
    forget_runs(run.name)
    theirs = of_customers()
    made = [step for step in run.steps.values() if step.name in theirs and step.status != ExecutionStatus.CACHED]
    artifacts = [artifact for step in made for outputs in step.outputs.values() for artifact in outputs]
    for artifact in artifacts:
        _delete(client, artifact.artifact_store_id, artifact.uri)
    for logs in _logs(run, made):
        _delete(client, logs.artifact_store_id, logs.uri)
    others = [step for step in run.steps.values() if step.name not in theirs]
    if any(step.status == ExecutionStatus.COMPLETED for step in others):
        return  # what it made for all customers is found in the cache by this record
    client.delete_pipeline_run(run.id)
    for artifact in artifacts:
        if client.list_artifact_versions(id=artifact.id, only_unused=True, size=1).items:
            client.delete_artifact_version(artifact.id)


def _logs(run: PipelineRunResponse, steps: list[StepRunResponse]) -> list[Any]:
    return [logs for one in (run, *steps) for logs in one.log_collection or () if logs.uri]


def _delete(client: Client, store: Any, uri: str) -> None:
    """A file or folder of an artifact store, if it is still there."""
    if store is None:
        return
    found: Any = StackComponent.from_model(client.get_stack_component(StackComponentType.ARTIFACT_STORE, store))
    if found.isdir(uri):
        found.rmtree(uri)
    elif found.exists(uri):
        found.remove(uri)


def main() -> None:
    quiet()
    for job in sys.argv[1:]:
        print(f"{job}: {forget(job)} runs forgotten", flush=True)


if __name__ == "__main__":
    main()
