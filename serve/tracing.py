"""OpenTelemetry: one span a request, one a stage below it; nothing unless an endpoint is given.

A span holds counts, codes and times. It never holds a text, an image or a name of a document.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from minireranker.errors import MissingDependencyError

from .jobs import Answer, Job
from .observer import Silent

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["Traces", "otlp_provider", "remember_caller"]

_STAGES = ("queue", "inputs", "prefix", "suffix")

_EXPORT_SECONDS = 2.0
"""For a batch of spans to be taken, retries included: a collector that is gone delays no exit."""

_HEADERS = ("traceparent", "tracestate")
"""Of https://www.w3.org/TR/trace-context/."""

_caller: ContextVar[Mapping[str, str]] = ContextVar("caller", default=MappingProxyType({}))


def remember_caller(headers: Mapping[str, Any]) -> None:
    """For transports: spans of the call being served lie below the one these headers name, if any.

    ``headers``: or metadata of gRPC, names in lower case.
    """
    _caller.set({name: str(headers[name]) for name in _HEADERS if name in headers})


class Traces(Silent):
    """The ``Observer`` that writes spans.

    A request's span begins when it is queued, below its caller's (see ``remember_caller``), or else
    whatever span is current there. Those of its stages follow one another in it: stages of several
    rounds are shown added up.
    """

    def __init__(self, provider: TracerProvider) -> None:
        """``provider``: where spans go."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._propagator = TraceContextTextMapPropagator()
        self._tracer: Tracer = provider.get_tracer("minireranker.serve")
        self._open: dict[int, tuple[Span, int]] = {}

    def job_queued(self, job: Job) -> None:
        """See Observer."""
        from opentelemetry.context import get_current

        start = time.time_ns()
        attributes: dict[str, Any] = {
            "minireranker.documents": len(job.documents),
            "minireranker.queries": len(job.queries),
            "minireranker.request_id": job.request_id,
        }
        above = self._propagator.extract(_caller.get(), get_current())
        span = self._tracer.start_span(job.kind, above, start_time=start, attributes=attributes)
        self._open[id(job)] = span, start

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        """See Observer."""
        span, start = self._open.pop(id(job))
        span.set_attribute("rpc.grpc.status", code)
        if answer is None:
            from opentelemetry.trace import Status, StatusCode

            span.set_status(Status(StatusCode.ERROR, code))
        else:
            span.set_attribute("minireranker.tokens.computed", answer.tokens.computed)
            span.set_attribute("minireranker.failed", len(answer.failed))
            self._stages(span, start, answer)
        span.end()

    def _stages(self, parent: Span, start: int, answer: Answer) -> None:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        for stage in _STAGES:
            end = start + getattr(answer.timings, stage)
            self._tracer.start_span(stage, context, start_time=start).end(end)
            start = end


def otlp_provider(endpoint: str) -> TracerProvider:
    """Sends spans in batches over OTLP/HTTP to an endpoint, ``http://host:4318/v1/traces`` say.

    Raises MissingDependencyError without the packages of the extra ``otel``.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependencyError(
            "tracing needs OpenTelemetry: pip install 'minireranker[otel]'"
        ) from error
    provider = Provider(resource=Resource.create({"service.name": "minireranker"}))
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    # Of each retry a warning: for days, should the collector be gone for days.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    return provider
