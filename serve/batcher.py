"""Rounds: takes documents of waiting requests, has the engine score them, hands out the results.

One task on the event loop and one worker thread. The loop only deals and collects; between two
rounds it sees who has left, whose time is over and who is new.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .engine_calls import Calls
from .observer import Observer, Round
from .parts import Part, PartAnswer, RoundAnswer
from .queue import Queue
from .ticket import Ticket

__all__ = ["Batcher"]

_LOG = logging.getLogger(__name__)


class Batcher:
    """Empties a queue, round by round, until ``stop``."""

    def __init__(
        self, queue: Queue, calls: Calls, worker: ThreadPoolExecutor, observer: Observer
    ) -> None:
        """``worker``: of one thread."""
        self._queue, self._calls, self._worker, self._observer = queue, calls, worker, observer
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin to take rounds; what takes them ends with ``stop``, or by a fault of ours."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def wake(self) -> None:
        """Somebody waits."""
        self._wake.set()

    async def stop(self) -> None:
        """End; a round that runs is not waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            dealt = self._queue.deal()
            if dealt:
                await self._round(dealt)
                continue
            self._wake.clear()
            await self._wake.wait()

    async def _round(self, dealt: Sequence[tuple[Ticket, int]]) -> None:
        tickets = [ticket for ticket, _ in dealt]
        for ticket in tickets:
            if not ticket.started:
                self._observer.job_started(ticket.job, ticket.waited)
        parts = self._queue.take(dealt)
        self._observer.queue_depth(self._queue.waiting)
        tenant, kind, instruction = tickets[0].group
        loop, start = asyncio.get_running_loop(), time.monotonic()
        try:
            done = await loop.run_in_executor(
                self._worker, self._calls.run, tenant, kind, instruction, parts
            )
        except Exception as error:  # a fault of ours: these requests fail, the next ones do not
            _LOG.exception("a round failed")
            done = RoundAnswer([error] * len(parts), 0.0)
        for ticket, part, answer in zip(tickets, parts, done.parts, strict=True):
            self._deliver(ticket, part, answer)
        failed = sum(map(_failed, tickets, parts, done.parts))
        pairs = sum(count * ticket.job.rows for ticket, count in dealt)
        self._queue.round_over(time.monotonic() - start, 1 - failed / max(pairs, 1))
        self._report(tickets, done, pairs, failed)

    def _deliver(self, ticket: Ticket, part: Part, answer: PartAnswer | Exception) -> None:
        if ticket.future.done():  # the caller has left
            self._queue.remove(ticket)
        elif isinstance(answer, Exception):
            self._queue.remove(ticket)
            ticket.future.set_exception(answer)
        else:
            ticket.put(part, answer)
            if not ticket.left:
                ticket.future.set_result(ticket.answer())

    def _report(
        self, tickets: Sequence[Ticket], done: RoundAnswer, pairs: int, failed: int
    ) -> None:
        good = [answer for answer in done.parts if isinstance(answer, PartAnswer)]
        self._observer.round_done(
            Round(
                kind=tickets[0].group[1],
                jobs=len(tickets),
                documents=pairs,
                seconds=done.seconds,
                tokens_computed=sum(answer.tokens.computed for answer in good),
                tokens_cached=sum(answer.tokens.cached for answer in good),
                failed=failed,
                stages=done.stages,
            )
        )


def _failed(ticket: Ticket, part: Part, answer: PartAnswer | Exception) -> int:
    """Pairs of a part that have no score."""
    rows = ticket.job.rows
    if isinstance(answer, Exception):
        return len(part.documents) * rows
    return sum(rows if query is None else 1 for _, query, _ in answer.failed)
