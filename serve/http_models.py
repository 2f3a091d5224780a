"""Bodies of HTTP requests as clients of Cohere, Jina, vLLM and text-embeddings-inference send them.

Documents are taken one by one (``http_documents``), so that a bad one does not fail the others;
what is written of them here is for ``/openapi.json``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

__all__ = ["RerankBody", "TextsBody"]

_MEDIUM = {
    "type": "string",
    "minLength": 1,
    "description": "Base64, a data: URI, an allowed URL or path.",
}
_URL = {"type": "object", "properties": {"url": _MEDIUM}, "required": ["url"]}
_PART = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
            "required": ["type", "text"],
        },
        *(
            {
                "type": "object",
                "properties": {"type": {"const": kind}, kind: _URL},
                "required": ["type", kind],
            }
            for kind in ("image_url", "video_url")
        ),
    ]
}
_ITEM: dict[str, list[dict[str, Any]]] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"content": {"type": "array", "items": _PART, "minItems": 1}},
            "required": ["content"],
        },
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "image": _MEDIUM,
                "video": _MEDIUM,
                "id": {"type": "string"},
            },
            "minProperties": 1,
        },
    ]
}
_QUERY = {"anyOf": [{"type": "string", "pattern": "\\S"}, *_ITEM["anyOf"][1:]]}
_LIST = {"anyOf": [{"type": "array", "items": _ITEM, "minItems": 1}, _ITEM]}


class RerankBody(BaseModel):
    """Of /v1/rerank, /v2/rerank and /rerank. What is not named here is taken and not used."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)

    query: Annotated[Any, WithJsonSchema(_QUERY)]
    """A text, or an object."""
    documents: Annotated[Any, WithJsonSchema(_LIST)]
    """One or many; one object with content is as many documents as it has parts."""
    model: str | None = None
    """There is one model a server; any name is taken, and given back."""
    top_n: int | None = Field(None, ge=0, le=2**31)
    """The best so many; 0 or null: all."""
    return_documents: bool | None = None
    """Null: texts are returned on /v1 and /rerank, as vLLM does."""
    return_kept: bool = False
    """Also return which visual tokens a document was scored by."""
    instruction: str | None = None
    """The task in one sentence, for the model."""
    max_tokens_per_doc: int | None = Field(None, ge=0, le=2**31)
    """Texts of documents are cut to it; 0 or null: to what the profile allows."""
    max_tokens_per_query: int | None = Field(None, ge=0, le=2**31)
    rank_fields: list[str] | None = Field(None, max_length=64)
    """Of documents that are objects: which fields are their text."""


class TextsBody(BaseModel):
    """Of /rerank, as text-embeddings-inference has it."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)

    query: str = Field(json_schema_extra={"pattern": "\\S"})
    texts: list[str] = Field(min_length=1)
    raw_scores: bool = False
    """Logit differences instead of probabilities."""
    return_text: bool = False
    truncate: bool | None = None
    """False: a text too long is an error; true or null: it is cut."""
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    """Texts are cut on the right only; with "Left" one that is too long is an error."""
