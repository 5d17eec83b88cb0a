"""Taking back what MLflow holds of a job: registered versions, their files, the run and its files.

Runs and logged models are then marked as deleted, their files are gone; what the database still has of them (settings,
losses, rates) goes with `mlflow gc`.
"""

from contextlib import suppress

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from reft.tracking.server import MISSING, asking


@asking("forget a registered model")
def forget_registered(name: str) -> bool:
    """Delete a registered model with all its versions and their files; whether there was one.

    Raises:
        RegistryError: the server does not answer, or does not allow it.
    """
    client = MlflowClient()
    for version in client.search_model_versions(f"name = '{name}'"):
        _delete_files(str(version.source))
    try:
        client.delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return False
    return True


@asking("forget a run")
def forget_runs(run_name: str) -> int:
    """Delete every run of this name, its files, and the models that it has logged; gives how many there were.

    Raises:
        RegistryError: the server does not answer, or does not allow it.
    """
    client = MlflowClient()
    places = [experiment.experiment_id for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    quoted = run_name.replace("'", "")  # ZenML's names have none
    runs = list(client.search_runs(places, filter_string=f"attributes.run_name = '{quoted}'"))
    for run in runs:
        logged = client.search_logged_models(
            [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        for model in logged:
            _delete_files(model.artifact_location)
            client.delete_logged_model(model.model_id)
        _delete_files(str(run.info.artifact_uri))
        client.delete_run(run.info.run_id)
    return len(runs)


def _delete_files(place: str) -> None:
    """Whatever lies there; nothing where it is gone already."""
    with suppress(FileNotFoundError):
        get_artifact_repository(place).delete_artifacts()
