"""What asks for more than a served student's limits is told, in MLflow's own errors."""

import json
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import DEADLINE_EXCEEDED, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE

from reft.config.serving import Limits, variable
from reft.errors import explain

# What MLflow's server takes rows under; the other keys name the parameters.
_LISTS = ("dataframe_records", "instances", "inputs")


def check_body(body: bytes, limits: Limits) -> None:
    """Refuse what is no request, or one of too many rows, before MLflow makes a table of it.

    A table has a cell for each row and each name that any row has: a megabyte of rows with names of their own would
    take gigabytes.

    Raises:
        MlflowException: status 400.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise refused("the request is no JSON", "request", "send JSON in UTF-8") from error
    if not isinstance(asked, dict):
        raise refused(f"a {type(asked).__name__} is no request", "request", "send a JSON object with 'messages'")
    rows = _rows(asked)
    if rows > limits.rows:
        raise over(f"{rows} rows", "request", "rows", limit=limits.rows)


def _rows(asked: dict[str, Any]) -> int:
    split = asked.get("dataframe_split")
    if isinstance(split, dict) and not isinstance(split.get("data"), list):  # one value is repeated all over the table
        raise refused("'data' is no list", "dataframe_split", "give a list of rows")
    parts = [split.get(name) for name in ("data", "index")] if isinstance(split, dict) else []
    tables = [*(asked.get(name) for name in _LISTS), *parts]
    columns = [column for table in tables if isinstance(table, dict) for column in table.values()]
    return max((len(part) for part in (*tables, *columns) if isinstance(part, list | dict)), default=1)


def over(number: str, where: str, name: str, *, limit: int) -> MlflowException:
    """More than a limit: status 400."""
    return refused(f"{number}, more than the limit of {limit}", where, f"ask for less, or set {variable(name)}")


def refused(what: str, where: str, remedy: str) -> MlflowException:
    """MLflow's own error, which its server answers with status 400 and these words instead of a traceback."""
    return MlflowException.invalid_parameter_value(explain(what, where, remedy))


def too_many(limits: Limits) -> MlflowException:
    """As many requests as may be there are there: status 429."""
    what = f"{limits.requests} requests are being answered, the limit"
    words = explain(what, "server", f"come back later, or set {variable('requests')}")
    return MlflowException(words, error_code=REQUEST_LIMIT_EXCEEDED)


def too_late(limits: Limits) -> MlflowException:
    """A request that takes longer than it may: status 504."""
    what = f"not answered within the limit of {limits.seconds:g} seconds"
    words = explain(what, "request", f"ask for less, or set {variable('seconds')}")
    return MlflowException(words, error_code=DEADLINE_EXCEEDED)


def ended() -> MlflowException:
    """The server is going, or whoever asked has gone: status 503."""
    words = explain("stopped before the answer", "server", "ask again")
    return MlflowException(words, error_code=TEMPORARILY_UNAVAILABLE)
