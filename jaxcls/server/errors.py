"""Errors -> answers, in OpenAI's shape: what is wrong, and what to do. No paths or addresses of this machine."""

import re
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from jaxcls.errors import JaxclsError, NonFiniteError, PromptError, QueueFullError

_LISTED, _LONGEST = 10, 1000
_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    413: "RequestTooLargeError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}
_PATH = re.compile(r"(?<![\w/.:<])/(?:[\w.@+-]+/)+[\w.@+-]*")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


class ErrorBody(BaseModel):
    """What is wrong.

    Attributes:
        message: for people.
        type: the kind of error.
        param: the field that is wrong, null where it is none.
        code: the HTTP status.
    """

    message: str
    type: str
    param: str | None
    code: int


class ErrorResponse(BaseModel):
    """The answer to every request that fails."""

    error: ErrorBody
    detail: str | None = None


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *, param: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.headers = status, message, param, headers or {}


def bad_request(message: str, param: str | None = None) -> ApiError:
    """What a client can mend."""
    return ApiError(400, message, param=param)


def error_response(error: ApiError) -> Response:
    """The answer."""
    status = error.status
    body: dict[str, Any] = {
        "error": {
            "message": scrubbed(error.message),
            "type": _TYPES.get(status, "InternalServerError" if status >= 500 else "BadRequestError"),
            "param": error.param,
            "code": status,
        }
    }
    if status == 404:
        body["detail"] = "Not Found"  # what vLLM's clients look for
    return Response(orjson.dumps(body), status, error.headers, "application/json")


def api_error(error: Exception, items: Sequence[str] = ()) -> ApiError | None:
    """The answer to an error of the model's API; None: it is a bug.

    Args:
        error: what was raised.
        items: the field of each item, such as "input[3]".
    """
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(429, str(error), headers={"Retry-After": str(error.retry_after)})
        case PromptError(message=message, index=index):
            param = items[index] if index is not None and index < len(items) else None
            status = 500 if isinstance(error, NonFiniteError) else 400
            return ApiError(status, message if param is None else f"{param}: {message}", param=param)
        case JaxclsError() if isinstance(error, ValueError):
            return bad_request(str(error))
        case JaxclsError():
            return ApiError(503, "the engine is shutting down; try again", headers={"Retry-After": "5"})
        case _:
            return None


def validation_error(error: ValidationError, tags: frozenset[str]) -> ApiError:
    """The answer to a body that is not what it has to be; `tags` name members of a union, not fields."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{_place(p['loc'], tags)}: {p['msg'].removeprefix('Value error, ')}" for p in problems[:_LISTED]]
    more = [] if len(problems) <= _LISTED else [f"and {len(problems) - _LISTED} more"]
    return bad_request("; ".join((*lines, *more))[:_LONGEST], _place(problems[0]["loc"], tags))


def _place(loc: Sequence[int | str], tags: frozenset[str]) -> str:
    """The field, as one would write it in Python: input[3]."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part not in tags and re.fullmatch(r"[a-z_0-9]+", part):
            place += f".{part}" if place else part
        elif part not in tags and "[" not in part and "(" not in part:
            place += f"[{part[:40]!r}]"
    return place or "body"


def scrubbed(message: str) -> str:
    """The message without paths and addresses."""
    return _ADDRESS.sub("...", _PATH.sub("...", message))
