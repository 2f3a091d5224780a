"""The process: has one engine, serves it on its ports, leaves when told to and loses nobody.

    engine -> bind -> warm up -> ready ... SIGTERM or SIGINT -> not ready -> drain -> exit

Before it listens, a signal ends it at once. The first signal after that starts the drain, a second
one ends it. Exit code 0: everything that was admitted has been answered; 1: grace was too short, or
nobody is left to compute, by a fault of ours or because the engine's process has ended (whoever
runs this one starts another).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from minireranker.errors import MissingDependencyError

from .auth import Tenant, Tokens, read_tenants, service_options
from .engine import Engine
from .engine_process import in_process
from .fetch import Fetcher
from .logs import configure
from .media import RequestMedia
from .observer import Observer, Observers
from .refusals import EngineEndedError, ServerError
from .service import Service
from .tls import Credentials, read_credentials

if TYPE_CHECKING:
    from .config import ServeConfig
    from .grpc_server import GrpcServer
    from .http_server import HttpServer
    from .metrics import Metrics

__all__ = ["Sidecar", "run"]

_LOG = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TURN = 0.0001
"""Seconds for which the loop may keep the threads that speak with the engine waiting for the
interpreter; by default fifty times that, which the engine would stand idle between two rounds."""
_LAST_WORDS = 1.0
"""Seconds in which those who are refused at the end are told so, if no grace is left."""


def run(config: ServeConfig) -> int:
    """Serve until a signal; the exit code.

    Raises ConfigurationError, CheckpointError, CacheError and MissingDependencyError for what
    cannot be served. Where all did not go well, this process ends here.
    """
    configure(config.log_level)
    tenants, credentials = read_tenants(config), read_credentials(config)
    try:
        engine = in_process(config, tenants)
    except ServerError as error:
        _LOG.critical(str(error))
        code = 1
    else:
        sys.setswitchinterval(_TURN)
        try:
            code = asyncio.run(_serve(config, engine, tenants, credentials))
        except BaseException:
            engine.end(False)
            raise
    if code:
        # Without delay: threads may still wait for an engine that will not answer.
        logging.shutdown()
        os._exit(code)
    return code


async def _serve(
    config: ServeConfig,
    engine: Engine,
    tenants: Sequence[Tenant],
    credentials: Credentials | None,
) -> int:
    return await Sidecar(config, engine, tenants, credentials).run()


class Sidecar:
    """One engine on its ports; to be made and run on one loop."""

    def __init__(
        self,
        config: ServeConfig,
        engine: Engine,
        tenants: Sequence[Tenant] = (),
        credentials: Credentials | None = None,
    ) -> None:
        """Nothing runs yet. Raises MissingDependencyError for a face whose packages are missing."""
        self._config, self._engine, self._credentials = config, engine, credentials
        self._tokens = Tokens(tenants, is_guarded=config.is_guarded)
        self._stop = asyncio.Event()
        self._metrics = _metrics()
        observers: list[Observer] = [self._metrics]
        self._closing = AsyncExitStack()
        if config.otlp_endpoint is not None:
            from .tracing import Traces, otlp_provider

            provider: Any = otlp_provider(config.otlp_endpoint)
            self._closing.callback(provider.shutdown)
            observers.append(Traces(provider))
        options = service_options(config, tenants)
        self.service = Service(engine, options, Observers(observers))
        self._metrics.watch_cache(self.service.cache_stats)
        fetcher = Fetcher(config)
        self._closing.callback(fetcher.close)
        media = RequestMedia(config, engine.facts.limits, fetcher)
        self.grpc = None if config.grpc_port is None else self._grpc(media)
        self.http = None if config.http_port is None else self._http(media)

    async def run(self) -> int:
        """Until a signal or ``stop``; the exit code. Raises ConfigurationError for a taken port."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.stop)
        async with self._closing:
            if self._engine.sentinel is not None:
                loop.add_reader(self._engine.sentinel, self._engine_ended)
            try:
                await self._start()
                await _either(self._stop, self.service.broken)
            except EngineEndedError:
                self._engine_ended()
            finally:
                gc.unfreeze()
                if self._engine.sentinel is not None:
                    loop.remove_reader(self._engine.sentinel)
                is_done = await self._leave()
        return 0 if is_done and not self.service.broken.is_set() else 1

    def stop(self) -> None:
        """Begin to leave. From now on a signal ends the process at once."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, _at_once, number)
        self._stop.set()

    def _engine_ended(self) -> None:
        if self._engine.sentinel is not None:
            asyncio.get_running_loop().remove_reader(self._engine.sentinel)
        if not self.service.broken.is_set():
            _LOG.critical("the engine's process has ended")
            self.service.fail(EngineEndedError())

    async def _start(self) -> None:
        if self.grpc is not None:
            await self.grpc.start()
        if self.http is not None:
            await self.http.start()
        await self.service.start(warm_up=self._config.warm_up)
        # A full collection looks at all that was loaded: 0.1 s in which nobody is answered.
        gc.collect()
        gc.freeze()
        if self.grpc is not None:
            await self.grpc.serving()
        ports = {
            "grpc_port": self.grpc.port if self.grpc else None,
            "http_port": self.http.port if self.http else None,
        }
        _LOG.info("ready", extra={"model": self._engine.facts.description, **ports})

    async def _leave(self) -> bool:
        """Whether all that was admitted has been answered."""
        end = time.monotonic() + self._config.grace_seconds
        _LOG.info("leaving", extra={"waiting": self.service.info().waiting})
        if self.grpc is not None:
            await self.grpc.leave()
        is_done = await self.service.drain(self._config.grace_seconds)
        for face in (self.grpc, self.http):
            if face is not None:
                await face.stop(max(end - time.monotonic(), _LAST_WORDS))
        _LOG.info("left", extra={"finished": is_done})
        return is_done

    def _grpc(self, media: RequestMedia) -> GrpcServer:
        try:
            from .grpc_server import GrpcServer
        except ImportError as error:
            raise _missing("gRPC", "serve", error) from error
        told = self._metrics.grpc_answered
        return GrpcServer(self.service, media, self._tokens, self._config, self._credentials, told)

    def _http(self, media: RequestMedia) -> HttpServer:
        try:
            from .http_app import Parts, http_app
            from .http_server import HttpServer
        except ImportError as error:
            raise _missing("HTTP", "http", error) from error
        cut_text = self._engine.tokenizer().cut_text
        parts = Parts(self.service, self._config, self._tokens, media, self._metrics, cut_text)
        return HttpServer(http_app(parts), self._config, self._credentials)


def _at_once(number: int) -> None:
    """End by a signal as if nobody had handled it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _metrics() -> Metrics:
    try:
        from .metrics import Metrics
    except ImportError as error:
        raise _missing("serving", "serve", error) from error
    return Metrics()


def _missing(what: str, extra: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"{what} needs {error.name}: pip install 'minireranker[{extra}]', or turn its port off"
    )
