"""/tokenize and /detokenize."""

import functools
from typing import Any

from fastapi import APIRouter

from jaxcls.server.api import Api
from jaxcls.server.bodies import Body
from jaxcls.server.errors import bad_request
from jaxcls.server.schemas.common import Chat
from jaxcls.server.schemas.tokens import (
    TOKENIZE_FORMS,
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeBody,
    TokenizeResponse,
)

_TOKENIZE: Body[Any] = Body(TokenizeBody, TOKENIZE_FORMS)
_DETOKENIZE: Body[DetokenizeRequest] = Body(DetokenizeRequest)


def router(api: Api) -> APIRouter:
    """The routes, of models with a tokenizer."""
    routes = APIRouter()
    if api.llm.model.tokenizer.backend is not None:
        tokenize, detokenize = functools.partial(_tokenize, api), functools.partial(_detokenize, api)
        api.post(routes, ["/tokenize"], _TOKENIZE, tokenize, TokenizeResponse, "The tokens of a text")
        api.post(routes, ["/detokenize"], _DETOKENIZE, detokenize, DetokenizeResponse, "The text of tokens")
    return routes


async def _tokenize(api: Api, body: Any, request_id: str) -> dict[str, Any]:
    api.check_model(body.model)
    backend: Any = api.llm.model.tokenizer.backend
    with_strings: bool = body.return_token_strs
    if isinstance(body, Chat):
        prompt = api.conversation(body)
        assert prompt.template is not None
        text = prompt.template.render({"text": prompt.text}, {})[0].text
    else:
        api.check_texts({"prompt": body.prompt})
        text = body.prompt
    encoding = backend.encode(text, add_special_tokens=body.add_special_tokens)
    return {
        "count": len(encoding.ids),
        "max_model_len": api.llm.model.checkpoint.max_len,
        "tokens": encoding.ids,
        "token_strs": encoding.tokens if with_strings else None,
    }


async def _detokenize(api: Api, body: DetokenizeRequest, request_id: str) -> dict[str, Any]:
    api.check_model(body.model)
    backend: Any = api.llm.model.tokenizer.backend
    for index, token in enumerate(body.tokens):
        # Beyond 32 bits there is no token to look for.
        if token >= 2**32 or backend.id_to_token(token) is None:
            raise bad_request(f"tokens[{index}]: {token} is no token of this model", f"tokens[{index}]")
    return {"prompt": backend.decode(body.tokens, skip_special_tokens=False)}
