"""One small model for all tests of the service, jobs made in one line, and a recording observer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import pytest

from minireranker import Reranker
from minireranker.serve.engine import in_thread
from minireranker.serve.jobs import Answer, Job, Kind
from minireranker.serve.observer import Round, Silent
from minireranker.serve.options import ServiceOptions
from minireranker.serve.service import Service

from .serving_process import Server


class Recorder(Silent):
    """Remembers every round and every end."""

    def __init__(self) -> None:
        self.queued = 0
        self.rounds: list[Round] = []
        self.ends: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.answered: list[tuple[str, str]] = []
        self.depths: list[int] = []
        self.on_round: Callable[[], None] = lambda: None

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        assert (answer is None) == (code != "OK")
        self.ends.append((job.request_id, code))

    def job_queued(self, job: Job) -> None:
        self.queued += 1

    def job_refused(self, kind: Kind, code: str) -> None:
        self.refused.append(code)

    def grpc_answered(self, method: str, code: str) -> None:
        self.answered.append((method.rpartition("/")[2], code))

    def round_done(self, done: Round) -> None:
        self.rounds.append(done)
        self.on_round()

    def queue_depth(self, documents: int) -> None:
        self.depths.append(documents)


@pytest.fixture(scope="session")
def builtin() -> Reranker:
    return Reranker.from_pretrained("builtin", dtype="float32")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """A coroutine in a loop of its own, ended if it hangs."""
    return lambda coroutine: asyncio.run(asyncio.wait_for(coroutine, 300))


@asynccontextmanager
async def serving(
    reranker: Reranker, recorder: Recorder | None = None, **options: Any
) -> AsyncIterator[Service]:
    service = Service(in_thread(reranker), ServiceOptions(**options), recorder)
    await service.start(warm_up=False)
    try:
        yield service
    finally:
        await service.drain(30)


@pytest.fixture(name="serving")
def serving_fixture() -> Any:
    """``async with serving(reranker, recorder, **options) as service``."""
    return serving


def rerank(documents: Any, query: Any = "a red circle", **fields: Any) -> Job:
    return Job("rerank", tuple(documents), (query,), **fields)


@pytest.fixture(name="rerank")
def rerank_fixture() -> Callable[..., Job]:
    """A "rerank" job."""
    return rerank


@pytest.fixture
def texts() -> list[str]:
    colours = ("red", "green", "blue", "yellow", "black")
    return [f"{colour} {shape}" for colour in colours for shape in ("circle", "square", "cross")]


@asynccontextmanager
async def grpc_serving(
    reranker: Reranker, recorder: Recorder | None = None, **config: Any
) -> AsyncIterator[Any]:
    """A channel to a server of its own; ``.server`` and ``.service`` are behind it."""
    import grpc

    from minireranker.serve.auth import Tokens, read_tenants, service_options
    from minireranker.serve.config import ServeConfig
    from minireranker.serve.grpc_server import GrpcServer
    from minireranker.serve.media import RequestMedia
    from minireranker.serve.tls import read_credentials

    # The machine may be held up for minutes: no deadline but those that a test sets.
    settings = ServeConfig(model="builtin", grpc_port=0, **{"deadline_seconds": 3_600.0, **config})
    tenants = read_tenants(settings)
    options = service_options(settings, tenants)
    media = RequestMedia(settings, reranker.profile.limits)
    tokens = Tokens(tenants, is_guarded=settings.is_guarded)
    service = Service(in_thread(reranker), options, recorder)
    told = [recorder.grpc_answered] if isinstance(recorder, Recorder) else []
    server = GrpcServer(service, media, tokens, settings, read_credentials(settings), *told)
    await server.start()
    await service.start(warm_up=False)
    await server.serving()
    sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", sizes) as channel:
            channel.server, channel.service = server, service  # type: ignore[attr-defined]
            yield channel
    finally:
        await service.drain(30)
        await server.stop(30)


@pytest.fixture(name="grpc_serving")
def grpc_serving_fixture() -> Any:
    """``async with grpc_serving(reranker, recorder, **config) as channel``."""
    return grpc_serving


@pytest.fixture
def address(builtin: Reranker, grpc_serving: Any) -> Iterator[Callable[..., str]]:
    """``address(**config)``: of a server in a thread of its own."""
    ends: list[Callable[[], None]] = []

    def start(**config: Any) -> str:
        port: Future[int] = Future()
        loops: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stop = asyncio.Event()
            async with grpc_serving(builtin, **config) as channel:
                loops.set_result((asyncio.get_running_loop(), stop))
                port.set_result(channel.server.port)
                await stop.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        found = port.result(300)
        loop, stop = loops.result()

        def end() -> None:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

        ends.append(end)
        return f"127.0.0.1:{found}"

    yield start
    for end in ends:
        end()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """``start(**config)``: a server in processes of its own."""
    started: list[Server] = []

    def begin(**config: Any) -> Server:
        started.append(Server(**config))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.communicate()
