"""``/openapi.json``, and ``/docs``: the same on a page that loads nothing from anywhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .http_answers import json_answer
from .http_models import RerankBody, TextsBody

__all__ = ["add_docs", "openapi"]

_REF = "#/components/schemas/{model}"
_BODIES = {
    "/v1/rerank": (RerankBody,),
    "/v2/rerank": (RerankBody,),
    "/rerank": (RerankBody, TextsBody),
}
_ERRORS = {
    "400": "The body, the query or every document is at fault: the message says how.",
    "401": "No token, or an unknown one.",
    "404": "A document's id is not known.",
    "408": "The body took too long.",
    "413": "The body is too large.",
    "415": "The body is not declared as JSON, or is compressed.",
    "429": "Too much waits: come back after Retry-After seconds.",
    "500": "Ours: the message has an id that is in the log.",
    "501": "A package for this kind of file is not installed.",
    "503": "Not ready, or going away.",
    "504": "The deadline passed.",
}
_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds after which nobody waits for the answer.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>minireranker: HTTP</title><style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-family: ui-monospace, monospace; font-size: 1.1rem; margin-top: 2rem; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid #8888; border-radius: 8px; }
</style></head><body><main><h1>minireranker $VERSION</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
$ROUTES</main></body></html>
"""


def add_docs(app: FastAPI) -> list[str]:
    """Register both; returns their paths."""
    schema = openapi(app)
    page = _page(schema)

    async def docs(request: Request) -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    async def document(request: Request) -> Response:
        return json_answer(schema)

    app.add_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.add_route("/openapi.json", document, methods=["GET"], include_in_schema=False)
    return ["/docs", "/openapi.json"]


def openapi(app: FastAPI) -> dict[str, Any]:
    """The schema of all routes, with bodies and errors; FastAPI sees neither, as they are ours."""
    schema = app.openapi()
    _, definitions = models_json_schema(
        [(RerankBody, "validation"), (TextsBody, "validation")], ref_template=_REF
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _describe(path, operation)
    return schema


def _describe(path: str, operation: dict[str, Any]) -> None:
    good = {"description": "Done.", "content": {"application/json": {}}}
    if path == "/metrics":
        good["content"] = {"text/plain": {}, "application/openmetrics-text": {}}
    operation["responses"] = {"200": good}
    if path == "/ready":
        operation["responses"]["503"] = {"description": _ERRORS["503"]}
    if path not in ("/health", "/ready"):
        operation["security"] = [{"token": []}, {}]
        operation["responses"]["401"] = {"description": _ERRORS["401"]}
    if path in _BODIES:
        schemas = [{"$ref": _REF.format(model=kind.__name__)} for kind in _BODIES[path]]
        body = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
        operation["parameters"] = [_TIMEOUT]
        for status, words in _ERRORS.items():
            operation["responses"][status] = {"description": words}


def _page(schema: dict[str, Any]) -> str:
    routes = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            words = escape(operation.get("description", ""))
            routes.append(f"<h2>{method.upper()} {escape(path)}</h2><p>{words}</p>")
    for name, model in schema["components"]["schemas"].items():
        text = escape(json.dumps(model, indent=2, ensure_ascii=False))
        routes.append(f"<h2>{escape(name)}</h2><pre>{text}</pre>")
    version = escape(schema["info"]["version"])
    return _PAGE.replace("$VERSION", version).replace("$ROUTES", "\n".join(routes))
