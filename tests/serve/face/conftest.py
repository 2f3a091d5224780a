"""A server over HTTP with the tiny model, on the loopback, for tests that speak to it."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from minireranker import Reranker
from minireranker.serve.auth import Tokens, read_tenants, service_options
from minireranker.serve.config import ServeConfig
from minireranker.serve.engine import in_thread
from minireranker.serve.http_app import Parts, http_app
from minireranker.serve.http_server import HttpServer
from minireranker.serve.media import RequestMedia
from minireranker.serve.metrics import Metrics
from minireranker.serve.observer import Observer, Observers
from minireranker.serve.service import Service
from minireranker.serve.tls import read_credentials


@dataclass
class Running:
    """One server in a thread of its own, on an event loop of its own."""

    config: ServeConfig
    service: Service
    server: HttpServer
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        scheme = "http" if self.config.tls_certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.server.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


async def _serve(
    reranker: Reranker,
    config: ServeConfig,
    observers: tuple[Observer, ...],
    ready: Future[Running],
    stop: threading.Event,
) -> None:
    tenants, metrics = read_tenants(config), Metrics()
    told = Observers([metrics, *observers])
    service = Service(in_thread(reranker), service_options(config, tenants), told)
    metrics.watch_cache(service.cache_stats)
    media = RequestMedia(config, reranker.profile.limits)
    auth = Tokens(tenants, is_guarded=config.is_guarded)
    cut = reranker.state.prompt.tokenizer.cut_text
    app = http_app(Parts(service, config, auth, media, metrics, cut))
    server = HttpServer(app, config, read_credentials(config))
    await service.start(warm_up=False)
    await server.start()
    ready.set_result(Running(config, service, server, asyncio.get_running_loop()))
    while not stop.is_set():
        await asyncio.sleep(0.01)
    await server.stop(config.grace_seconds)
    await service.drain(5)


@pytest.fixture(scope="session")
def reranker(tiny: Path) -> Reranker:
    """With pairs of at most 1024 tokens, so that the longest texts cost little."""
    profile = Reranker.from_pretrained(tiny, profile="mini", dtype="float32").profile
    limits = dataclasses.replace(profile.limits, max_tokens=1_024, max_suffix_tokens=256)
    short = dataclasses.replace(profile, limits=limits)
    return Reranker.from_pretrained(tiny, profile=short, dtype="float32")


@pytest.fixture(scope="module")
def serve(reranker: Reranker) -> Iterator[Callable[..., Running]]:
    """``serve(*observers, **settings)`` starts a server with that configuration."""
    stops, threads = [], []

    def start(*observers: Observer, **settings: Any) -> Running:
        settings = {"http_port": 0, "grace_seconds": 1.0, **settings}
        ready: Future[Running] = Future()
        stop = threading.Event()

        def run() -> None:
            try:
                asyncio.run(_serve(reranker, ServeConfig(**settings), observers, ready, stop))
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        thread = threading.Thread(target=run)
        stops.append(stop)
        threads.append(thread)
        thread.start()
        return ready.result(60)

    yield start
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a server did not stop"


@pytest.fixture(scope="module")
def running(serve: Callable[..., Running]) -> Running:
    """A server with the default configuration."""
    return serve()


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


@pytest.fixture(scope="session")
def encoded(picture: Callable[..., Any]) -> Callable[..., bytes]:
    """``encoded(height, width, seed=0, kind="PNG")``: random pixels as a file."""

    def encode(height: int, width: int, seed: int = 0, kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(picture(height, width, seed)).save(file, kind)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server and client: ``.pem`` and ``.key``; made by openssl."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl(
        *("req", "-x509", *curve, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    for name in ("server", "client"):
        openssl(
            *("req", "-x509", *curve, "-subj", f"/CN={name}", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
    return folder
