"""Clients: as fast as answers come, or at a rate that does not care about answers."""

from __future__ import annotations

import asyncio
import itertools
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

__all__ = ["Load", "Tally"]

_ONCE = ClientOptions(timeout=None, retries=Retries(attempts=1))


@dataclass
class Tally:
    """What clients got."""

    seconds: float = 0.0
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

    def add(self, more: Tally) -> None:
        """What came of a later turn."""
        self.seconds, self.documents = self.seconds + more.seconds, self.documents + more.documents
        self.outcomes += more.outcomes
        self.latencies += more.latencies
        self.depths += more.depths
        self.resident += more.resident

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / self.seconds


class Load:
    """So many clients, each with a connection of its own."""

    def __init__(
        self,
        address: str,
        clients: int,
        requests: Iterator[tuple[str, list[str]]],
        resident: Callable[[], int | None],
    ) -> None:
        """``resident``: bytes of the server now."""
        self._address, self._requests, self._resident = address, requests, resident
        self._count = clients

    async def waiting(self, seconds: float) -> Tally:
        """Each client asks again when it has its answer; refused, when it was told to."""

        async def work(client: AsyncClient, tally: Tally, end: float) -> None:
            while time.monotonic() < end:
                pause = await self._ask(client, tally)
                await asyncio.sleep(min(pause, max(end - time.monotonic(), 0.0)))

        return await self._run(seconds, work)

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

        return await self._run(seconds, work)

    async def _run(self, seconds: float, work: Callable[..., Any]) -> Tally:
        tally = Tally()
        clients = [AsyncClient(self._address, _ONCE) for _ in range(self._count)]
        watcher = asyncio.ensure_future(self._watch(tally))
        start = time.monotonic()
        try:
            await asyncio.gather(*(work(client, tally, start + seconds) for client in clients))
            tally.seconds = time.monotonic() - start
        finally:
            watcher.cancel()
            await asyncio.gather(*(client.close() for client in clients))
        return tally

    async def _ask(self, client: AsyncClient, tally: Tally) -> float:
        """Seconds that the client was told to stay away."""
        query, names = next(self._requests)
        start = time.monotonic()
        try:
            outcome = await client.rank(query, map(Id, names))
        except MinirerankerError as error:
            tally.outcomes[type(error).__name__] += 1
            return error.retry_after if isinstance(error, QueueFullError) else 0.0
        tally.latencies.append(time.monotonic() - start)
        tally.outcomes["answered" if len(outcome.results) == len(names) else "incomplete"] += 1
        tally.documents += len(outcome.results)
        return 0.0

    async def _watch(self, tally: Tally) -> None:
        async with AsyncClient(self._address, _ONCE) as client:
            while True:
                tally.depths.append((await client.info()).waiting_documents)
                resident = self._resident()
                if resident is not None:
                    tally.resident.append(resident)
                await asyncio.sleep(0.25)
