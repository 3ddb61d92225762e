"""The OpenAPI document: FastAPI's, with the bodies that are read by `bodies.Body`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from jaxcls.server.api import Api

_REF = "#/components/schemas/{model}"


def document(app: FastAPI, api: Api) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
        for path, body in api.bodies.items():
            schema = body.adapter.json_schema(ref_template=_REF)
            schemas.update(schema.pop("$defs", {}))
            operation = made["paths"][path]["post"]
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}
        if api.settings.api_keys:
            made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"key": []}]
            for path in ("/health", "/ping", *(() if api.settings.guard_metrics else ("/metrics",))):
                for operation in made["paths"][path].values():
                    operation["security"] = []
        app.openapi_schema = made
    return app.openapi_schema
