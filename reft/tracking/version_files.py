"""Whether a registered version's files are still there: the registry calls it ready without them, too."""

from collections.abc import Mapping

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from reft.errors import PromotionError, explain
from reft.tracking.server import MISSING, asking

# Every version has it (see `reft.tracking.serving`).
DESCRIPTION = "MLmodel"


def require_files(*versions: ModelVersion) -> None:
    """Check that what was registered can still be fetched.

    Raises:
        PromotionError: the files of a version are gone.
    """
    gone = [found for found in versions if not _there(str(found.source))]
    if gone:
        where = ", ".join(f"{found.name} version {found.version} ({found.source})" for found in gone)
        remedy = (
            "restore that folder from a backup of the artifact store, or run the pipeline again and promote what it "
            "registers; until then let another version serve (reft rollback, reft promote --version). "
            "docs/operations.md says what may be deleted"
        )
        raise PromotionError(explain("its files are gone, though the registry still calls it ready", where, remedy))


@asking("look for a version's files")
def require_files_of(name: str, aliases: Mapping[str, str]) -> None:
    """Check that what the aliases point to can still be fetched.

    Raises:
        PromotionError: the files of a version are gone.
        RegistryError: the server does not answer, or does not allow it.
    """
    client = MlflowClient()
    require_files(*(client.get_model_version(name, version) for version in sorted(set(aliases.values()))))


def _there(source: str) -> bool:
    """A folder that was deleted lists no file; some stores say instead that there is none."""
    try:
        return any(file.path.split("/")[-1] == DESCRIPTION for file in mlflow.artifacts.list_artifacts(source))
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return False
