"""What every HTTP request passes on its way in and out: a token, an id, a log line, a count."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from minireranker.errors import InputError

from .failures import Failure, failure_of
from .http_answers import error_answer
from .logs import request_id
from .refusals import UnauthenticatedError
from .seams import Authenticator
from .tracing import remember_caller

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .metrics import Metrics

__all__ = ["Gate"]

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Gate:
    """ASGI middleware, the outermost one: whatever is raised below becomes an answer here."""

    def __init__(
        self, app: ASGIApp, auth: Authenticator, metrics: Metrics, *, free: Collection[str]
    ) -> None:
        """``free``: paths that need no token, as they tell nothing about this server's work."""
        self._app, self._auth, self._metrics = app, auth, metrics
        self._free = frozenset(free)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identity = given if _ID.fullmatch(given) else secrets.token_hex(16)
        token = request_id.set(identity)
        remember_caller(headers)
        try:
            await self._timed(scope, headers, receive, _Reply(send, identity))
        finally:
            request_id.reset(token)

    async def _timed(self, scope: Scope, headers: Headers, receive: Receive, reply: _Reply) -> None:
        start = time.perf_counter()
        try:
            await self._passed(scope, headers, receive, reply)
        finally:
            path = scope["path"] if scope["path"] in self._free else "other"
            route = str(getattr(scope.get("route"), "path", path))
            self._metrics.http_answered(route, reply.status)
            _LOG.info(
                "http",
                extra={
                    "method": scope["method"] if scope["method"] in _METHODS else "other",
                    "route": route,
                    "status": reply.status,
                    "ms": round(1e3 * (time.perf_counter() - start), 3),
                    "tenant": scope.get("tenant", ""),
                },
            )

    async def _passed(
        self, scope: Scope, headers: Headers, receive: Receive, reply: _Reply
    ) -> None:
        try:
            scope["tenant"] = ""
            if "content-length" in headers and "transfer-encoding" in headers:
                # A proxy may have gone by the other one: what follows would be somebody else's
                # request (RFC 9112, 6.3).
                reply.is_last = True
                raise InputError("both Content-Length and Transfer-Encoding: send one of them")
            if scope["path"] not in self._free:
                scope["tenant"] = self._auth.tenant(headers.get("authorization"))
            await self._app(scope, receive, reply)
        except UnauthenticatedError as error:
            await self._refuse(failure_of(error), scope, receive, reply)
        except Exception as error:
            if reply.status:  # it has been logged, and half of an answer is out
                return
            await self._refuse(failure_of(error), scope, receive, reply)

    async def _refuse(
        self, failure: Failure, scope: Scope, receive: Receive, reply: _Reply
    ) -> None:
        await error_answer(failure, reply.identity)(scope, receive, reply)


_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


class _Reply:
    """The way out: adds what every answer has, and remembers its status."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send, self.identity, self.status = send, identity, 0
        self.is_last = False
        """Whether the connection ends with it."""

    async def __call__(self, message: Message | dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.identity
            if self.is_last:
                headers["Connection"] = "close"
            for name, value in _SAFE.items():
                headers.setdefault(name, value)
        await self._send(message)
