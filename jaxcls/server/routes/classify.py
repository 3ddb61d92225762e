"""/classify."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from jaxcls.outputs import ClassificationOutput, RequestOutput
from jaxcls.server.api import Api, head, prompt_texts, timings_body, usage
from jaxcls.server.bodies import Body
from jaxcls.server.schemas.classify import ClassifyCompletionRequest, ClassifyRequest, ClassifyResponse

BODY: Body[ClassifyCompletionRequest] = Body(ClassifyRequest, frozenset(("completion", "chat")))
# Where several classes may be true, those that are likelier than not.
_LIKELY = 0.5


def router(api: Api) -> APIRouter:
    """The route, of classifiers of texts."""
    routes = APIRouter()
    if "classify" in api.llm.model.checkpoint.tasks:
        api.post(
            routes, ["/classify"], BODY, Classify(api), ClassifyResponse, "Classify texts, pairs or a conversation."
        )
    return routes


class Classify:
    """Answers /classify."""

    def __init__(self, api: Api):
        self._api = api

    async def __call__(self, body: ClassifyCompletionRequest, request_id: str) -> dict[str, Any]:
        """The answer."""
        api, prompts = self._api, body.input
        items, texts = prompt_texts("input", prompts, single=len(prompts) == 1)
        api.check_request(body, texts, len(prompts))
        tokenization = {**body.tokenization(), "add_special_tokens": body.add_special_tokens}
        params = body.pooling(use_activation=body.use_activation)
        outputs = await api.run(
            items, api.llm.classify(list[Any](prompts), pooling_params=params, tokenization_kwargs=tokenization)
        )
        data = [self._data(body, index, output) for index, output in enumerate(outputs)]
        return {**head("classify", request_id, api.settings.model_names[0]), "data": data, "usage": usage(outputs)}

    def _data(self, body: ClassifyCompletionRequest, index: int, output: RequestOutput[ClassificationOutput]) -> Any:
        scores = output.outputs
        assert scores is not None, "errors were raised"
        data: dict[str, Any] = {
            "index": index,
            "label": scores.label,
            "probs": scores.probs,
            "num_classes": scores.num_classes,
        }
        if (labels := self._labels(body, scores)) is not None:
            data["labels"] = [{"label": name, "score": score} for name, score in labels]
        if body.return_logits:
            data["logits"] = scores.logits
        if body.return_timings:
            data["timings"] = timings_body(output.timings)
        return data

    def _labels(
        self, body: ClassifyCompletionRequest, scores: ClassificationOutput
    ) -> Sequence[tuple[str, float]] | None:
        if body.top_k is not None or body.threshold is not None:
            return scores.labels(top_k=body.top_k, threshold=body.threshold)
        several = self._api.llm.model.checkpoint.activation.name == "sigmoid" and scores.num_classes > 1
        return scores.labels(threshold=_LIKELY) if several else None
