"""What is written of traces, kept in memory: for tests of both transports."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from minireranker.serve.tracing import Traces


@dataclass
class Spans:
    """An observer, and the spans it has ended."""

    traces: Traces
    exporter: InMemorySpanExporter
    caller = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
    """A trace and a span of it."""

    @property
    def headers(self) -> dict[str, str]:
        """Which name it."""
        trace, span = self.caller
        return {"traceparent": f"00-{trace:032x}-{span:016x}-01", "tracestate": "vendor=own"}

    def requests(self) -> list[ReadableSpan]:
        """Spans of requests, those of their stages left out."""
        return [span for span in self.exporter.get_finished_spans() if span.name == "rerank"]

    def parents(self) -> list[tuple[int, int] | None]:
        """Trace and span of each request's parent."""
        above = [span.parent for span in self.requests()]
        return [parent and (parent.trace_id, parent.span_id) for parent in above]


@pytest.fixture
def spans() -> Spans:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(Traces(provider), exporter)
