"""Clients: as fast as answers come, or at a rate that does not care about answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from minireranker.errors import MinirerankerError
from minireranker.serve.client_async import AsyncClient
from minireranker.serve.client_messages import Id
from minireranker.serve.client_options import ClientOptions
from minireranker.serve.refusals import QueueFullError
from minireranker.serve.retrying import Retries

from .server import Served

__all__ = ["Load", "Tally"]

_LEAD = 1.0
"""Seconds for which clients that wait work before they count."""
_ONCE = ClientOptions(timeout=None, retries=Retries(attempts=1))


@dataclass
class Tally:
    """What clients got; of calls, those that ended between ``begin`` and ``end`` (monotonic)."""

    begin: float = -math.inf
    end: float = math.inf
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of the server, where clients wait."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """"answered", or the name of the error."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of the answered."""
    documents: int = 0
    """Of the answered."""
    depths: list[int] = field(default_factory=list)
    """Documents in the queue, looked at every quarter of a second."""
    resident: list[int] = field(default_factory=list)
    """Bytes of the server, likewise."""

    def count(self, outcome: str, documents: int = 0, latency: float | None = None) -> None:
        """A call that ends now."""
        if self.begin <= time.monotonic() < self.end:
            self.outcomes[outcome] += 1
            self.documents += documents
            if latency is not None:
                self.latencies.append(latency)

    def add(self, more: Tally) -> None:
        """What came of a later turn."""
        self.seconds, self.documents = self.seconds + more.seconds, self.documents + more.documents
        self.cpu, self.outcomes = self.cpu + more.cpu, self.outcomes + more.outcomes
        self.latencies += more.latencies
        self.depths += more.depths
        self.resident += more.resident

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / self.seconds

    @property
    def cpu_per_document(self) -> float | None:
        """Seconds of the server; None where it is not known."""
        return self.cpu / self.documents if self.cpu and self.documents else None


class Load:
    """So many clients, each with a connection of its own."""

    def __init__(
        self, served: Served, clients: int, requests: Iterator[tuple[str, list[str]]]
    ) -> None:
        """``requests``: a query and the ids of its documents."""
        self._served, self._requests, self._count = served, requests, clients

    async def waiting(self, seconds: float) -> Tally:
        """Each client asks again when it has its answer; refused, when it was told to.

        They begin a moment before the seconds that count, and end after them: rounds that are
        filling or running empty say nothing of a server that is never alone.
        """

        async def work(client: AsyncClient, tally: Tally, end: float) -> None:
            while time.monotonic() < end:
                pause = await self._ask(client, tally)
                await asyncio.sleep(min(pause, max(end - time.monotonic(), 0.0)))

        begin = time.monotonic() + _LEAD
        tally = Tally(begin, begin + seconds)
        _, tally.cpu = await asyncio.gather(
            self._run(tally, _LEAD + seconds, work), self._spent(tally)
        )
        tally.seconds = seconds
        return tally

    async def _spent(self, tally: Tally) -> float:
        """Seconds of the processor that the server takes between a tally's ``begin`` and ``end``;
        0 where the system does not say."""
        found = []
        for moment in (tally.begin, tally.end):
            await asyncio.sleep(moment - time.monotonic())
            found.append(self._served.cpu_seconds() or 0.0)
        return found[1] - found[0]

    async def paced(self, seconds: float, documents_a_second: float, per_request: int) -> Tally:
        """Clients ask at that rate all together, whether they are answered or not."""
        pause = self._count * per_request / documents_a_second
        offsets = itertools.count()

        async def work(client: AsyncClient, tally: Tally, end: float) -> None:
            begin = end - seconds + next(offsets) * pause / self._count
            asked = []
            for turn in itertools.count():
                due = begin + turn * pause
                if due >= end:
                    break
                await asyncio.sleep(max(due - time.monotonic(), 0.0))
                asked.append(asyncio.ensure_future(self._ask(client, tally)))
            await asyncio.gather(*asked)

        tally = Tally()
        tally.seconds = await self._run(tally, seconds, work)
        return tally

    async def _run(self, tally: Tally, seconds: float, work: Callable[..., Any]) -> float:
        """How long it was until the last answer."""
        clients = [AsyncClient(self._served.address, _ONCE) for _ in range(self._count)]
        watcher = asyncio.ensure_future(self._watch(tally))
        start = time.monotonic()
        try:
            await asyncio.gather(*(work(client, tally, start + seconds) for client in clients))
            return time.monotonic() - start
        finally:
            watcher.cancel()
            await asyncio.gather(*(client.close() for client in clients))

    async def _ask(self, client: AsyncClient, tally: Tally) -> float:
        """Seconds that the client was told to stay away."""
        query, names = next(self._requests)
        start = time.monotonic()
        try:
            outcome = await client.rank(query, map(Id, names))
        except MinirerankerError as error:
            tally.count(type(error).__name__)
            return error.retry_after if isinstance(error, QueueFullError) else 0.0
        found = len(outcome.results)
        name = "answered" if found == len(names) else "incomplete"
        tally.count(name, found, time.monotonic() - start)
        return 0.0

    async def _watch(self, tally: Tally) -> None:
        async with AsyncClient(self._served.address, _ONCE) as client:
            while True:
                tally.depths.append((await client.info()).waiting_documents)
                resident = self._served.resident()
                if resident is not None:
                    tally.resident.append(resident)
                await asyncio.sleep(0.25)
