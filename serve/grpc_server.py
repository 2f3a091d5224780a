"""The gRPC server: both services, health and reflection on one port."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from minireranker.errors import ConfigurationError

from .callers import Callers
from .generated import reranker_pb2, tei_pb2
from .grpc_calls import GrpcCalls
from .grpc_guard import Guard
from .grpc_methods import generic_handlers
from .grpc_patience import Patience
from .grpc_reranker import RerankerServicer
from .grpc_tei import TeiServicer
from .seams import Authenticator, MediaReader
from .service import Service

if TYPE_CHECKING:
    from .config import ServeConfig
    from .tls import Credentials

__all__ = ["GrpcServer"]

SERVICES = (
    *(service.full_name for service in reranker_pb2.DESCRIPTOR.services_by_name.values()),
    *(service.full_name for service in tei_pb2.DESCRIPTOR.services_by_name.values()),
)

_PENDING = 2**15
"""Calls that may wait for the loop, of all connections."""

_IDLE = 10
"""Times ``request_seconds`` that a connection without calls is kept."""

_ALIVE_MS = 60_000
"""Between two questions to a client whether it is still there."""

_AGE = 3_600.0
"""Seconds until a connection is asked to be made anew; then, for its calls to end at the latest."""

_LAST_WORDS = 0.5
"""Seconds for calls that are not ours, health watchers for instance, to end."""


class GrpcServer:
    """Attributes: ``port``, once started."""

    def __init__(
        self,
        service: Service,
        media: MediaReader,
        authenticator: Authenticator,
        config: ServeConfig,
        credentials: Credentials | None = None,
        answered: Callable[[str, str], None] = lambda method, code: None,
    ) -> None:
        """Nothing is bound before ``start``. ``answered``: see ``GrpcCalls``."""
        self._service, self._config, self._credentials = service, config, credentials
        callers = Callers(authenticator, config.deadline_seconds)
        self._calls = GrpcCalls(callers, answered)
        self._health = HealthServicer()
        self._server = grpc.aio.server(
            interceptors=(Guard(callers, answered), Patience(config.request_seconds)),
            options=_options(config),
            maximum_concurrent_rpcs=config.connections,
        )
        behaviours = {
            **RerankerServicer(service, media).behaviours(self._calls),
            **TeiServicer(service).behaviours(self._calls),
        }
        self._server.add_generic_rpc_handlers(generic_handlers(behaviours))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        self.port = 0

    async def start(self) -> None:
        """Bind and answer; health says NOT_SERVING until ``serving``.

        Raises ConfigurationError for an address that cannot be had.
        """
        await self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)
        host = self._config.host
        address = f"{f'[{host}]' if ':' in host else host}:{self._config.grpc_port}"
        try:
            self.port = self._bind(address)
        except RuntimeError as error:
            raise ConfigurationError(
                f"gRPC cannot listen on {address}: name another host or grpc_port"
            ) from error
        await self._server.start()

    async def serving(self) -> None:
        """Health says so from now on."""
        await self._tell(health_pb2.HealthCheckResponse.SERVING)

    async def leave(self) -> None:
        """Health says NOT_SERVING from now on, and streams that wait for their client end."""
        await self._health.enter_graceful_shutdown()
        self._calls.stop()

    async def stop(self, grace: float) -> None:
        """Let calls that are answered be sent, for at most ``grace`` seconds; then close all."""
        end = time.monotonic() + grace
        try:
            await asyncio.wait_for(self._calls.finished(), grace)
        except TimeoutError:
            end = 0.0
        await self._server.stop(min(max(end - time.monotonic(), 0.0), _LAST_WORDS))

    def _bind(self, address: str) -> int:
        found = self._credentials
        if found is None:
            return self._server.add_insecure_port(address)
        credentials = grpc.ssl_server_credentials(
            [(found.key, found.certificate)],
            root_certificates=found.client_ca,
            require_client_auth=found.client_ca is not None,
        )
        return self._server.add_secure_port(address, credentials)

    async def _tell(self, status: Any) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)


def _options(config: ServeConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.message_bytes),
        ("grpc.max_send_message_length", config.message_bytes),
        # Of calls that wait to be looked at gRPC drops some at random beyond the first number: as
        # CANCELLED, whoever they are from. Here everybody is to be told what he is refused for.
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING),
        # Connections that do not become HTTP/2 ones, or never make a call, or whose client is gone.
        ("grpc.server_handshake_timeout_ms", _milliseconds(config.request_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(config.request_seconds * _IDLE)),
        ("grpc.keepalive_time_ms", _ALIVE_MS),
        # Or that never take their answers: gRPC knows no other end for those.
        ("grpc.max_connection_age_ms", _milliseconds(_AGE)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(max(_AGE, config.deadline_seconds))),
        ("grpc.max_allowed_incoming_connections", config.connections),
        # Two servers on one port would each get some of the calls.
        ("grpc.so_reuseport", 0),
    ]


def _milliseconds(seconds: float) -> int:
    """For gRPC, which takes 32 bits; more is as good as for ever."""
    return min(math.ceil(1_000 * seconds), 2**31 - 1)
