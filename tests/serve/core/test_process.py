"""The process itself: ports, readiness, and SIGTERM under load."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from minireranker import Reranker
from minireranker.serve.client import Client
from minireranker.serve.client_messages import Id
from minireranker.serve.client_options import ClientOptions
from minireranker.serve.config import ServeConfig
from minireranker.serve.engine import in_thread
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import INFO, RERANK
from minireranker.serve.process import Sidecar
from minireranker.serve.retrying import Retries

from .serving_process import asking


def test_a_signal_under_load_ends_it_with_zero_and_everybody_answered(
    start: Any, builtin: Reranker, tmp_path: Path
) -> None:
    server = start(
        round_documents=8, slice_documents=8, cache=tmp_path, grace_seconds=300.0, http_port=0
    )
    port = server.until("ready")["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = RERANK.stub(channel)
        calls = [stub.future(asking(20, f"circle {number}")) for number in range(30)]
        while INFO.stub(channel)(pb.InfoRequest()).waiting_documents < 200:
            pass
        server.process.send_signal(signal.SIGTERM)
        server.until("leaving")
        codes = [call.code() for call in calls]
        answers = [call.result() for call in calls if call.code() is grpc.StatusCode.OK]
    assert server.end() == 0
    assert server.lines[-1]["event"] == "left"
    assert server.lines[-1]["finished"] is True
    # Whoever had not been admitted by then was told to go elsewhere; nobody's answer was lost.
    leaving = next(line for line in server.lines if line["event"] == "leaving")
    assert len(answers) * 20 >= leaving["waiting"] > 0
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert all(len(answer.results) == 20 for answer in answers)


def test_grace_that_is_too_short_is_an_exit_code(run: Any, builtin: Reranker) -> None:
    async def serve() -> Any:
        config = ServeConfig(
            model="builtin", grpc_port=0, grace_seconds=0.0, round_documents=1, slice_documents=1
        )
        sidecar = Sidecar(config, in_thread(builtin))
        ended = asyncio.ensure_future(sidecar.run())
        while not sidecar.service.ready():
            await asyncio.sleep(0.01)
        assert sidecar.grpc is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
            calls = [RERANK.stub(channel)(asking(400, f"n {number}")) for number in range(2)]
            while not sidecar.service.info().waiting:
                await asyncio.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            return {await call.code() for call in calls}, await ended

    assert run(serve()) == ({grpc.StatusCode.UNAVAILABLE}, 1)


def test_a_client_loses_nothing_when_its_server_is_killed_and_comes_back(
    start: Any, builtin: Reranker, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = start(grpc_port=port, round_documents=4, slice_documents=4, cache=tmp_path)
    first.until("ready")
    texts = [f"circle {number}" for number in range(40)]
    options = ClientOptions(timeout=None, retries=Retries(attempts=1_000))
    with Client(f"127.0.0.1:{port}", options) as client, ThreadPoolExecutor(8) as pool:
        client.index([{"id": "kept", "text": "a blue square"}])
        calls = [pool.submit(client.rank, f"query {number}", texts) for number in range(40)]
        calls[0].result()
        first.process.kill()
        first.process.wait()
        start(grpc_port=port, cache=tmp_path).until("ready")
        answers = [call.result() for call in calls]
        kept = client.rank("blue", [Id("kept")])
    assert [hit.id for hit in kept.results] == ["kept"]
    assert kept.tokens.cached > 0
    expected = builtin.score([f"query {number}" for number in range(40)], texts)
    for row, outcome in zip(expected, answers, strict=True):
        assert {hit.index: np.float32(hit.score) for hit in outcome.results} == dict(enumerate(row))
