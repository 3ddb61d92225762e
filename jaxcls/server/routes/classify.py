"""/classify, in the forms of vLLM and Infinity, and TEI's /predict."""

import functools
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from jaxcls.inputs.prompt import TextPrompt
from jaxcls.outputs import ClassificationOutput, LabelScore, RequestOutput
from jaxcls.pooling_params import PoolingParams
from jaxcls.server.api import Api, head, timings_body, usage
from jaxcls.server.bodies import Body
from jaxcls.server.schemas.classify import (
    CLASSIFY_FORMS,
    ClassifyChatRequest,
    ClassifyCompletionRequest,
    ClassifyRequest,
    ClassifyResponse,
    InfinityRequest,
    InfinityResponse,
    LabelBody,
)
from jaxcls.server.schemas.predict import PredictRequest

CLASSIFY: Body[Any] = Body(ClassifyRequest, CLASSIFY_FORMS)
_INFINITY: Body[InfinityRequest] = Body(InfinityRequest)
_PREDICT: Body[PredictRequest] = Body(PredictRequest)
# Where several classes may be true, those that are likelier than not.
_LIKELY = 0.5

_Output = RequestOutput[ClassificationOutput]


def router(api: Api) -> APIRouter:
    """The routes, of classifiers of texts."""
    routes = APIRouter()
    if "classify" in api.llm.model.checkpoint.tasks:
        answer, infinity = functools.partial(classify, api), functools.partial(_infinity, api)
        api.post(
            routes, ["/classify"], CLASSIFY, answer, ClassifyResponse | InfinityResponse, "Classify texts, or a chat"
        )
        api.post(routes, ["/infinity/classify"], _INFINITY, infinity, InfinityResponse, "Classify, as Infinity answers")
        predicted = list[LabelBody] | list[list[LabelBody]]
        api.post(
            routes, ["/predict"], _PREDICT, functools.partial(_predict, api), predicted, "Classify, as TEI answers"
        )
    return routes


async def classify(
    api: Api, body: ClassifyCompletionRequest | ClassifyChatRequest | InfinityRequest, request_id: str
) -> dict[str, Any]:
    """Answers /classify."""
    if isinstance(body, InfinityRequest):
        return await _infinity(api, body, request_id)
    given = api.read_prompts(body)
    params = body.pooling(use_activation=body.use_activation)
    outputs = await api.run(
        given.items,
        api.llm.classify(given.prompts, pooling_params=params, tokenization_kwargs=given.tokenization),
    )
    several = api.llm.model.checkpoint.activation.name == "sigmoid"
    data = [_data(body, index, output, several=several) for index, output in enumerate(outputs)]
    return {**head("classify", request_id, api.settings.model_names[0]), "data": data, "usage": usage(outputs)}


def _data(body: Any, index: int, output: _Output, *, several: bool) -> dict[str, Any]:
    scores = output.outputs
    assert scores is not None, "errors were raised"
    data: dict[str, Any] = {
        "index": index,
        "label": scores.label,
        "probs": scores.probs,
        "num_classes": scores.num_classes,
    }
    threshold = body.threshold
    if several and scores.num_classes > 1 and body.top_k is None and threshold is None:
        # A logit of 0 is a probability of one half.
        threshold = 0.0 if scores.probs == scores.logits else _LIKELY
    if threshold is not None or body.top_k is not None:
        data["labels"] = _labels(scores.labels(top_k=body.top_k, threshold=threshold))
    if body.return_logits:
        data["logits"] = scores.logits
    if body.return_timings:
        data["timings"] = timings_body(output.timings)
    return data


def _labels(scores: Sequence[LabelScore]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in scores]


async def _ranked(
    api: Api, prompts: list[Any], items: list[str], *, raw: bool, tokenization: dict[str, Any]
) -> tuple[list[list[dict[str, Any]]], list[_Output]]:
    """All labels of each prompt, the best first."""
    api.check_count(len(prompts))
    params = PoolingParams(use_activation=not raw)
    outputs = await api.run(items, api.llm.classify(prompts, pooling_params=params, tokenization_kwargs=tokenization))
    return [_labels(output.outputs.labels()) for output in outputs if output.outputs is not None], outputs


async def _infinity(api: Api, body: InfinityRequest, request_id: str) -> dict[str, Any]:
    """Infinity cuts what is too long."""
    api.check_model(body.model)
    items = [f"input[{index}]" for index in range(len(body.input))]
    api.check_texts(dict(zip(items, body.input, strict=True)))
    data, outputs = await _ranked(
        api, list(body.input), items, raw=body.raw_scores, tokenization={"truncate_prompt_tokens": -1}
    )
    return {
        **head("classify", request_id, api.settings.model_names[0]),
        "object": "classify",
        "data": data,
        "usage": usage(outputs),
    }


async def _predict(api: Api, body: PredictRequest, request_id: str) -> list[Any]:
    """TEI's answers have no frame."""
    sequences, batched = body.sequences()
    items = [f"inputs[{index}]" if batched else "inputs" for index in range(len(sequences))]
    api.check_texts(
        {f"{item}[{i}]": text for item, s in zip(items, sequences, strict=True) for i, text in enumerate(s)}
    )
    tokenization: dict[str, Any] = {}
    if body.truncate:
        tokenization = {"truncate_prompt_tokens": -1, "truncation_side": body.truncation_direction.lower()}
    prompts = [TextPrompt(sequence[0], sequence[1] if len(sequence) > 1 else None) for sequence in sequences]
    data, _ = await _ranked(api, list(prompts), items, raw=body.raw_scores, tokenization=tokenization)
    return data if batched else data[0]
