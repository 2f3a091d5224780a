"""A caller's trace goes on in the spans of the calls it makes over gRPC."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from minireranker import Reranker
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import RERANK, RERANK_BATCH
from minireranker.serve.tracing import Traces

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"


@pytest.fixture
def spans() -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


def asking() -> pb.RerankRequest:
    document = pb.Document(content=pb.Content(texts=["a red circle"]))
    return pb.RerankRequest(query=pb.Content(texts=["red"]), documents=[document])


def parents(exporter: InMemorySpanExporter) -> list[tuple[int, int] | None]:
    """Of each request's span, those of its stages left out."""
    found: list[ReadableSpan] = [
        span for span in exporter.get_finished_spans() if span.name == "rerank"
    ]
    return [span.parent and (span.parent.trace_id, span.parent.span_id) for span in found]


def test_spans_lie_below_the_callers_and_of_one_trace_of_several_calls_none_leaks(
    run: Any, builtin: Reranker, grpc_serving: Any, spans: Any
) -> None:
    traces, exporter = spans
    state = "vendor=its-own"

    async def ask() -> None:
        async with grpc_serving(builtin, traces) as channel:
            below = (("traceparent", PARENT), ("tracestate", state))
            await RERANK.stub(channel)(asking(), metadata=below)
            await RERANK.stub(channel)(asking())
            batch = RERANK_BATCH.stub(channel)(metadata=below)
            await batch.write(pb.RerankBatchRequest(request=asking()))
            await batch.read()
            await batch.done_writing()

    run(ask())
    assert parents(exporter) == [(TRACE, SPAN), None, (TRACE, SPAN)]
    first, *_ = (span for span in exporter.get_finished_spans() if span.name == "rerank")
    assert first.context.trace_id == TRACE
    assert first.context.trace_state.to_header() == state


@pytest.mark.parametrize(
    "given",
    ["", "junk", PARENT.upper(), PARENT[:-3], "00-" + "0" * 32 + PARENT[35:], "ff" + PARENT[2:]],
)
def test_what_is_no_traceparent_is_left_out(
    run: Any, builtin: Reranker, grpc_serving: Any, spans: Any, given: str
) -> None:
    traces, exporter = spans

    async def ask() -> None:
        async with grpc_serving(builtin, traces) as channel:
            await RERANK.stub(channel)(asking(), metadata=(("traceparent", given),))

    run(ask())
    assert parents(exporter) == [None]
