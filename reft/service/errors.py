"""Errors in OpenAI's form: message, type, param and code, always all four."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reft.service.database import AWAY

INVALID = "invalid_request_error"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {404: "unknown_url", 405: "method_not_allowed"}
NO_RETRY = {"x-should-retry": "false"}
# Pydantic names the kinds of a union within the path of a field; whoever sent the field knows no such names.
INNER = ("function-", "constrained-", "literal[", "int", "float", "str", "bool", "list[", "dict[", "nullable")


class ApiError(HTTPException):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return error_body(self.status_code, str(self.detail), param=self.param, code=self.code)

    def answer(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status_code, self.headers)


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as the SDK reads it."""
    kind = "server_error" if status >= 500 else TYPES.get(status, INVALID)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """What was sent is wrong: 400, which the SDK does not send again."""
    return ApiError(400, message, param=param, code=code)


def not_found(kind: str, name: str, param: str = "id") -> ApiError:
    """Nothing of that name is there, or it is somebody else's: the answer is the same."""
    return ApiError(404, f"No such {kind}: {name:.200}", param=param, code=f"{kind.replace(' ', '_')}_not_found")


def over_quota(message: str) -> ApiError:
    """A quota is used up; sent again at once it would be, too."""
    return ApiError(429, message, code="insufficient_quota", headers=NO_RETRY)


def unavailable() -> ApiError:
    """The database is away or busy; the SDK sends the request again."""
    message = "The database does not answer right now; send the request again."
    return ApiError(503, message, code="database_unavailable", headers={"retry-after": "1"})


def param_of(location: tuple[Any, ...]) -> str | None:
    """The field's path as its sender wrote it."""
    steps = [str(step) for step in location[1:] if not str(step).startswith(INNER)]
    return ".".join(steps) or None


def answer_errors(app: FastAPI) -> None:
    """Let every error of the app leave it in this form."""

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, ApiError):
            return error.answer()
        code = CODES.get(error.status_code, "invalid_request")
        return JSONResponse(
            error_body(error.status_code, str(error.detail), code=code), error.status_code, error.headers
        )

    @app.exception_handler(RequestValidationError)
    def _wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = param_of(tuple(first["loc"]))
        missing = first["type"] in ("missing", "json_invalid")
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        said = "the body is not JSON" if first["type"] == "json_invalid" else str(first["msg"])
        message = said if missing and not param else f"Invalid '{param}': {said}" if param else said
        return JSONResponse(error_body(400, _plain(message), param=param and _plain(param), code=code), 400)

    def _busy(_: Request, __: Exception) -> JSONResponse:
        return unavailable().answer()

    for kind in AWAY:
        app.add_exception_handler(kind, _busy)


def _plain(text: str) -> str:
    """What a sender wrote may hold halves of characters, which no answer can carry."""
    return text.encode("utf-8", "replace").decode()[:500]
