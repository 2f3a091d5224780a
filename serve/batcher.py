"""Rounds: takes documents of waiting requests, has the engine score them, hands out the results.

One task on the event loop and the engine's worker. The loop only deals and collects; between two
rounds it sees who has left, whose time is over and who is new. Answers are written once the next
round is under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future

from minireranker.cache import CacheStats
from minireranker.cache.stats import TierStats

from .engine import Engine
from .observer import Observer, Round
from .parts import Part, PartAnswer, RoundAnswer
from .queue import Queue
from .refusals import EngineEndedError
from .ticket import Ticket

__all__ = ["Batcher"]

_LOG = logging.getLogger(__name__)


class Batcher:
    """Empties a queue, round by round, until ``stop``.

    Attributes: ``cache`` (what its tiers have done, as far as it has been told).
    """

    def __init__(self, queue: Queue, engine: Engine, observer: Observer) -> None:
        """Nothing runs before ``start``."""
        self._queue, self._engine, self._observer = queue, engine, observer
        self.cache = CacheStats(TierStats())
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin to take rounds; what takes them ends with ``stop``, or by a fault of ours.

        It ends with EngineEndedError where the engine's process has ended.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def wake(self) -> None:
        """Somebody waits."""
        self._wake.set()

    def note_stats(self, told: Future[CacheStats]) -> None:
        """What the engine was asked for, if it told."""
        if not told.cancelled() and told.exception() is None:
            self.cache = told.result()

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
        start = time.monotonic()
        done = await self._computed(tickets[0].group, parts)
        self.cache = done.cache or self.cache
        for ticket, part, answer in zip(tickets, parts, done.parts, strict=True):
            self._collect(ticket, part, answer)
        # Who they are is settled now, because the next round may take what is left of the others;
        # they are answered once this task waits for that round.
        asyncio.get_running_loop().call_soon(
            _deliver, [ticket for ticket in tickets if not ticket.left]
        )
        failed = sum(map(_failed, tickets, parts, done.parts))
        pairs = sum(count * ticket.job.rows for ticket, count in dealt)
        self._queue.round_over(time.monotonic() - start, 1 - failed / max(pairs, 1))
        self._report(tickets, done, pairs, failed)

    async def _computed(
        self, group: tuple[str, str, str | None], parts: Sequence[Part]
    ) -> RoundAnswer:
        loop, engine = asyncio.get_running_loop(), self._engine
        try:
            return await loop.run_in_executor(engine.worker, engine.work.run, *group, parts)
        except BrokenExecutor as error:
            raise EngineEndedError from error
        except Exception as error:  # a fault of ours: these requests fail, the next ones do not
            _LOG.exception("a round failed")
            return RoundAnswer([error] * len(parts), 0.0)

    def _collect(self, ticket: Ticket, part: Part, answer: PartAnswer | Exception) -> None:
        if ticket.future.done():  # the caller has left
            self._queue.remove(ticket)
        elif isinstance(answer, Exception):
            self._queue.remove(ticket)
            ticket.future.set_exception(answer)
        else:
            ticket.put(part, answer)

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


def _deliver(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        if ticket.future.done():
            continue
        try:
            ticket.future.set_result(ticket.answer())
        except Exception as error:  # a fault of ours: this request's, not its neighbours'
            ticket.future.set_exception(error)


def _failed(ticket: Ticket, part: Part, answer: PartAnswer | Exception) -> int:
    """Pairs of a part that have no score."""
    rows = ticket.job.rows
    if isinstance(answer, Exception):
        return len(part.documents) * rows
    return sum(rows if query is None else 1 for _, query, _ in answer.failed)
