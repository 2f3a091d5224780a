"""Streams cut into jobs: what has come by now goes into one, whatever may still come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

__all__ = ["batches"]

_T = TypeVar("_T")


async def batches(
    items: AsyncIterator[_T], *, most: int, most_bytes: int, patience: float
) -> AsyncIterator[list[_T]]:
    """Messages in lists of at most ``most``, or as many as reach ``most_bytes``.

    A list is given once ``patience`` seconds bring nothing more.
    """
    coming: asyncio.Future[_T | None] | None = None
    try:
        while True:
            batch: list[_T] = []
            size = 0
            while len(batch) < most and size < most_bytes:
                coming = coming or asyncio.ensure_future(_next(items))
                await asyncio.wait({coming}, timeout=patience if batch else None)
                if not coming.done():
                    break
                item, coming = coming.result(), None
                if item is None:
                    if batch:
                        yield batch
                    return
                batch.append(item)
                size += _bytes(item)
            yield batch
    finally:
        if coming is not None:
            coming.cancel()


async def _next(items: AsyncIterator[_T]) -> _T | None:
    return await anext(items, None)


def _bytes(message: Any) -> int:
    return int(message.ByteSize())
