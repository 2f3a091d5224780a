"""What the schema at /openapi.json allows is answered as it says: bodies drawn from it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import status_code_conformance as status_known

PATHS = "/rerank", "/v1/rerank", "/v2/rerank"
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)


def drawn(schema: Any, definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema, of those keywords that ours has; any other one fails."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return st.one_of(*(drawn(one, definitions) for one in schema[several]))
    if "$ref" in schema:
        return drawn(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems", 3)
        return st.lists(
            drawn(schema["items"], definitions), min_size=least, max_size=min(most, least + 2)
        )
    if schema["type"] == "object":
        return _object(schema, definitions)
    return _plain(schema)


def _object(schema: Any, definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: drawn(one, definitions) for name, one in schema["properties"].items()}
    required = set(schema.get("required", ()))
    found = st.fixed_dictionaries(
        {name: one for name, one in fields.items() if name in required},
        optional={name: one for name, one in fields.items() if name not in required},
    )
    least = schema.get("minProperties", 0)
    return found.filter(lambda value: len(value) >= least)


def _plain(schema: Any) -> st.SearchStrategy[Any]:
    if schema["type"] == "string":
        assert schema.get("pattern", r"\S") == r"\S", schema
        text = TEXT.filter(str.strip) if "pattern" in schema else TEXT
        return text.filter(bool) if schema.get("minLength") else text
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    return {"boolean": st.booleans(), "null": st.none()}[schema["type"]]


@pytest.fixture(scope="module")
def schema(client: Any) -> Any:
    return client.get("/openapi.json").json()


def body_of(schema: Any, path: str) -> Any:
    return schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=st.data(), path=st.sampled_from(PATHS))
def test_a_body_the_schema_allows_is_never_called_malformed(
    client: Any, schema: Any, data: Any, path: str
) -> None:
    definitions = schema["components"]["schemas"]
    body = data.draw(drawn(body_of(schema, path), definitions))
    resolved = {**body_of(schema, path), "components": schema["components"]}
    jsonschema.validate(body, resolved)
    answer = client.post(path, json=body)
    found = answer.json()
    if answer.status_code == 200:
        ranks = found if isinstance(found, list) else found["results"]
        count = len(body["texts"]) if isinstance(found, list) else len(_documents(body))
        assert {rank["index"] for rank in ranks} <= set(range(count))
        return
    # Whatever is wrong with it now is a side's own: a picture that is none, an id nobody indexed.
    assert answer.status_code in (400, 404), found
    assert found["message"].startswith(("query", "document ")), (found["message"], body)


def _documents(body: Any) -> list[Any]:
    documents = body["documents"]
    if isinstance(documents, dict) and isinstance(documents.get("content"), list):
        return list(documents["content"])
    return documents if isinstance(documents, list) else [documents]


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_schemathesis_sends_is_answered_as_the_schema_says(
    running: Any, schema: Any, data: Any
) -> None:
    """Bodies, headers and methods that the schema allows, and such that it does not."""
    loaded = schemathesis.openapi.from_dict(schema)
    operations = [found.ok() for found in loaded.get_all_operations()]
    at = data.draw(st.sampled_from(range(len(operations))))
    mode = data.draw(st.sampled_from(GenerationMode))
    case = data.draw(operations[at].as_strategy(generation_mode=mode))
    # 503 and 504 are right where it asks to be served within no time at all.
    answer = case.call_and_validate(base_url=running.url, checks=[status_known])
    assert answer.status_code != 500, answer.text


@pytest.mark.parametrize("path", PATHS)
def test_statuses_are_those_the_schema_lists(client: Any, schema: Any, path: str) -> None:
    listed = set(schema["paths"][path]["post"]["responses"])
    bodies = [b"", b"{}", json.dumps({"query": "q", "documents": [{"id": "none"}]}).encode()]
    kinds = ["application/json", "text/plain"]
    got = {
        str(client.post(path, content=body, headers={"Content-Type": kind}).status_code)
        for body in bodies
        for kind in kinds
    }
    assert got == {"400", "404", "415"}
    assert got <= listed
