"""What one request to a served student may ask for, and what asks for more is told.

The server knows no profile: each limit is an environment variable of its name, `REFT_SERVE_ROWS` for `rows`.
"""

import json
import os
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import DEADLINE_EXCEEDED, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reft.errors import ConfigurationError, explain

PREFIX = "REFT_SERVE_"
# What MLflow's server takes rows under; the other keys name the parameters.
_LISTS = ("dataframe_records", "instances", "inputs")


class Limits(BaseModel):
    """The limits of a server's process, as they are when the model is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(2**20, ge=1, description="size of a request")
    rows: int = Field(32, ge=1, description="prompts of a request")
    prompt_tokens: int | None = Field(
        None, ge=1, description="tokens of a prompt; none: model.max_length of the training"
    )
    new_tokens: int = Field(1024, ge=1, description="tokens of an answer, max_tokens")
    requests: int = Field(8, ge=1, description="requests at once: one is answered, the others wait their turn")
    seconds: float = Field(50, gt=0, allow_inf_nan=False, description="a request, from its first byte to its answer")

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits that the environment sets, the others as they are by default.

        Raises:
            ConfigurationError: a variable is no number, or too small.
        """
        given = {name: os.environ[variable(name)] for name in cls.model_fields if os.environ.get(variable(name))}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            what = f"{given[name]!r} is no limit"
            raise ConfigurationError(explain(what, variable(name), "give a number from 1 on, or unset it")) from error


def variable(name: str) -> str:
    """The environment variable that sets a limit."""
    return PREFIX + name.upper()


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
