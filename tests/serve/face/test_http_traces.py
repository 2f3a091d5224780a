"""A caller's trace goes on in the spans of the requests it sends over HTTP."""

DOCUMENTS = {"query": "red", "documents": ["a red circle"]}
TEXTS = {"query": "red", "texts": ["a red circle"]}


def test_spans_lie_below_the_callers_and_of_one_connections_requests_none_leaks(serve, spans):
    with serve(spans.traces).client() as client:
        for path, body in (("/v1/rerank", DOCUMENTS), ("/rerank", TEXTS)):
            for headers in (spans.headers, {}, {"traceparent": "junk"}):
                client.post(path, json=body, headers=headers).raise_for_status()
    assert spans.parents() == [spans.caller, None, None] * 2
    first, *_ = spans.requests()
    assert first.context.trace_id == spans.caller[0]
    assert first.context.trace_state.to_header() == spans.headers["tracestate"]
