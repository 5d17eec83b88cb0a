"""Registering the student in the MLflow model registry."""

import json
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import RequestException

from reft.storage.artifacts import scratch
from reft.tracking.promotion import CANDIDATE, CHAMPION, FILES, JUDGED, NOBODY, PASSED, digest_of_files
from reft.tracking.server import MISSING, TAKEN, asking
from reft.tracking.serving import make_servable
from reft.tracking.version_files import require_files

GATE = "gate.json"
LOGGED = "reft.logged_model"  # MLflow takes a version's `model_id`, and its database forgets it


@dataclass(frozen=True)
class RegisteredModel:
    """A version in the registry."""

    name: str
    version: str
    run_id: str


@asking("register")
def register_candidate(
    folder: Path,
    name: str,
    tags: dict[str, str],
    *,
    description: str = "",
    passed: bool = False,
    judged_against: str | None = None,
    max_length: int | None = None,
) -> RegisteredModel:
    """Upload the student's files, make a version of them and point `candidate` at it; the active run is its source.

    The folder is made servable first (see `reft.tracking.serving`). The alias moves last, so that it never names a
    version whose files are not all there; the digest of the files is recorded with the version, to hold them against it
    before they serve.

    Args:
        description: what the version's page shows.
        passed: whether the gate was passed.
        judged_against: the version that served then; "": none did; None: it is not known.
        max_length: tokens of the longest row that it was trained on.

    Raises:
        RegistryError: the server does not answer, or does not allow it; no alias names a half version then,
            and no registered model is left without one.
    """
    make_servable(folder, max_length)
    tags = {**tags, FILES: digest_of_files(folder), PASSED: str(passed).lower()}
    if judged_against is not None:
        tags[JUDGED] = judged_against or NOBODY
    active, client = mlflow.active_run(), MlflowClient()
    with nullcontext(active) if active else mlflow.start_run(run_name="register") as run:
        files, run_id = _uploaded(client, folder, run), run.info.run_id
        tags[LOGGED] = files.model_id
        with _registered_model(client, name):
            version = client.create_model_version(
                name, files.artifact_location, run_id, tags, description=description[:5000], model_id=files.model_id
            ).version
        client.set_registered_model_alias(name, CANDIDATE, version)
    return RegisteredModel(name, str(version), run_id)


def _uploaded(client: MlflowClient, folder: Path, run: Run) -> LoggedModel:
    """The files as a logged model: a run's own artifacts go with the run when that is deleted and collected."""
    model = client.create_logged_model(run.info.experiment_id, "student", run.info.run_id)
    try:
        client.log_model_artifacts(model.model_id, str(folder))
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        with suppress(MlflowException, RequestException):
            client.delete_logged_model(model.model_id)  # for `mlflow gc` to collect
        raise


@contextmanager
def _registered_model(client: MlflowClient, name: str) -> Generator[None]:
    """Make sure that there is one; if the block fails, one that was made for it goes, unless it is in use."""
    made = True
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != TAKEN:
            raise
        made = False
    try:
        yield
    except BaseException:
        with suppress(MlflowException, RequestException):
            if made and not client.search_model_versions(f"name = '{name}'"):
                client.delete_registered_model(name)
        raise


@asking("look up an alias")
def version_at(name: str, alias: str) -> str:
    """The version that an alias points to; "" where it points nowhere.

    Raises:
        RegistryError: the server does not answer, or does not allow it: not the same as that nothing serves.
    """
    try:
        return str(MlflowClient().get_registered_model(name).aliases.get(alias, ""))
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return ""


def champion_version(name: str) -> str:
    """The version that serves; "" where none does."""
    return version_at(name, CHAMPION)


@asking("read a version's gate.json")
def gate_of(name: str, version: str) -> dict[str, Any]:
    """What the gate knew of a version when it was registered: its verdict, outcomes and the digest of the rows."""
    found = MlflowClient().get_model_version(name, version)
    require_files(found)
    with scratch("files") as folder:
        path = mlflow.artifacts.download_artifacts(artifact_uri=f"{found.source}/{GATE}", dst_path=str(folder))
        return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def files_of(name: str, version: str) -> Generator[Path]:
    """A copy of a version's files, for as long as the block lasts."""
    with scratch("files") as folder:
        with asking("read a version's files"):
            found = MlflowClient().get_model_version(name, version)
            require_files(found)
            here = mlflow.artifacts.download_artifacts(artifact_uri=str(found.source), dst_path=str(folder))
        yield Path(here)


@asking("read a version's tags")
def tags_of(name: str, version: str) -> dict[str, str]:
    """The tags that a version was registered with."""
    return dict(MlflowClient().get_model_version(name, version).tags)
