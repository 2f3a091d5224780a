"""gRPC's status codes by name, as numbers and as what ends a call."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from .failures import failure_of

__all__ = ["abort", "number_of"]


def number_of(code: str) -> int:
    """The number of a code, as google.rpc.Code has it."""
    number: int = grpc.StatusCode[code].value[0]
    return number


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End a call with what its client is told of an error.

    An overload says when to come back, in ``retry-after`` (seconds) and in the form that gRPC's own
    retries read.
    """
    failure = failure_of(error)
    trailers: list[tuple[str, str | bytes]] = []
    if failure.retry_after is not None:
        trailers.append(("retry-after", f"{failure.retry_after:.0f}"))
        trailers.append(("grpc-retry-pushback-ms", f"{1_000 * failure.retry_after:.0f}"))
    if failure.error_id is not None:
        trailers.append(("error-id", failure.error_id))
    await context.abort(grpc.StatusCode[failure.code], failure.message, tuple(trailers))
    raise AssertionError("abort does not return")
