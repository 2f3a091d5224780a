"""How long a client may take to send: no call waits for ever for one who sends a byte a second.

gRPC hands messages over whole, and waits for the first one before it calls a handler that takes
only one. So every method is served here as one that reads a stream, with a clock beside it.

Two things gRPC for Python cannot do. It does not bound what unfinished messages hold: up to
``message_bytes`` for each of ``connections`` calls, for ``request_seconds``. And nobody can end a
call whose client does not take his answer, but answers pings: it keeps its place until its
connection is too old (see ``grpc_server``). Put a proxy before clients who are not trusted so far.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from minireranker.errors import InputError

from .grpc_codes import abort
from .refusals import DeadlineError

__all__ = ["Patience"]

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Patience(grpc.aio.ServerInterceptor):
    """Ends calls whose client does not send what it has begun, as DEADLINE_EXCEEDED.

    A request, or a stream of them that gets one answer, may take so many seconds from its
    beginning. A stream with an answer to each may take them for every message, counted while
    nothing is owed to it: who waits for the server is not hurried, who is idle is ended.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds``: of waiting for the client."""
        self._seconds = seconds
        self._known: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, with a clock; None where there is no such method."""
        method: Any = handler_call_details.method
        if method not in self._known:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._known[method] = self._clocked(handler)
        return self._known[method]

    def _clocked(self, handler: Any) -> Handler:
        ways = handler.request_streaming, handler.response_streaming
        name = "_".join("stream" if many else "unary" for many in ways)
        clock = {"stream_unary": self._gathered, "stream_stream": self._stream}
        behaviour = clock.get(name, self._single)(getattr(handler, name))
        make: Callable[..., Handler] = grpc.stream_unary_rpc_method_handler
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _single(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        assert inspect.iscoroutinefunction(inner), f"{inner} of one request is no coroutine"

        async def behaviour(_: Any, context: Context) -> Any:
            try:
                request = await _read(context, time.monotonic() + self._seconds)
                if request is grpc.aio.EOF:
                    raise InputError("the call had no message; send one")
            except (DeadlineError, InputError) as error:
                await abort(context, error)
            return await inner(request, context)

        return behaviour

    def _gathered(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def behaviour(_: Any, context: Context) -> Any:
            return await inner(_until(context, time.monotonic() + self._seconds), context)

        return behaviour

    def _stream(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def behaviour(_: Any, context: Context) -> AsyncIterator[Any]:
            turns = _Turns(context, self._seconds)
            try:
                async for answer in inner(turns.requests(), context):
                    yield answer
                    turns.answered()
            except (DeadlineError, InputError) as error:
                await abort(context, error)

        return behaviour


class _Turns:
    """Of one stream: what its client has been promised, and since when it has all of it."""

    def __init__(self, context: Context, seconds: float) -> None:
        self._context, self._seconds = context, seconds
        self._owed, self._since = 0, time.monotonic()

    async def requests(self) -> AsyncIterator[Any]:
        """Raises DeadlineError, and InputError for bytes that are no message."""
        while (message := await self._next()) is not grpc.aio.EOF:
            self._owed += 1
            yield message

    def answered(self) -> None:
        """One message has got what it was owed."""
        self._owed -= 1
        self._since = time.monotonic()

    async def _next(self) -> Any:
        coming = asyncio.ensure_future(_message(self._context))
        try:
            while not coming.done():
                left = self._since + self._seconds - time.monotonic()
                if self._owed:
                    left = self._seconds
                if left <= 0:
                    raise _slow()
                await asyncio.wait({coming}, timeout=left)
            return coming.result()
        finally:
            coming.cancel()


async def _until(context: Context, end: float) -> AsyncIterator[Any]:
    while (message := await _read(context, end)) is not grpc.aio.EOF:
        yield message


async def _read(context: Context, end: float) -> Any:
    try:
        async with asyncio.timeout(end - time.monotonic()):
            return await _message(context)
    except TimeoutError:
        raise _slow() from None


async def _message(context: Context) -> Any:
    """Health's and reflection's are read as gRPC does; it would send the decoder's words back."""
    try:
        return await context.read()
    except DecodeError:
        raise InputError("the message is none of this method's; send one that is") from None


def _slow() -> DeadlineError:
    return DeadlineError("the client did not send its request in time; send it faster, or anew")
