"""What the worker does between two rounds of the model, for whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from typing import TypeVar

from .refusals import EngineEndedError, NotReadyError

__all__ = ["between_rounds"]

_T = TypeVar("_T")


async def between_rounds(worker: Executor, work: Callable[..., _T], *given: object) -> _T:
    """What ``work`` gives, or raises; NotReadyError where it is stopped before it."""
    try:
        return await asyncio.wrap_future(worker.submit(work, *given))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NotReadyError("the server has stopped; ask another one") from None
    except BrokenExecutor as error:
        raise EngineEndedError from error
