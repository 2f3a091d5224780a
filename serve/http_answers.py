"""Answers and errors in the shapes that each kind of client reads.

A score on the wire is the library's: JSON writes a float so that reading it gives the same number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from .failures import Failure, failure_of
from .http_models import RerankBody, TextsBody
from .jobs import Failed, Outcome, Scored

__all__ = ["error_answer", "failed_entries", "json_answer", "rerank_answer", "texts_answer"]

_TYPES = {400: "Validation", 413: "Validation", 429: "Overloaded", 503: "Unhealthy"}
"""What text-embeddings-inference calls them; everything else is "Backend"."""


def json_answer(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Strict JSON: no NaN. Everything beyond ASCII is escaped, lone surrogates too."""
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, "application/json")


def error_answer(
    failure: Failure, request_id: str, failed: Sequence[dict[str, Any]] = ()
) -> Response:
    """An error under every name that clients look for its sentence by."""
    content: dict[str, Any] = {
        "id": request_id,
        "code": failure.code,
        "message": failure.message,
        "detail": failure.message,
        "error": failure.message,
        "error_type": _TYPES.get(failure.status, "Backend"),
    }
    if failed:
        content["failed"] = list(failed)
    headers = {}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    if failure.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_answer(content, failure.status, headers)


def failed_entries(failed: Sequence[Failed]) -> list[dict[str, Any]]:
    """Documents that could not be ranked, each with its reason."""
    entries = []
    for item in failed:
        failure = failure_of(item.error)
        entries.append(
            {
                "index": item.index,
                "id": item.id,
                "code": failure.code,
                "error": failure.message,
            }
        )
    return entries


def rerank_answer(
    body: RerankBody, documents: Sequence[Any], outcome: Outcome, model: str, version: int
) -> dict[str, Any]:
    """For clients of Cohere, Jina and vLLM; less its ``id``. ``version``: of the route, 1 or 2."""
    wanted = body.return_documents
    results = []
    for item in outcome.results:
        entry: dict[str, Any] = {
            "index": item.index,
            "relevance_score": item.probability,
            "raw_score": item.score,
        }
        shown = _shown(documents[item.index], wanted, version)
        if shown is not None:
            entry["document"] = shown
        if body.return_kept:
            entry["kept"] = _kept(item)
        results.append(entry)
    tokens = outcome.tokens.computed + outcome.tokens.cached
    return {
        "object": "list",
        "model": body.model or model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"api_version": {"version": str(version)}, "tokens": {"input_tokens": tokens}},
        "results": results,
        "failed": failed_entries(outcome.failed),
        "timings_ns": vars(outcome.timings),
        "tokens": vars(outcome.tokens),
    }


def texts_answer(body: TextsBody, outcome: Outcome) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """For clients of text-embeddings-inference: the ranks, and the headers it sends (in ms)."""
    ranks = []
    for item in outcome.results:
        rank: dict[str, Any] = {
            "index": item.index,
            "score": item.score if body.raw_scores else item.probability,
        }
        if body.return_text:
            rank["text"] = body.texts[item.index]
        ranks.append(rank)
    times = outcome.timings
    milliseconds = {
        "x-compute-time": times.total - times.queue,
        "x-total-time": times.total,
        "x-tokenization-time": times.inputs,
        "x-queue-time": times.queue,
        "x-inference-time": times.prefix + times.suffix,
    }
    headers = {name: str(value // 1_000_000) for name, value in milliseconds.items()}
    headers["x-compute-tokens"] = str(outcome.tokens.computed)
    headers["x-compute-characters"] = str(len(body.query) + sum(map(len, body.texts)))
    return ranks, headers


def _shown(document: Any, wanted: bool | None, version: int) -> Any:
    """A document to send back: all of it on request, of itself only what is text."""
    if wanted is False or (wanted is None and version > 1):
        return None
    if isinstance(document, str):
        return {"text": document}
    if wanted:
        return document
    has_text = isinstance(document, dict) and isinstance(document.get("text"), str)
    return {"text": document["text"]} if has_text else None


def _kept(item: Scored) -> list[dict[str, Any]]:
    """Of each video and image: frames, rows and columns of visual tokens, and those kept."""
    return [{"grid": list(visual.grid), "indices": visual.indices.tolist()} for visual in item.kept]
