"""The HTTP server: uvicorn on the loop that is there, with our signals, limits and patience."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from minireranker.errors import ConfigurationError

from .config import ServeConfig
from .tls import Credentials

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["HttpServer"]

_HEAD_BYTES = 32 * 2**10


class HttpServer:
    """Listens from ``start`` to ``stop``."""

    def __init__(
        self, app: ASGIApp, config: ServeConfig, credentials: Credentials | None = None
    ) -> None:
        """``credentials``: for https."""
        self._config = config
        settings = uvicorn.Config(
            app,
            http=_patient(config.request_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # Two more: uvicorn counts the connection that asks, and refuses at equality.
            limit_concurrency=config.connections + 2,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            ssl_context_factory=(lambda *_: credentials.context) if credentials else None,
        )
        self._server = _Server(settings)
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The one it listens on, once started."""
        assert self._socket is not None, "start() comes first"
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises ConfigurationError where the address cannot be had."""
        host, port = self._config.host, self._config.http_port or 0
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=2_048)
        except OSError as error:
            raise ConfigurationError(
                f"host = {host!r}, http_port = {port}: cannot listen there "
                f"({error.strerror}); choose another"
            ) from error
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)
        if self._task.done():
            await self._task

    async def stop(self, grace: float) -> None:
        """Take no more connections, finish what is in flight within ``grace`` seconds."""
        self._server.config.timeout_graceful_shutdown = math.ceil(grace)
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not."""
        yield


def _patient(seconds: float) -> type[H11Protocol]:
    """A protocol that closes connections whose request line and headers take over ``seconds``."""

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch(is_waiting=True)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            state = self.conn.their_state
            is_answered = self.cycle is not None and self.cycle.response_complete
            # Or it goes on sending a body that nobody reads, after its answer.
            self._watch(is_waiting=state is h11.IDLE or (is_answered and state is h11.SEND_BODY))

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch(is_waiting=False)
            super().connection_lost(exc)

        def _watch(self, *, is_waiting: bool) -> None:
            """Begin to count while headers are incomplete, and go on counting."""
            if is_waiting and self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.abort)
            elif not is_waiting and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Patient
