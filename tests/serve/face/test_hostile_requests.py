"""No hostile request gets a 500, hangs, reads what it should not, or learns what it should not."""

import logging
import re
import socket
import time

import pytest

from . import hostile
from .hostile_files import FILES
from .hostile_request import JSON, inline
from .hostile_sources import source_cases
from .hostile_texts import CONTROL
from .hostile_wire import MAY_BE_SILENT, ONE_ANSWER, RAW

CASES = list(hostile.all_cases())
LEAKS = re.compile(
    rb"Traceback|site-packages|/usr/|\.py\b|0x[0-9a-f]{6,}|PIL|av\.|root:x:|Errno|ffmpeg|UnicodeDec",
    re.IGNORECASE,
)


class Errors(logging.Handler):
    """Collects what should never have been logged."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


@pytest.fixture(scope="module")
def errors():
    handler = Errors()
    logging.getLogger().addHandler(handler)
    yield handler.seen
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def open_client(serve, tmp_path_factory):
    """Of a server that fetches from anywhere public and reads an empty folder."""
    folder = tmp_path_factory.mktemp("served")
    server = serve(url_hosts=("*",), url_seconds=2.0, path_roots=(folder,))
    with server.client() as client:
        yield client


def test_there_are_enough_cases():
    assert len(CASES) >= 300
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


def check(client, case):
    headers = {name: value.encode("latin-1") for name, value in case.headers.items()}
    answer = client.post(case.path, content=case.body, headers=headers)
    assert answer.status_code in case.statuses, answer.text[:500]
    assert not LEAKS.search(answer.content.replace(b"/docs", b"")), answer.text[:500]
    if answer.status_code != 200:
        found = answer.json()
        assert found["message"] == found["error"] == found["detail"]
        assert len(found["message"]) < 500


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_request_is_answered_as_it_should_be(client, errors, case):
    check(client, case)
    assert errors == []


@pytest.mark.parametrize("case", list(source_cases()), ids=lambda case: case.name)
def test_a_server_that_fetches_and_reads_refuses_it_too(open_client, errors, case):
    check(open_client, case)
    assert errors == []


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_leaves_its_neighbours_ranked(client, name):
    documents = ["a", {"image": inline(FILES[name])}, "b"]
    answer = client.post("/v1/rerank", json={"query": "q", "documents": documents})
    assert [entry["index"] for entry in answer.json()["failed"]] == [1]
    assert sorted(hit["index"] for hit in answer.json()["results"]) == [0, 2]


@pytest.mark.parametrize("text", CONTROL[:8])
def test_control_tokens_are_scored_as_the_text_they_are(client, reranker, text):
    answer = client.post("/v1/rerank", json={"query": "q", "documents": [text]})
    (expected,) = reranker.rank("q", [text])
    assert answer.json()["results"][0]["raw_score"] == expected.score


def exchange(port, data, seconds=10.0):
    """What the server says before it closes the connection, or has said all."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        is_upgrade = b"Upgrade" in data
        close = b"Host: x\r\n" if is_upgrade else b"Host: x\r\nConnection: close\r\n"
        connection.sendall(data.replace(b"Host: x\r\n", close))
        connection.settimeout(1.0 if is_upgrade else seconds)
        answer, end = b"", time.monotonic() + seconds
        try:
            while time.monotonic() < end and (part := connection.recv(65_536)):
                answer += part
        except (TimeoutError, ConnectionError):
            pass
        return answer


@pytest.mark.parametrize("name", RAW)
def test_what_is_hardly_http_is_refused(running, errors, name):
    data, status = RAW[name]
    answer = exchange(running.server.port, data)
    assert re.match(rb"HTTP/1.1 (%s) |$" % status, answer), answer
    assert answer or name in MAY_BE_SILENT
    assert errors == []


@pytest.mark.parametrize("name", ONE_ANSWER)
def test_one_request_gets_one_answer(running, errors, name):
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as connection:
        # The last one is ours, and ends the connection if it is still there.
        last = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(ONE_ANSWER[name] + last)
        answer = b""
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionError:
            pass
    assert b"minireranker_" not in answer
    bodies = re.findall(rb"\r\n\r\n(\{[^\r]*\})", answer)
    assert bodies[1:] in ([b'{"ready":true}'], []), answer
    assert bodies[1:] or name == "a-request-after-two-lengths"
    assert errors == []


@pytest.fixture(scope="module")
def hasty(serve):
    return serve(request_seconds=0.3, message_bytes=2_048)


class TestPatience:
    def closed_after(self, port, first, drip):
        """Seconds until the server hangs up on a client that sends a byte now and then."""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(first)
            connection.settimeout(0.05)
            start, answer = time.monotonic(), b""
            while time.monotonic() < start + 10:
                try:
                    connection.sendall(drip)
                    part = connection.recv(65_536)
                    if not part:
                        return answer
                    answer += part
                except TimeoutError:
                    continue
                except ConnectionError:
                    return answer
        raise AssertionError("the server still listens")

    def test_headers_that_drip_are_hung_up_on(self, hasty):
        head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
        assert self.closed_after(hasty.server.port, head, b"X: y\r\n") == b""

    def test_silence_is_hung_up_on(self, hasty):
        assert self.closed_after(hasty.server.port, b"", b"") == b""

    def test_a_body_that_drips_is_answered_and_hung_up_on(self, hasty):
        head = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = self.closed_after(hasty.server.port, head + b"Content-Length: 2000\r\n\r\n", b" ")
        assert answer.startswith(b"HTTP/1.1 408")

    def test_a_body_nobody_asked_for_is_hung_up_on(self, hasty):
        head = b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        answer = self.closed_after(hasty.server.port, head, b" ")
        assert answer.startswith(b"HTTP/1.1 200")

    def test_a_body_over_the_limit_is_refused_however_it_comes(self, hasty):
        with hasty.client() as client:
            text = b'{"query": "' + b"x" * 2_048
            assert client.post("/rerank", content=text, headers=JSON).status_code == 413
            parts = (text[at : at + 64] for at in range(0, len(text), 64))
            assert client.post("/rerank", content=parts, headers=JSON).status_code == 413


def test_after_all_that_it_ranks_as_before(client, reranker):
    answer = client.post("/v1/rerank", json={"query": "q", "documents": ["a", "b"]})
    expected = [hit.score for hit in reranker.rank("q", ["a", "b"])]
    assert [hit["raw_score"] for hit in answer.json()["results"]] == expected
