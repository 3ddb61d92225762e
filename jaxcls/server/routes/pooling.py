"""/pooling, and /v1/embeddings of embedders."""

import functools
from typing import Any

import numpy as np
from fastapi import APIRouter

from jaxcls.outputs import RequestOutput
from jaxcls.server.api import Api, head, timings_body, usage
from jaxcls.server.bodies import Body
from jaxcls.server.errors import bad_request
from jaxcls.server.schemas.common import FORMS
from jaxcls.server.schemas.pooling import (
    EmbeddingsBody,
    EmbeddingsCompletionRequest,
    EmbeddingsResponse,
    PoolingBody,
    PoolingResponse,
)
from jaxcls.server.vectors import bytes_response, check_encoding, encoded

POOLING: Body[Any] = Body(PoolingBody, FORMS)
EMBEDDINGS: Body[Any] = Body(EmbeddingsBody, FORMS)


def router(api: Api) -> APIRouter:
    """The routes; /v1/embeddings where texts are embedded."""
    routes = APIRouter()
    api.post(
        routes, ["/pooling"], POOLING, functools.partial(pooling, api), PoolingResponse, "Raw pooled data", binary=True
    )
    if "embed" in api.llm.model.checkpoint.tasks:
        answer = functools.partial(embeddings, api)
        api.post(routes, ["/v1/embeddings"], EMBEDDINGS, answer, EmbeddingsResponse, "Embed texts", binary=True)
    return routes


async def pooling(api: Api, body: Any, request_id: str) -> Any:
    """Answers /pooling."""
    checkpoint = api.llm.model.checkpoint
    task = body.task or checkpoint.tasks[0]
    if task not in checkpoint.tasks:
        raise bad_request(f"Unsupported task: {task!r} Supported tasks: {checkpoint.tasks}", "task")
    if body.dimensions is not None and checkpoint.embedder is None:
        raise bad_request("dimensions are those of an embedding: classifiers have none; leave it out", "dimensions")
    given = api.read_prompts(body)
    check_encoding(body.encoding_format, body.embed_dtype, body.endianness)
    params = body.pooling(use_activation=body.use_activation, dimensions=body.dimensions)
    outputs = await api.run(
        given.items,
        api.llm.encode(given.prompts, params, pooling_task=task, tokenization_kwargs=given.tokenization),
    )
    arrays = [output.outputs.data for output in outputs if output.outputs is not None]
    return _answer(api, body, request_id, outputs, arrays, ("pooling", "data"))


async def embeddings(api: Api, body: Any, request_id: str) -> Any:
    """Answers /v1/embeddings."""
    given = api.read_prompts(body)
    check_encoding(body.encoding_format, body.embed_dtype, body.endianness)
    name = body.prompt_name if isinstance(body, EmbeddingsCompletionRequest) else None
    outputs = await api.run(
        given.items,
        api.llm.embed(
            given.prompts,
            prompt_name=name,
            pooling_params=body.pooling(use_activation=body.use_activation, dimensions=body.dimensions),
            tokenization_kwargs=given.tokenization,
        ),
    )
    arrays = [output.outputs.embedding for output in outputs if output.outputs is not None]
    return _answer(api, body, request_id, outputs, arrays, ("embedding", "embedding"))


def _answer(
    api: Api,
    body: Any,
    request_id: str,
    outputs: list[RequestOutput[Any]],
    arrays: list[np.ndarray],
    names: tuple[str, str],
) -> Any:
    """`names`: of the kind of object, and of the field that holds the numbers."""
    kind, field = names
    prefix = "pooling" if kind == "pooling" else "embd"
    frame = head(prefix, request_id, api.settings.model_names[0])
    if body.encoding_format in ("bytes", "bytes_only"):
        if body.return_timings:
            raise bad_request("return_timings: there is no place for them in bytes", "return_timings")
        return bytes_response(arrays, frame, usage(outputs), body)
    data = []
    for index, (output, values) in enumerate(zip(outputs, arrays, strict=True)):
        numbers = encoded(values, body.encoding_format, body.embed_dtype, body.endianness)
        timings = {"timings": timings_body(output.timings)} if body.return_timings else {}
        data.append({"index": index, "object": kind, field: numbers, **timings})
    return {**frame, "data": data, "usage": usage(outputs)}
