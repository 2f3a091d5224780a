"""What is told of requests: log lines, figures, spans. Never what was in them."""

import asyncio
import importlib.util
import io
import json
import logging
import time

import pytest

from minireranker.errors import InputError, MissingDependencyError
from minireranker.serve.jobs import Job, Outcome, Timings, Tokens
from minireranker.serve.logs import JsonLines, request_id
from minireranker.serve.tracing import otlp_provider

SECRET = "what-the-client-wrote"


@pytest.fixture
def lines():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("minireranker.test-lines")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


class TestLogs:
    def test_a_line_is_json_with_the_request_and_extras(self, lines):
        logger, read = lines
        token = request_id.set("abc")
        logger.warning("odd %s", "thing\n", extra={"status": 7})
        request_id.reset(token)
        logger.warning("later")
        first, second = read()
        assert first | {"time": ""} == {
            "time": "",
            "level": "warning",
            "logger": "minireranker.test-lines",
            "event": "odd thing\n",
            "request_id": "abc",
            "status": 7,
        }
        assert "request_id" not in second

    def test_an_exception_is_its_type_and_place_without_its_words(self, lines):
        logger, read = lines
        try:
            try:
                raise KeyError(SECRET)
            except KeyError as error:
                raise InputError(SECRET) from error
        except InputError:
            logger.exception("error 5")
        (line,) = read()
        assert [entry["type"] for entry in line["error"]] == ["InputError", "KeyError"]
        assert "test_observing.py" in line["error"][0]["frames"][0]
        assert SECRET not in json.dumps(line)

    def test_an_http_request_leaves_one_line_without_its_content(self, client, caplog):
        with caplog.at_level(logging.INFO, "minireranker.serve"):
            body = {"query": SECRET, "documents": [SECRET, {"image": SECRET}]}
            client.post("/v1/rerank?q=" + SECRET, json=body, headers={"X-Request-Id": "mine"})
            client.get("/" + SECRET)
        found = [record for record in caplog.records if record.msg == "http"]
        shown = [(record.method, record.route, record.status) for record in found]
        assert shown == [("POST", "/v1/rerank", 200), ("GET", "other", 404)]
        assert SECRET not in "".join(JsonLines().format(record) for record in caplog.records)

    def test_the_id_of_a_request_comes_back(self, client):
        answer = client.post(
            "/v1/rerank",
            json={"query": "q", "documents": ["d"]},
            headers={"X-Request-Id": "mine-1"},
        )
        assert answer.headers["x-request-id"] == answer.json()["id"] == "mine-1"
        given = client.get("/health", headers={"X-Request-Id": "not good"})
        assert len(given.headers["x-request-id"]) == 32


def samples(client):
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


class TestMetrics:
    def test_requests_documents_and_stages_are_counted(self, serve):
        server = serve()
        with server.client() as client:
            client.post("/v1/rerank", json={"query": "q", "documents": ["a", "b", {"image": "%"}]})
            client.post("/v1/rerank", json={"query": "", "documents": ["a"]})
            client.post("/v1/rerank", json={"query": "q", "documents": ["a"] * 1_001})
            client.get("/" + SECRET)
            found = samples(client)
        expected = {
            'minireranker_requests_total{code="OK",kind="rerank"}': 1,
            'minireranker_requests_total{code="INVALID_ARGUMENT",kind="rerank"}': 1,
            'minireranker_documents_total{kind="rerank",outcome="ok"}': 2,
            'minireranker_documents_total{kind="rerank",outcome="failed"}': 1,
            'minireranker_request_seconds_count{kind="rerank",stage="prefix"}': 1,
            'minireranker_http_requests_total{route="/v1/rerank",status="400"}': 2,
            'minireranker_http_requests_total{route="other",status="404"}': 1,
            "minireranker_queue_documents": 0,
            "minireranker_requests_running": 0,
        }
        assert {name: float(found[name]) for name in expected} == expected
        assert float(found['minireranker_tokens_total{source="computed"}']) > 0
        assert 'minireranker_cache_hits_total{tier="memory"}' in found
        assert 'minireranker_cache_bytes{tier="memory"}' in found
        assert not any(SECRET in name for name in found)

    def test_either_format_is_served(self, client):
        plain = client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        strict = client.get("/metrics", headers=accept)
        assert strict.headers["content-type"].startswith("application/openmetrics-text")
        assert strict.text.endswith("# EOF\n")


class TestTraces:
    def test_one_span_a_stage_below_one_a_request(self, spans):
        job = Job("rerank", (SECRET, SECRET), (SECRET,), request_id="r")
        spans.traces.job_queued(job)
        times = Timings(queue=1_000, inputs=2_000, prefix=3_000, suffix=4_000, total=10_000)
        time.sleep(1e-4)
        spans.traces.job_done(job, "OK", Outcome((), (), times, Tokens(5, 6)))
        *stages, whole = spans.exporter.get_finished_spans()
        assert [span.name for span in stages] == ["queue", "inputs", "prefix", "suffix"]
        lengths = [span.end_time - span.start_time for span in stages]
        assert lengths == [1_000, 2_000, 3_000, 4_000]
        assert {span.parent.span_id for span in stages} == {whole.context.span_id}
        starts = [span.start_time for span in stages]
        assert starts == [whole.start_time, *(span.end_time for span in stages[:-1])]
        assert whole.attributes["minireranker.tokens.computed"] == 5
        assert SECRET not in "".join(span.to_json() for span in [*stages, whole])

    def test_a_request_that_fails_says_with_what(self, spans):
        job = Job("rerank", ("d",), ("q",))
        spans.traces.job_queued(job)
        spans.traces.job_done(job, "DEADLINE_EXCEEDED", None)
        (span,) = spans.exporter.get_finished_spans()
        assert span.attributes["rpc.grpc.status"] == "DEADLINE_EXCEEDED"
        assert not span.status.is_ok

    def test_without_a_callers_span_the_current_one_is_above(self, spans):
        from opentelemetry.sdk.trace import TracerProvider

        job = Job("rerank", ("d",), ("q",))
        with TracerProvider().get_tracer("app").start_as_current_span("around") as around:
            spans.traces.job_queued(job)
            spans.traces.job_done(job, "CANCELLED", None)
        above = around.get_span_context()
        assert spans.parents() == [(above.trace_id, above.span_id)]

    def test_without_the_exporter_the_extra_is_named(self):
        name = "opentelemetry.exporter"
        if importlib.util.find_spec(name) and importlib.util.find_spec(f"{name}.otlp"):
            otlp_provider("http://127.0.0.1:1/v1/traces").shutdown()
        else:
            with pytest.raises(MissingDependencyError, match="otel"):
                otlp_provider("http://127.0.0.1:1/v1/traces")


def test_a_client_that_leaves_is_not_computed_for(serve):
    server = serve()
    import socket

    documents = [f"document {number} " * 200 for number in range(800)]
    body = json.dumps({"query": "q", "documents": documents}).encode()
    head = (
        b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", server.server.port)) as connection:
        connection.sendall(head + body)
        end = time.monotonic() + 20
        while server.run(waiting(server)) == 0 and time.monotonic() < end:
            time.sleep(0.005)
    name = 'minireranker_requests_total{code="CANCELLED",kind="rerank"}'
    with server.client() as client:
        while name not in samples(client) and time.monotonic() < end:
            time.sleep(0.02)
        assert float(samples(client)[name]) == 1
    assert server.run(waiting(server)) == 0


async def waiting(server):
    await asyncio.sleep(0)
    return server.service.info().waiting


def test_a_deadline_of_the_clients_is_kept(client):
    documents = ["a long document " * 200 + str(number) for number in range(300)]
    answer = client.post(
        "/v1/rerank",
        json={"query": "q", "documents": documents},
        headers={"X-Request-Timeout": "0.02"},
    )
    assert answer.status_code == 504
    assert answer.json()["code"] == "DEADLINE_EXCEEDED"
