"""What an MLflow server answers where it does not do as asked, in the house's words."""

from collections.abc import Generator
from contextlib import contextmanager

import mlflow
import requests
from mlflow.exceptions import MlflowException

from reft.errors import RegistryError, explain

MISSING, TAKEN = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
_CREDENTIALS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_RIGHTS = "ask whoever manages the server for the right to edit this model, or use an account that has it"
_ABSENT = "is MLFLOW_TRACKING_URI right and the server up? Whatever was begun is finished by the same command again"


@contextmanager
def asking(what: str) -> Generator[None]:
    """Around what asks the server for something; also a decorator.

    Raises:
        RegistryError: the server does not answer, or does not know or allow whoever asks.
    """
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        text = " ".join(str(error).split())[:300]
        where = f"{what}, on {mlflow.get_tracking_uri()}"
        if _is(error, 401, "UNAUTHENTICATED"):
            problem = explain("the MLflow server does not know who asks", where, _CREDENTIALS)
        elif _is(error, 403, "PERMISSION_DENIED"):
            problem = explain("the MLflow server does not allow this", where, _RIGHTS)
        elif isinstance(error, requests.RequestException) or getattr(error, "error_code", "") == "INTERNAL_ERROR":
            problem = explain(f"the MLflow server did not do it ({text})", where, _ABSENT)
        else:
            problem = explain(f"the MLflow server refuses ({text})", where, "read its words above")
        raise RegistryError(problem) from error


def _is(error: Exception, status: int, code: str) -> bool:
    """Artifacts are asked for over plain HTTP, all else in MLflow's own words."""
    response = getattr(error, "response", None)
    return getattr(error, "error_code", "") == code or getattr(response, "status_code", None) == status
