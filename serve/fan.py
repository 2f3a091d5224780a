"""Many requests of one stream at a time, answers as they are done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

__all__ = ["fan_out"]

_Q = TypeVar("_Q")
_R = TypeVar("_R")


async def fan_out(
    requests: AsyncIterator[_Q], answer: Callable[[_Q], Awaitable[_R]], most: int
) -> AsyncIterator[_R]:
    """Answers of at most ``most`` requests that are under way; none is read beyond those.

    Who does not take his answers is read no further. Leaving early cancels what is under way.
    Raises what ``requests`` raises, once what came before has been answered.
    """
    under_way: set[asyncio.Future[_R]] = set()
    coming = asyncio.ensure_future(_next(requests))
    is_over = False
    try:
        while under_way or not is_over:
            waiting: set[asyncio.Future[Any]] = {*under_way}
            if not is_over and len(under_way) < most:
                waiting.add(coming)
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if coming in done:
                request = None if coming.exception() else coming.result()
                is_over = request is None
                if request is not None:
                    under_way.add(asyncio.ensure_future(answer(request)))
                    coming = asyncio.ensure_future(_next(requests))
            for one in under_way & done:
                under_way.remove(one)
                yield one.result()
        coming.result()
    finally:
        coming.cancel()
        for left in under_way:
            left.cancel()


async def _next(requests: AsyncIterator[_Q]) -> _Q | None:
    return await anext(requests, None)
