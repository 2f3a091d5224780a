"""Server and engine are two processes: what one does when something happens to the other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from minireranker import Reranker
from minireranker.errors import ProfileError
from minireranker.serve.client import Client
from minireranker.serve.client_messages import Id
from minireranker.serve.engine_process import _portable
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import INFO, RERANK

from .serving_process import asking

TEXTS = [f"{colour} {shape}" for colour in ("red", "blue") for shape in ("circle", "square")]


def is_there(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


def until(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def test_an_engine_that_is_killed_ends_the_server_with_one(start: Any) -> None:
    server = start(round_documents=8, slice_documents=8, queue_documents=20_000)
    port = server.until("ready")["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [RERANK.stub(channel).future(asking(300)) for _ in range(20)]
        time.sleep(0.2)
        os.kill(server.engine, signal.SIGKILL)
        codes = {call.code() for call in calls}
    assert codes - {grpc.StatusCode.OK} == {grpc.StatusCode.UNAVAILABLE}
    assert server.end() == 1
    said = {line["event"] for line in server.lines if line["level"] == "critical"}
    assert said & {"the engine's process has ended", "no more rounds"}


def test_an_engine_that_is_killed_while_nobody_asks_is_noticed(start: Any) -> None:
    server = start()
    server.until("ready")
    os.kill(server.engine, signal.SIGKILL)
    assert server.end() == 1


def test_an_engine_does_not_outlive_a_server_that_was_killed(start: Any) -> None:
    server = start()
    server.until("ready")
    engine = server.engine
    assert is_there(engine)
    server.process.kill()
    until(lambda: not is_there(engine))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_for_both_is_the_servers_business(start: Any, number: int) -> None:
    """Ctrl-C in a shell and systemd send it to every process of the group."""
    server = start(round_documents=8, slice_documents=8, grace_seconds=300.0)
    port = server.until("ready")["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [RERANK.stub(channel).future(asking(100)) for _ in range(9)]
        until(lambda: INFO.stub(channel)(pb.InfoRequest()).waiting_documents > 0)
        os.killpg(server.process.pid, number)
        codes = [call.code() for call in calls]
    assert server.end() == 0
    assert server.lines[-1]["finished"] is True
    assert {grpc.StatusCode.OK} <= set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_an_engine_that_is_killed_while_the_server_leaves_is_no_success(start: Any) -> None:
    server = start(round_documents=8, slice_documents=8, queue_documents=20_000)
    port = server.until("ready")["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [RERANK.stub(channel).future(asking(300)) for _ in range(20)]
        until(lambda: INFO.stub(channel)(pb.InfoRequest()).waiting_documents > 1_000)
        server.process.send_signal(signal.SIGTERM)
        server.until("leaving")
        os.kill(server.engine, signal.SIGKILL)
        assert grpc.StatusCode.UNAVAILABLE in {call.code() for call in calls}
    assert server.end() == 1


def test_what_was_read_is_on_the_disk_when_the_server_has_left(start: Any, tmp_path: Path) -> None:
    for times in range(2):
        server = start(cache=tmp_path)
        with Client(f"127.0.0.1:{server.until('ready')['grpc_port']}") as client:
            if not times:
                client.index([{"id": name, "text": name} for name in TEXTS])
            else:
                found = client.rank("a red circle", list(map(Id, TEXTS)))
                assert {hit.id for hit in found.results} == set(TEXTS)
                assert found.tokens.cached > 0
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0


def test_scores_errors_and_figures_come_from_the_other_process(
    start: Any, builtin: Reranker
) -> None:
    ready = start(http_port=0).until("ready")
    with Client(f"127.0.0.1:{ready['grpc_port']}") as client:
        documents = [*TEXTS, Id("nobody"), b"no picture"]
        found = client.rank("a red circle", documents)
    scores = {hit.index: np.float32(hit.score) for hit in found.results}
    assert scores == dict(enumerate(builtin.score(["a red circle"], TEXTS)[0]))
    assert [one.index for one in found.failed] == [4, 5]
    assert "nobody" in str(found.failed[0].error)
    with httpx.Client(base_url=f"http://127.0.0.1:{ready['http_port']}", trust_env=False) as http:
        figures = http.get("/metrics").text
        assert 'minireranker_cache_misses_total{tier="memory"} 0.0' not in figures
        long = {"query": "red", "documents": ["word " * 500], "max_tokens_per_doc": 5}
        short = {"query": "red", "documents": ["word " * 5]}
        answers = [http.post("/v1/rerank", json=body).json() for body in (long, short)]
    usage = [answer["usage"]["total_tokens"] for answer in answers]
    assert abs(usage[0] - usage[1]) <= 2, "cut by the server, before the engine"


@pytest.mark.parametrize(
    ("config", "words"),
    [({"model": "nowhere"}, "CheckpointError"), ({"profile": "nobody"}, "UnknownProfileError")],
)
def test_what_cannot_be_loaded_is_raised_where_it_was_asked_for(
    start: Any, config: dict[str, Any], words: str
) -> None:
    server = start(**config)
    said = server.process.communicate(timeout=300)[1]
    assert server.process.returncode == 1
    assert words in said.splitlines()[-1]


def test_an_engine_that_is_killed_while_it_loads_ends_the_server_with_one(start: Any) -> None:
    server = start()
    until(lambda: server.engines != [])
    os.kill(server.engine, signal.SIGKILL)
    assert server.end() == 1
    assert "while it loaded" in server.lines[-1]["event"]


def test_a_second_signal_does_not_wait_for_the_round(start: Any) -> None:
    server = start(grace_seconds=300.0, round_documents=2_000, queue_documents=20_000)
    port = server.until("ready")["grpc_port"]
    engine = server.engine
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [RERANK.stub(channel).future(asking(900)) for _ in range(20)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        server.until("leaving")
        server.process.send_signal(signal.SIGINT)
        assert server.end() == -signal.SIGINT
        assert grpc.StatusCode.UNAVAILABLE in {call.code() for call in calls}
    until(lambda: not is_there(engine))


def test_what_was_told_to_be_kept_is_kept_where_grace_was_too_short(
    start: Any, tmp_path: Path
) -> None:
    names = [f"{text} {number}" for text in TEXTS for number in range(100)]
    server = start(cache=tmp_path, grace_seconds=0.0, queue_documents=20_000)
    port = server.until("ready")["grpc_port"]
    with Client(f"127.0.0.1:{port}") as client, grpc.insecure_channel(f"127.0.0.1:{port}") as other:
        client.index([{"id": name, "text": name} for name in names])
        calls = [RERANK.stub(other).future(asking(900)) for _ in range(20)]
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 1
        assert grpc.StatusCode.UNAVAILABLE in {call.code() for call in calls}
    again = start(cache=tmp_path)
    with Client(f"127.0.0.1:{again.until('ready')['grpc_port']}") as client:
        assert not client.rank("a red circle", list(map(Id, names))).failed


class UnportableError(Exception):
    """Cannot be made from its words."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def test_errors_that_cannot_travel_are_told_by_one_that_can() -> None:
    for error, kind in ((UnportableError(1, 2), RuntimeError), (ProfileError("a", 1, "b"), None)):
        try:
            raise error
        except Exception as raised:
            found = _portable(raised)
        assert type(found) is (kind or type(error))
        assert "1" in str(found)
        frames = found.elsewhere[0]["frames"]
        assert "test_errors_that_cannot_travel" in frames[0]
