"""Faults of our own: nobody is left waiting, the process ends so that another one can begin."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest

from minireranker import Reranker
from minireranker.serve.config import ServeConfig
from minireranker.serve.engine import in_thread
from minireranker.serve.generated import reranker_pb2 as pb
from minireranker.serve.grpc_methods import RERANK
from minireranker.serve.process import Sidecar
from minireranker.serve.refusals import NotReadyError


def broken() -> None:
    raise ArithmeticError("an observer that should not have raised")


def test_a_fault_between_rounds_ends_every_call_and_the_service(
    run: Any,
    builtin: Reranker,
    serving: Any,
    recorder: Any,
    rerank: Any,
    texts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder.on_round = broken

    async def ask() -> Any:
        async with serving(builtin, recorder, round_documents=5, slice_documents=5) as service:
            jobs = (service.rerank(rerank(texts)) for _ in range(4))
            answers = await asyncio.gather(*jobs, return_exceptions=True)
            with pytest.raises(NotReadyError):
                await service.rerank(rerank(texts))
            return answers, service.broken.is_set(), service.info().waiting

    answers, is_broken, waiting = run(ask())
    assert [type(one) for one in answers] == [ArithmeticError] * 4
    assert (is_broken, waiting) == (True, 0)
    assert [record.message for record in caplog.records] == ["no more rounds"]


def test_a_process_that_cannot_go_on_ends_with_one(run: Any, builtin: Reranker) -> None:
    request = pb.RerankRequest(
        query=pb.Content(texts=["red"]), documents=[pb.Document(content=pb.Content(texts=["a"]))]
    )

    async def serve() -> Any:
        sidecar = Sidecar(ServeConfig(model="builtin", grpc_port=0), in_thread(builtin))
        sidecar._metrics._round_seconds = None  # type: ignore[assignment]
        ended = asyncio.ensure_future(sidecar.run())
        while not sidecar.service.ready():
            await asyncio.sleep(0.01)
        assert sidecar.grpc is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
            # The first answer is out before its round is counted, which is where it goes wrong.
            calls = (RERANK.stub(channel)(request) for _ in range(3))
            found = await asyncio.gather(*calls, return_exceptions=True)
        codes = {one.code() for one in found if isinstance(one, grpc.aio.AioRpcError)}
        return codes, await ended

    codes, code = run(serve())
    assert codes <= {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    assert code == 1


def test_what_waits_for_the_worker_when_time_is_over_is_told_to_go_elsewhere(
    run: Any, builtin: Reranker, serving: Any, rerank: Any, texts: list[str]
) -> None:
    held, release = threading.Event(), threading.Event()

    async def ask() -> Any:
        async with serving(builtin) as service:
            service._engine.worker.submit(lambda: held.set() or release.wait(300))
            held.wait(300)
            calls = [
                asyncio.create_task(service.rerank(rerank(texts))),
                asyncio.create_task(service.evict(["a"])),
                asyncio.create_task(service.overlong("long " * 10_000, texts)),
            ]
            gone = asyncio.create_task(service.evict(["b"]))
            await asyncio.sleep(0.02)
            gone.cancel()
            finished = await service.drain(0.0)
            release.set()
            left = await asyncio.gather(*calls, gone, return_exceptions=True)
            with pytest.raises(NotReadyError):
                await service.overlong("long " * 10_000, texts)
            return finished, [type(one) for one in left]

    expected = [NotReadyError] * 3 + [asyncio.CancelledError]
    assert run(ask()) == (False, expected)
