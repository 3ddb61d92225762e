"""The OpenAPI document is true: what it allows or forbids is answered as it says, and never with a 500."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jaxcls import AsyncLLM
from jaxcls.server.settings import Limits
from tests.server.conftest import client_of

POSTS = [
    "/classify",
    "/infinity/classify",
    "/predict",
    "/pooling",
    "/score",
    "/rerank",
    "/tokenize",
    "/detokenize",
    "/invocations",
]
GETS = ["/v1/models", "/load", "/version", "/health", "/metrics"]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def small(online: AsyncLLM) -> Iterator[httpx.Client]:
    with client_of(online, limits=Limits(batch=8, text_chars=200)) as client:
        yield client


@pytest.mark.parametrize("route", [*POSTS, *GETS])
@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_generated_requests(small: httpx.Client, route: str, mode: schemathesis.GenerationMode) -> None:
    if route in GETS and mode is schemathesis.GenerationMode.NEGATIVE:
        return  # there is nothing to get wrong
    document = schemathesis.openapi.from_dict(small.get("/openapi.json").json())
    operation = document[route]["GET" if route in GETS else "POST"]
    count = 1 if route in GETS else 25

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=str(small.base_url).rstrip("/"), checks=CHECKS)

    check()
