"""Work done ahead of its turn in a few threads: decoding while the model computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")

THREADS = max(1, min(8, (os.cpu_count() or 2) // 2))
"""Half of the cores: the other half feeds the model."""

DEPTH = 2 * THREADS
"""Items in flight: one document of the largest size is some ten megabytes of pixels."""


def ahead(items: Iterable[_Item], work: Callable[[_Item], None]) -> Iterator[_Item]:
    """The items in order, each once ``work`` has been done on it in another thread.

    ``work`` must not raise. Ends its threads when the caller stops early.
    """
    waiting: deque[tuple[_Item, Future[None]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="minireranker-decode")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > DEPTH:
                yield _done(waiting)
        while waiting:
            yield _done(waiting)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _done(waiting: deque[tuple[_Item, Future[None]]]) -> _Item:
    item, future = waiting.popleft()
    future.result()
    return item
