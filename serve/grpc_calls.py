"""Around every method: who calls, what its errors become, which calls are open, how each ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from .callers import REQUEST_ID, Caller, Callers
from .failures import code_of
from .grpc_codes import abort
from .grpc_methods import Method
from .refusals import NotReadyError

__all__ = ["GrpcCalls"]

_Q = TypeVar("_Q")
_R = TypeVar("_R")

Context = grpc.aio.ServicerContext[Any, Any]


class GrpcCalls:
    """Makes behaviours of a server from functions of a request and its caller."""

    def __init__(self, callers: Callers, answered: Callable[[str, str], None]) -> None:
        """``callers`` tells who it is; ``answered`` is told of every call's method and code."""
        self._callers, self._answered = callers, answered
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._stopping = asyncio.Event()

    def unary(
        self, method: Method, answer: Callable[[_Q, Caller], Awaitable[_R]]
    ) -> Callable[[_Q, Context], Awaitable[_R]]:
        """One answer to one request."""

        async def behaviour(request: _Q, context: Context) -> _R:
            async with self._counted(method, context):
                return await answer(_sound(request), await self._enter(context))

        return behaviour

    def gathered(
        self, method: Method, answer: Callable[[AsyncIterator[_Q], Caller], Awaitable[_R]]
    ) -> Callable[[AsyncIterator[_Q], Context], Awaitable[_R]]:
        """One answer to a stream of requests."""

        async def behaviour(requests: AsyncIterator[_Q], context: Context) -> _R:
            async with self._counted(method, context):
                return await answer(self.until_stopped(requests), await self._enter(context))

        return behaviour

    def stream(
        self, method: Method, answers: Callable[[AsyncIterator[_Q], Caller], AsyncIterator[_R]]
    ) -> Callable[[AsyncIterator[_Q], Context], AsyncIterator[_R]]:
        """A stream of answers to a stream of requests."""

        async def behaviour(requests: AsyncIterator[_Q], context: Context) -> AsyncIterator[_R]:
            async with self._counted(method, context):
                caller = await self._enter(context)
                async for answer in answers(self.until_stopped(requests), caller):
                    yield answer

        return behaviour

    async def until_stopped(self, requests: AsyncIterator[_Q]) -> AsyncIterator[_Q]:
        """A stream's requests. Raises NotReadyError once the server stops, also while it waits, and
        InputError for bytes that are no request.
        """
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                coming = asyncio.ensure_future(_next(requests))
                try:
                    await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        raise NotReadyError("the server stops; send the rest to another one")
                finally:
                    coming.cancel()
                found = coming.result()
                if found is None:
                    return
                yield _sound(found)
        finally:
            stop.cancel()

    def stop(self) -> None:
        """End streams that wait for their client."""
        self._stopping.set()

    async def finished(self) -> None:
        """Return once no call is open: its status has been sent, or its client has gone."""
        await self._none_open.wait()

    @asynccontextmanager
    async def _counted(self, method: Method, context: Context) -> AsyncIterator[None]:
        """Ends the call with what it raises."""
        try:
            yield
        except asyncio.CancelledError:
            self._answered(method.path, "CANCELLED")
            raise
        except Exception as error:
            self._answered(method.path, code_of(error))
            await abort(context, error)
        else:
            self._answered(method.path, "OK")

    async def _enter(self, context: Context) -> Caller:
        self._open += 1
        self._none_open.clear()
        leave: Any = self._leave
        context.add_done_callback(leave)
        caller = self._callers.of(context)
        await context.send_initial_metadata(((REQUEST_ID, caller.request_id),))
        return caller

    def _leave(self, _: Any) -> None:
        self._open -= 1
        if not self._open:
            self._none_open.set()


def _sound(request: _Q) -> _Q:
    """The request, unless it could not be read; see ``Method.read``."""
    if isinstance(request, Exception):
        raise request
    return request


async def _next(requests: AsyncIterator[_Q]) -> _Q | None:
    return await anext(requests, None)
