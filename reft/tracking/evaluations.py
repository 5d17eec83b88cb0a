"""How a registered version was judged: when it was registered, and later, on other days' rows, by `reft evaluate`.

A later evaluation is a logged model of its own, so that it outlives the run, and a tag of the version holds its digest
and its address: the version's files, whose digests a promotion verifies, stay as they were.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from reft.errors import StorageError, explain
from reft.gate.gate import Champion
from reft.storage.artifacts import scratch, write_json
from reft.tracking.registry import LOGGED, gate_of
from reft.tracking.server import asking

EVALUATED = "reft.evaluated."
FOLDER = "evaluations"


@asking("write down an evaluation")
def record_evaluation(name: str, version: str, evaluation: Champion) -> None:
    """Keep a version's evaluation anew; one on the same rows is replaced."""
    client = MlflowClient()
    kept = client.create_logged_model(_experiment_of(client.get_model_version(name, version)), FOLDER)
    with scratch("evaluation") as folder:
        path = folder / f"{evaluation.rows}.json"
        write_json(path, vars(evaluation))
        client.log_model_artifact(kept.model_id, str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    client.finalize_logged_model(kept.model_id, LoggedModelStatus.READY)
    tag = f"{digest} {kept.artifact_location}/{path.name}"
    client.set_model_version_tag(name, version, f"{EVALUATED}{evaluation.rows}", tag)


def _experiment_of(found: ModelVersion) -> str:
    """Where a version's files were logged; those of older versions lie in a run."""
    client = MlflowClient()
    if logged := found.tags.get(LOGGED):
        return str(client.get_logged_model(logged).experiment_id)
    return str(client.get_run(str(found.run_id)).info.experiment_id)


@asking("look up evaluations")
def newest_evaluation(name: str, version: str) -> str:
    """Names the state of a version's later evaluations; "" where it has none."""
    if not version:
        return ""
    tags = MlflowClient().get_model_version(name, version).tags
    found = sorted(f"{key}={value}" for key, value in tags.items() if key.startswith(EVALUATED))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else ""


def champion_of(name: str, version: str, *, rows: str) -> Champion:
    """The version as it was judged on these rows, newest first; else as it was judged when it was registered.

    Raises:
        StorageError: the evaluation is not the one that was written down.
        RegistryError: the server does not answer, or does not allow it.
    """
    if found := _evaluated(name, version, rows):
        return Champion(**found)
    registered = gate_of(name, version)
    return Champion(
        outcomes=registered.get("outcomes", {}), rows=registered.get("rows", ""), code=registered.get("code", "")
    )


@asking("read an evaluation")
def _evaluated(name: str, version: str, rows: str) -> dict[str, Any] | None:
    found = MlflowClient().get_model_version(name, version)
    if (tag := found.tags.get(f"{EVALUATED}{rows}")) is None:
        return None
    digest, _, address = tag.partition(" ")
    address = address or f"runs:/{found.run_id}/{FOLDER}/{rows}.json"  # until 0.2
    with scratch("evaluation") as folder:
        content = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder))).read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        remedy = "somebody changed it: judge the version anew with reft evaluate"
        raise StorageError(explain("an evaluation is not the one that was written down", address, remedy))
    return json.loads(content)
