"""What one request to a served student may ask for, whoever serves it: MLflow's server or `reft serve`.

MLflow's server knows no profile: each limit is an environment variable of its name, `REFT_SERVE_ROWS` for `rows`.
"""

import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reft.errors import ConfigurationError, explain

PREFIX = "REFT_SERVE_"
NEW_TOKENS = 256  # of an answer whose request says nothing of its length


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
