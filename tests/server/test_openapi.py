"""The OpenAPI document is true: what it allows is answered as it says, and nothing makes the server fail."""

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
from tests.server.conftest import client_of

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12


@pytest.fixture(scope="module")
def address(online: AsyncLLM) -> Iterator[str]:
    with client_of(online, trust_request_chat_template=True) as client:
        yield str(client.base_url)


def test_whatever_is_sent_is_answered_as_the_document_says(address: str) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        takes_a_body = "requestBody" in operation.definition.raw
        for mode in schemathesis.GenerationMode if takes_a_body else [schemathesis.GenerationMode.POSITIVE]:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES if takes_a_body else 1,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(base_url=address, checks=CHECKS)

            check()
        seen.add(operation.label)
    assert {"POST /classify", "POST /pooling", "POST /score", "GET /health", "GET /metrics"} <= seen
    assert httpx.get(f"{address}/health").status_code == 200


def test_every_route_is_in_the_document(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    for path in ("/classify", "/predict", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/score", "/invocations"):
        assert "requestBody" in document["paths"][path]["post"], path
    unresolved = [
        reference
        for reference in set(_references(document))
        if reference.removeprefix("#/components/schemas/") not in document["components"]["schemas"]
    ]
    assert not unresolved


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield part
            yield from _references(part)
    if isinstance(value, list):
        for part in value:
            yield from _references(part)
