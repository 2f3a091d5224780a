"""In front of every method: tokens are checked before a message is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from .callers import Callers
from .failures import code_of, failure_of
from .refusals import UnauthenticatedError

__all__ = ["Guard"]

_OPEN = "/grpc.health.v1.Health/"
"""What probes ask, who have no token."""

_Continuation = Callable[
    [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
]


class Guard(grpc.aio.ServerInterceptor):
    """Lets calls through to their handlers, if their token is good."""

    def __init__(self, callers: Callers, answered: Callable[[str, str], None]) -> None:
        """``callers`` knows the tokens; ``answered`` is told of each refusal's method and code."""
        self._callers, self._answered = callers, answered

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, or one that refuses in its place."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        path = method.decode() if isinstance(method, bytes) else str(method)
        if path.startswith(_OPEN):
            return handler
        try:
            self._callers.tenant(dict(handler_call_details.invocation_metadata or ()))
        except UnauthenticatedError as error:
            if handler is not None:  # a method that there is: callers make up no labels
                self._answered(path, code_of(error))
            return _refusing(error)
        return handler


def _refusing(error: UnauthenticatedError) -> grpc.RpcMethodHandler[Any, Any]:
    """As a stream, no message is waited for, whatever the method takes."""
    failure = failure_of(error)

    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode[failure.code], failure.message)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(refuse)
    return handler
