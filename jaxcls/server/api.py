"""What all routes share: a body is read, the work done while its client waits, and an error told."""

import asyncio
import dataclasses
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jaxcls.errors import PromptError, QueueFullError
from jaxcls.inputs.conversation import conversation
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.outputs import OutputT, RequestOutput, Timings
from jaxcls.server.bodies import Body
from jaxcls.server.errors import ApiError, ErrorResponse, api_error, bad_request
from jaxcls.server.metrics import Metrics
from jaxcls.server.schemas.common import Chat, PoolingRequest
from jaxcls.server.settings import Settings

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM

BodyT = TypeVar("BodyT")
_REQUEST_ID = re.compile(r"[\x21-\x7e]+")
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "The request is wrong; the message says where.",
        401: "The API key is missing or wrong.",
        404: "No such model, or the model does not do this.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        429: "The queue is full; try again after Retry-After seconds.",
        500: "The server failed.",
        503: "The server is starting, stopping, or broken.",
    }.items()
}


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The items of a request, checked.

    Attributes:
        prompts: one an item.
        items: the field of each, such as "input[3]".
        tokenization: the request's `tokenization_kwargs`.
    """

    prompts: list[Any]
    items: list[str]
    tokenization: dict[str, Any]


@dataclasses.dataclass
class Api:
    """An app's model, and what it was told.

    Attributes:
        llm: the model.
        settings: what the server was told.
        metrics: its counters.
        bodies: of all routes, for the OpenAPI document.
    """

    llm: "AsyncLLM"
    settings: Settings
    metrics: Metrics
    bodies: dict[str, Body[Any]] = dataclasses.field(default_factory=dict)

    def post(
        self,
        router: APIRouter,
        paths: Sequence[str],
        body: Body[BodyT],
        answer: Callable[[BodyT, str], Awaitable[Any]],
        response: Any,
        summary: str,
        *,
        binary: bool = False,
    ) -> None:
        """Adds a route that answers a JSON body.

        Args:
            router: where to.
            paths: under which it is; all do the same.
            body: what it takes.
            answer: body and request id -> what is answered, as JSON or as a Response.
            response: what it answers, for the document.
            summary: what it does, for people.
            binary: whether the answer may be bytes instead.
        """

        async def handle(request: Request) -> Response:
            value = await body.read(request, self.settings.limits)
            request.state.facts = {"user": user} if (user := getattr(value, "user", None)) else {}
            result = await self._while_connected(request, answer(value, self.request_id(request, value)))
            return result if isinstance(result, Response) else json_response(result)

        content: dict[str, Any] = {"content": {"application/octet-stream": {}}} if binary else {}
        for path in paths:
            self.bodies[path] = body
            router.add_api_route(
                path,
                handle,
                methods=["POST"],
                responses={200: {"model": response, **content}, **FAILURES},
                summary=summary,
                operation_id=path.strip("/").replace("/", "_"),
                response_class=JSONResponse,  # what the document says; answers are made by orjson
            )

    async def run(
        self, items: Sequence[str], outputs: Awaitable[list[RequestOutput[OutputT]]]
    ) -> list[RequestOutput[OutputT]]:
        """Results of the model's API, counted; of its errors those of an item name the item's field.

        Args:
            items: the field of each, such as "input[3]".
            outputs: what computes them.

        Raises:
            ApiError: an item is wrong, or the queue is full.
        """
        try:
            found = await outputs
        except (PromptError, QueueFullError) as error:
            if isinstance(error, QueueFullError):
                self.metrics.rejected.inc()
            raise api_error(error, items) or error from None
        self.metrics.items(found)
        return found

    def read_prompts(self, body: Any) -> Prompts:
        """The items of a PoolingRequest in one of its two forms. Raises ApiError."""
        request: PoolingRequest = body
        if isinstance(body, Chat):
            field = "messages"
            prompts: list[TextPrompt | TokensPrompt] = [self.conversation(body)]
            tokenization = request.tokenization()
        else:
            field, prompts = "input", body.input
            tokenization = {**request.tokenization(), "add_special_tokens": body.add_special_tokens}
        single = len(prompts) == 1
        items = [field if single else f"{field}[{index}]" for index in range(len(prompts))]
        texts: dict[str, str] = {}
        for item, prompt in zip(items, prompts, strict=True):
            if isinstance(prompt, TextPrompt):
                texts[item] = prompt.text
                if prompt.text_pair is not None:
                    texts[f"{item}.text_pair"] = prompt.text_pair
        self.check_request(request, texts, len(prompts))
        return Prompts(list(prompts), items, tokenization)

    def conversation(self, body: Chat) -> TextPrompt:
        """A conversation's prompt. Raises ApiError."""
        variables = body.chat_template_kwargs or {}
        if body.chat_template is not None and not self.settings.trust_request_chat_template:
            raise bad_request(
                "chat_template: this server takes no templates from clients; leave it out, or start the server with "
                "--trust-request-chat-template",
                "chat_template",
            )
        texts = {f"messages[{index}]": str(message.content) for index, message in enumerate(body.messages)}
        self.check_texts(texts)
        return conversation(
            self.llm.model.tokenizer,
            [message.model_dump() for message in body.messages],
            chat_template=body.chat_template,
            variables=variables,
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message,
            add_special_tokens=body.add_special_tokens,
        )

    def check_request(self, body: PoolingRequest, texts: Mapping[str, str], count: int) -> None:
        """Raises ApiError unless the request is for this model, and within the limits.

        Args:
            body: the request.
            texts: its texts, by their fields.
            count: of its items.
        """
        self.check_model(body.model)
        if body.priority and self.llm.model.options.scheduling_policy != "priority":
            raise bad_request(
                "priority: this server takes requests in the order they come; leave it out, or start the server with "
                "--scheduling-policy priority",
                "priority",
            )
        self.check_count(count)
        self.check_texts(texts)

    def check_count(self, count: int) -> None:
        """Raises ApiError if there are more items than a request may have."""
        most = self.settings.limits.batch
        if count > most:
            raise bad_request(f"{count:,} items are more than the {most:,} that a request may have: send several")

    def check_texts(self, texts: Mapping[str, str]) -> None:
        """Raises ApiError if one, by its field, is too long."""
        most = self.settings.limits.text_chars
        for field, text in texts.items():
            if len(text) > most:
                raise bad_request(f"{field} has {len(text):,} characters, and {most:,} is the limit: shorten it", field)

    def check_model(self, name: str | None) -> None:
        """Raises ApiError unless it is this model's."""
        names = self.settings.model_names
        if name and name not in names:
            raise ApiError(404, f"The model `{name}` does not exist. There is `{'`, `'.join(names)}`", param="model")

    def request_id(self, request: Request, body: Any) -> str:
        """The header's, else the body's, else a new one. Raises ApiError."""
        for source, given in (
            ("the header X-Request-Id", request.headers.get("x-request-id")),
            ("request_id", getattr(body, "request_id", None)),
        ):
            if given:
                if len(given) > self.settings.limits.request_id_chars or not _REQUEST_ID.fullmatch(given):
                    most = self.settings.limits.request_id_chars
                    raise bad_request(f"{source} must be at most {most} visible ASCII characters", "request_id")
                request.state.request_id = given
                return given
        return request.state.request_id

    async def _while_connected(self, request: Request, work: Awaitable[Any]) -> Any:
        """The result; if the client hangs up, the work is cancelled."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.metrics.disconnects.inc()
                raise ApiError(499, "the client has left")
            return working.result()
        finally:
            leaving.cancel()
            if not working.done():
                working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_response(content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; numbers that are none of JSON's never get here, see NonFiniteError."""
    return Response(orjson.dumps(content), 200, headers, "application/json")


def usage(outputs: Sequence[RequestOutput[Any]]) -> dict[str, Any]:
    """Tokens that were read."""
    tokens = sum(len(output.prompt_token_ids) for output in outputs)
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }


def timings_body(timings: Timings | None) -> dict[str, float] | None:
    """Milliseconds."""
    if timings is None:
        return None
    return {
        "tokenize_ms": 1e3 * timings.tokenize,
        "queue_ms": 1e3 * timings.queue,
        "compute_ms": 1e3 * timings.compute,
    }


def head(prefix: str, request_id: str, model: str) -> dict[str, Any]:
    """How most answers begin."""
    return {"id": f"{prefix}-{request_id}", "object": "list", "created": int(time.time()), "model": model}


def new_request_id() -> str:
    """A random one."""
    return uuid.uuid4().hex
