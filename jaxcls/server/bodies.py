"""Bodies of requests -> checked objects, within limits."""

import asyncio
import dataclasses
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Generic, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from jaxcls.server.errors import ApiError, bad_request, validation_error
from jaxcls.server.settings import Limits

BodyT = TypeVar("BodyT")


@dataclasses.dataclass(frozen=True)
class Body(Generic[BodyT]):
    """What a route takes.

    Attributes:
        type: a pydantic model, or a union of such.
        tags: the names of a union's members.
    """

    type: Any
    tags: frozenset[str] = frozenset()

    @cached_property
    def adapter(self) -> TypeAdapter[BodyT]:
        """What checks it."""
        return TypeAdapter(self.type)

    async def read(self, request: Request, limits: Limits) -> BodyT:
        """The body of a request.

        Raises:
            ApiError: it is no JSON, too large, too deep, too slow, or not what it has to be.
        """
        return self.check(await read_json(request, limits))

    def check(self, value: Any) -> BodyT:
        """JSON -> the object. Raises ApiError."""
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            raise validation_error(error, self.tags) from None


async def read_json(request: Request, limits: Limits) -> Any:
    """The JSON of a request's body. Raises ApiError, see `Body.read`."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise bad_request("Unsupported Media Type: Only 'application/json' is allowed")
    try:
        async with asyncio.timeout(limits.body_seconds):
            content = await _content(request, limits.body_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body has not arrived within {limits.body_seconds:g} s") from None
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is no JSON: {error.msg} at character {error.pos}") from None
    # There cannot be more within each other than there are.
    if content.count(b"[") + content.count(b"{") > limits.json_depth and _deeper(value, limits.json_depth):
        raise bad_request(f"the JSON has more than {limits.json_depth} lists and objects within each other")
    return value


async def _content(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > most:
                raise _too_large(most)
    except ClientDisconnect:
        raise ApiError(499, "the client has left") from None
    return bytes(content)


def _too_large(most: int) -> ApiError:
    # What is still to come is not read.
    return ApiError(
        413, f"the body has more than {most:,} bytes; send fewer items a request", headers={"Connection": "close"}
    )


def _deeper(value: Any, most: int) -> bool:
    """Whether there are more than `most` lists and objects within each other."""
    level = _containers([value])
    for _ in range(most):
        level = [child for parent in level for child in _containers(_children(parent))]
    return bool(level)


def _children(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
