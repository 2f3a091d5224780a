"""A caller's trace goes on in the spans of the calls it makes over gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from minireranker import Reranker
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import RERANK, RERANK_BATCH


def asking() -> pb.RerankRequest:
    document = pb.Document(content=pb.Content(texts=["a red circle"]))
    return pb.RerankRequest(query=pb.Content(texts=["red"]), documents=[document])


def test_spans_lie_below_the_callers_and_of_one_trace_of_several_calls_none_leaks(
    run: Any, builtin: Reranker, grpc_serving: Any, spans: Any
) -> None:
    async def ask() -> None:
        async with grpc_serving(builtin, spans.traces) as channel:
            below = tuple(spans.headers.items())
            await RERANK.stub(channel)(asking(), metadata=below)
            await RERANK.stub(channel)(asking())
            batch = RERANK_BATCH.stub(channel)(metadata=below)
            await batch.write(pb.RerankBatchRequest(request=asking()))
            await batch.read()
            await batch.done_writing()

    run(ask())
    assert spans.parents() == [spans.caller, None, spans.caller]
    first, *_ = spans.requests()
    assert first.context.trace_id == spans.caller[0]
    assert first.context.trace_state.to_header() == spans.headers["tracestate"]


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "given",
    ["", "junk", PARENT.upper(), PARENT[:-3], "00-" + "0" * 32 + PARENT[35:], "ff" + PARENT[2:]],
)
def test_what_is_no_traceparent_is_left_out(
    run: Any, builtin: Reranker, grpc_serving: Any, spans: Any, given: str
) -> None:
    async def ask() -> None:
        async with grpc_serving(builtin, spans.traces) as channel:
            await RERANK.stub(channel)(asking(), metadata=(("traceparent", given),))

    run(ask())
    assert spans.parents() == [None]
