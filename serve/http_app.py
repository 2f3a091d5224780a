"""The HTTP face: routes, each a few lines over ``http_calls``, behind the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from minireranker import __version__
from minireranker.errors import MinirerankerError

from .config import ServeConfig
from .failures import Failure, failure_of
from .http_answers import error_answer, failed_entries, json_answer, rerank_answer, texts_answer
from .http_bodies import Bodies, BodyError, checked
from .http_calls import Calls, ClientGoneError
from .http_docs import add_docs
from .http_gate import Gate
from .http_info import info_answer, models_answer
from .http_models import RerankBody, TextsBody
from .http_page import add_page
from .jobs import Outcome
from .logs import request_id
from .metrics import Metrics
from .seams import Authenticator, MediaReader
from .service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Parts", "http_app"]

_PROBES = ("/health", "/ready")


@dataclass(frozen=True)
class Parts:
    """What the HTTP face stands on."""

    service: Service
    config: ServeConfig
    auth: Authenticator
    media: MediaReader
    metrics: Metrics
    cut_text: Callable[[str, int], str]
    """The beginning of a text that has so many tokens: ``TextTokenizer.cut_text``."""


def http_app(parts: Parts) -> ASGIApp:
    """The ASGI application. Needs the extra ``http``."""
    app = FastAPI(
        title="minireranker",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    _Routes(parts).add(app)
    free = [*_PROBES]
    if parts.config.docs:
        free += add_docs(app)
    if parts.config.page:
        free += add_page(app)
    app.add_exception_handler(MinirerankerError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    for gone in (ClientGoneError, ClientDisconnect):
        app.add_exception_handler(gone, _on_gone)
    app.add_exception_handler(Exception, _on_error)
    return Gate(app, parts.auth, parts.metrics, free=free)


class _Routes:
    """Handlers of one application."""

    def __init__(self, parts: Parts) -> None:
        self._service, self._metrics = parts.service, parts.metrics
        self._bodies = Bodies(parts.config)
        self._calls = Calls(parts.service, parts.media, parts.config, parts.cut_text)

    def add(self, app: FastAPI) -> None:
        """Register all of them; their docstrings are what ``/docs`` says."""
        routes: tuple[tuple[str, str, Callable[..., Any]], ...] = (
            ("POST", "/v1/rerank", self.rerank_v1),
            ("POST", "/v2/rerank", self.rerank_v2),
            ("POST", "/rerank", self.rerank),
            ("GET", "/health", self.health),
            ("GET", "/ready", self.ready),
            ("GET", "/metrics", self.metrics),
            ("GET", "/info", self.info),
            ("GET", "/v1/models", self.models),
        )
        for method, path, handler in routes:
            app.add_api_route(path, handler, methods=[method], response_class=Response)

    async def rerank_v1(self, request: Request) -> Response:
        """Rank documents for a query, as clients of Cohere (v1), Jina and vLLM ask."""
        async with self._bodies.json(request) as fields:
            return await self._documents(request, fields, 1)

    async def rerank_v2(self, request: Request) -> Response:
        """Rank documents for a query, as clients of Cohere (v2) ask: none is sent back."""
        async with self._bodies.json(request) as fields:
            return await self._documents(request, fields, 2)

    async def rerank(self, request: Request) -> Response:
        """With texts, as clients of text-embeddings-inference ask; else as /v1/rerank."""
        async with self._bodies.json(request) as fields:
            if "texts" in fields and "documents" not in fields:
                return await self._texts(request, fields)
            return await self._documents(request, fields, 1)

    async def health(self) -> Response:
        """Whether the process answers: for liveness probes."""
        return json_answer({"status": "ok"})

    async def ready(self) -> Response:
        """Whether calls are taken: after the warm-up, before the end. For readiness probes."""
        is_ready = self._service.ready()
        return json_answer({"ready": is_ready}, 200 if is_ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus; not for a tenant that may not know what is in the cache."""
        self._service.check_figures(request.scope["tenant"])
        text, kind = self._metrics.exposition(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind})

    async def info(self, request: Request) -> Response:
        """Model and limits, under our names and those of text-embeddings-inference."""
        return json_answer(info_answer(self._service.info(request.scope["tenant"])))

    async def models(self) -> Response:
        """The one model, as clients of OpenAI's and vLLM's API list them."""
        return json_answer(models_answer(self._service.info()))

    async def _documents(self, request: Request, fields: dict[str, Any], version: int) -> Response:
        body = checked(RerankBody, fields)
        documents, outcome = await self._calls.rerank(request, body)
        if not outcome.results:
            return _all_failed(outcome)
        model = self._service.info().model
        answer = rerank_answer(body, documents, outcome, model, version)
        return json_answer({"id": request_id.get(), **answer})

    async def _texts(self, request: Request, fields: dict[str, Any]) -> Response:
        body = checked(TextsBody, fields)
        outcome = await self._calls.texts(request, body)
        # A list of ranks has no room for what failed, and must not be silent about it.
        if outcome.failed:
            return _all_failed(outcome)
        ranks, headers = texts_answer(body, outcome)
        return json_answer(ranks, headers=headers)


def _all_failed(outcome: Outcome) -> Response:
    """No rank at all: the first document's error is the call's."""
    first = outcome.failed[0]
    failure = failure_of(first.error)
    told = Failure(failure.code, failure.status, f"document {first.index}: {failure.message}")
    return error_answer(told, request_id.get(), failed_entries(outcome.failed))


async def _on_error(request: Request, error: Exception) -> Response:
    failure = failure_of(error)
    if isinstance(error, BodyError):
        failure = Failure(failure.code, error.status, failure.message)
    return error_answer(failure, request_id.get())


async def _on_gone(request: Request, error: Exception) -> Response:
    """Nobody reads it; it is what is counted and logged."""
    return Response(status_code=499)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(error, HTTPException), "registered for it"
    words = f"{error.detail}: see /docs" if error.status_code < 500 else "internal error"
    answer = error_answer(Failure("UNIMPLEMENTED", error.status_code, words), request_id.get())
    answer.headers.update(error.headers or {})
    return answer
