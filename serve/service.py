"""The service: what gRPC and HTTP call; one engine, one queue."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from minireranker.errors import MinirerankerError

from .admission import check_job, check_size
from .batcher import Batcher
from .engine import Engine
from .failures import code_of
from .info import Info, info_of
from .jobs import Answer, IndexOutcome, Job, Kind, Outcome, ScoreOutcome, Tokens, round_of
from .observer import Observer, Silent
from .options import ServiceOptions
from .queue import Queue
from .refusals import DeadlineError, ForbiddenError, NotReadyError, QueueFullError
from .ticket import Ticket
from .turns import between_rounds
from .weight import work_of

if TYPE_CHECKING:
    from minireranker.cache import CacheStats

__all__ = ["Service"]

_LOG = logging.getLogger(__name__)

_HELD = 0.2
"""Seconds until a refusal is told. Clients that ask again at once would otherwise keep the loop
from those who wait for answers."""

_A = TypeVar("_A", Outcome, ScoreOutcome, IndexOutcome)


class Service:
    """Admits jobs, has them computed in rounds, answers. To be used on one event loop.

    Every method that takes a job raises, before anything is queued: NotReadyError, QueueFullError,
    DeadlineError for a deadline that has passed, ConfigurationError and InputError for limits; then
    DeadlineError, what is wrong with the query (EmptyQueryError, InputError), NotReadyError where a
    drain ran out of time. What is wrong with one document is in the answer's ``failed``. A call
    that is cancelled stops being computed with the round that runs. QueueFullError is raised after
    0.2 s, or half of what is left to the deadline.

    Attributes: ``broken`` (set if it cannot go on, by a fault of ours or without its engine: it
    takes nothing any more).
    """

    def __init__(
        self,
        engine: Engine,
        options: ServiceOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Nothing runs before ``start``; the engine's worker ends with ``drain``.

        ``observer``: who is told of every job and round.
        """
        self._engine, self._options = engine, options or ServiceOptions()
        self._observer: Observer = observer or Silent()
        self._queue = Queue(self._options)
        self._batcher = Batcher(self._queue, engine, self._observer)
        self._pending: set[asyncio.Future[Answer]] = set()
        self._asked: Future[CacheStats] | None = None
        self._is_ready = False
        self.broken = asyncio.Event()

    async def start(self, *, warm_up: bool = True) -> None:
        """Warm the model up with a text and a picture, then take jobs."""
        if warm_up:
            seconds = await between_rounds(self._engine.worker, self._engine.work.warm_up)
            _LOG.info("warmed up in %.1f s", seconds)
        self._batcher.cache = await between_rounds(self._engine.worker, self._engine.work.stats)
        self._batcher.start().add_done_callback(self._rounds_ended)
        self._is_ready = True

    async def rerank(self, job: Job) -> Outcome:
        """Documents of a "rerank" job by score, best first. See the class for errors."""
        return await self._serve(job, "rerank", Outcome)

    async def score(self, job: Job) -> ScoreOutcome:
        """Every document of a "score" job for every query. See the class for errors."""
        return await self._serve(job, "score", ScoreOutcome)

    async def index(self, job: Job) -> IndexOutcome:
        """Read the documents of an "index" job ahead of queries. See the class for errors."""
        return await self._serve(job, "index", IndexOutcome)

    def check_size(self, kind: Kind, queries: int, documents: int, tenant: str = "") -> None:
        """What a job of so many would be refused for, whatever the load.

        Raises NotReadyError, InputError, EmptyQueryError and NoDocumentsError.
        """
        self._require_ready()
        check_size(kind, queries, documents, self._options.quota(tenant), self._options)

    async def check_room(
        self,
        kind: Kind,
        queries: int,
        documents: int,
        tenant: str = "",
        deadline: float | None = None,
    ) -> None:
        """The same, and whether there is room: before a job is decoded. Raises QueueFullError too,
        after a moment but not after the deadline.
        """
        self.check_size(kind, queries, documents, tenant)
        rows = max(queries, 1)
        # A token each is the least they can be.
        work = work_of(documents, documents, rows)
        try:
            self._queue.check(tenant, round_of(kind), rows * documents, work)
        except QueueFullError as error:
            await self._tell_full(kind, error, deadline)
            raise

    async def overlong(self, query: str, texts: Sequence[str]) -> str | None:
        """Which text would be cut, in words; None if all fit whole. Raises NotReadyError."""
        if self._engine.facts.rooms.surely_fit(query, texts):
            return None
        self._require_ready()
        return await between_rounds(self._engine.worker, self._engine.work.overlong, query, texts)

    async def evict(self, ids: Sequence[str], tenant: str = "") -> int:
        """Forget indexed documents of a tenant; how many were known. Raises NotReadyError."""
        self._require_ready()
        return await between_rounds(self._engine.worker, self._engine.work.evict, tenant, list(ids))

    def ready(self) -> bool:
        """Whether jobs are taken: after the warm-up, before a drain."""
        return self._is_ready

    def check_figures(self, tenant: str) -> None:
        """Whether a tenant may see figures that add up everybody's, the cache's among them.

        Raises ForbiddenError.
        """
        if tenant and not self._options.shows_cache(tenant):
            raise ForbiddenError(
                "the figures tell what others have left in the cache, which this token may not "
                "know; ask with that of a tenant with show_cache = true"
            )

    def info(self, tenant: str = "") -> Info:
        """Model, limits (a tenant's) and load (of all)."""
        load = self._queue.waiting, self._is_ready
        return info_of(self._engine.facts, self._options, tenant, *load)

    def cache_stats(self) -> CacheStats:
        """What each tier of the cache had done by the last round, or the last time this was asked.

        The worker is asked anew, without waiting for it.
        """
        if self._is_ready and (self._asked is None or self._asked.done()):
            # It may have ended since.
            with contextlib.suppress(RuntimeError):
                self._asked = self._engine.worker.submit(self._engine.work.stats)
                self._asked.add_done_callback(self._batcher.note_stats)
        return self._batcher.cache

    async def drain(self, grace: float) -> bool:
        """Take nothing new, finish what was admitted within ``grace`` seconds, end the worker.

        Whether all went well; what was not finished got NotReadyError.
        """
        self._is_ready = False
        if self._pending:
            await asyncio.wait(self._pending, timeout=grace)
        left = [future for future in self._pending if not future.done()]
        self._queue.clear()
        for future in left:
            future.set_exception(NotReadyError("the server has stopped; ask another one"))
        await self._batcher.stop()
        # Not on the loop: a round that nobody waits for may run, and answers be on their way.
        is_well = await asyncio.to_thread(self._engine.end, not left)
        return is_well and not left

    async def _serve(self, job: Job, kind: Kind, answer: type[_A]) -> _A:
        try:
            ticket = self._admit(job, kind)
        except QueueFullError as error:
            await self._tell_full(kind, error, job.deadline)
            raise
        except MinirerankerError as error:
            self._observer.job_refused(kind, code_of(error))
            raise
        self._observer.job_queued(job)
        self._observer.queue_depth(self._queue.waiting)
        code, found = "CANCELLED", None
        try:
            found = self._shown(job, await self._answered(ticket))
            code = "OK"
        except Exception as error:
            code = code_of(error)
            raise
        finally:
            self._queue.remove(ticket)
            self._observer.queue_depth(self._queue.waiting)
            self._observer.job_done(job, code, found)
        assert isinstance(found, answer), f"a {kind} job was answered with {type(found).__name__}"
        return found

    async def _tell_full(self, kind: Kind, error: QueueFullError, deadline: float | None) -> None:
        self._observer.job_refused(kind, code_of(error))
        left = _HELD if deadline is None else (deadline - time.monotonic()) / 2
        await asyncio.sleep(max(min(left, _HELD), 0.0))

    def _admit(self, job: Job, kind: Kind) -> Ticket:
        self._require_ready()
        check_job(job, kind, self._options)
        if job.deadline is not None and job.deadline <= time.monotonic():
            raise _late()
        ticket = Ticket(job, asyncio.get_running_loop().create_future())
        if ticket.left:
            self._queue.add(ticket)
            self._batcher.wake()
        else:
            ticket.future.set_result(ticket.answer())
        return ticket

    async def _answered(self, ticket: Ticket) -> Answer:
        """Wait for the answer, at most until the deadline. Cancelled, it takes the ticket along."""
        future, deadline = ticket.future, ticket.job.deadline
        self._pending.add(future)
        loop = asyncio.get_running_loop()
        alarm = None if deadline is None else loop.call_at(deadline, _expire, future)
        try:
            return await future
        finally:
            self._pending.discard(future)
            if alarm is not None:
                alarm.cancel()

    def _rounds_ended(self, rounds: asyncio.Task[None]) -> None:
        """Nobody would be answered any more, and nobody would know why."""
        if rounds.cancelled():
            return
        error = rounds.exception()
        assert error is not None, "rounds go on for ever"
        _LOG.critical("no more rounds", exc_info=error)
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        """There is nobody to compute any more: tell everybody with ``error``, take nothing new."""
        self._is_ready = False
        self.broken.set()
        for future in self._pending:
            if not future.done():
                future.set_exception(error)

    def _shown(self, job: Job, answer: Answer) -> Answer:
        if self._options.shows_cache(job.tenant):
            return answer
        tokens = Tokens(answer.tokens.computed + answer.tokens.cached)
        timings = dataclasses.replace(answer.timings, inputs=0, prefix=0, suffix=0)
        return dataclasses.replace(answer, tokens=tokens, timings=timings)

    def _require_ready(self) -> None:
        if not self._is_ready:
            raise NotReadyError("the server is warming up or stopping; try again soon")


def _expire(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(_late())


def _late() -> DeadlineError:
    return DeadlineError("the deadline passed before there was an answer; allow more time")
