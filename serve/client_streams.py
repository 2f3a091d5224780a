"""Answers of a stream, and the status that the server ended it with.

grpc.aio has INTERNAL in the status's place where a write was under way when it came, set before or
after it (https://github.com/grpc/grpc/issues/36066), which hides from an upload that it was refused
and when to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

__all__ = ["answers_of"]

_T = TypeVar("_T")

_BY_CORE = "Internal error from Core"
"""Details of the status that stands in another's place."""
_LATE = 0.1
"""Seconds that a status may come after the write that failed because of it."""


async def answers_of(call: grpc.aio.StreamStreamCall[Any, _T]) -> list[_T]:
    """All messages of a call that sends from an iterator. Raises AioRpcError, the server's own."""
    told: list[grpc.aio.AioRpcError] = []
    # Asked for in the callback, where it is what came last: once the loop turns it may be replaced.
    call.add_done_callback(lambda done: told.append(_status(done)))
    try:
        return [answer async for answer in call]
    except grpc.aio.AioRpcError as error:
        for found in (*told, error):
            if found.details() != _BY_CORE:
                raise found from None
        await asyncio.sleep(_LATE)
        raise _status(call) from None


def _status(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        _now(call.code()),
        _now(call.initial_metadata()),
        _now(call.trailing_metadata()),
        _now(call.details()),
        _now(call.debug_error_string()),
    )


def _now(known: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that need not wait for it."""
    try:
        known.send(None)
    except StopIteration as end:
        found: _T = end.value
        return found
    raise AssertionError("a call that is done has a status")
