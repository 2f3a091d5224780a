"""When requests begin and end: one after the other, so many at a time, or as they arrive.

In an open loop requests arrive when they arrive, whether or not the one before has been answered,
and a latency counts from the arrival. Were it counted from the start of service, a stall would
hide the waiting of all that came during it (coordinated omission).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

__all__ = ["Sample", "Work", "arrivals", "closed_loop", "one_after_another", "open_loop"]

Work: TypeAlias = Callable[[int], object]
"""Serves the request of that number."""


@dataclass(frozen=True)
class Sample:
    """One request, seconds since the run began."""

    arrival: float
    start: float
    end: float

    @property
    def latency(self) -> float:
        """What a client waits: from the arrival."""
        return self.end - self.arrival

    @property
    def service(self) -> float:
        """Of that, being served."""
        return self.end - self.start


def one_after_another(
    work: Work, count: int, samples: list[Sample], settle: Callable[[], object] = lambda: None
) -> None:
    """Requests 0 to ``count``, each once the one before is done; added to ``samples`` as they end.

    ``settle`` is called before each, and not timed: samples lie end to end without it.
    """
    now = samples[-1].end if samples else 0.0
    for number in range(count):
        settle()
        start = time.perf_counter()
        work(number)
        end = now + time.perf_counter() - start
        samples.append(Sample(now, now, end))
        now = end


def closed_loop(work: Work, count: int, concurrency: int, samples: list[Sample]) -> None:
    """``concurrency`` clients that each ask again as soon as they are answered."""
    begin, numbers = time.perf_counter(), itertools.count()

    def client(stop: threading.Event) -> None:
        for number in numbers:
            if number >= count or stop.is_set():
                return
            start = time.perf_counter() - begin
            work(number)
            samples.append(Sample(start, start, time.perf_counter() - begin))

    _together([client] * concurrency)


def open_loop(work: Work, times: Sequence[float], servers: int, samples: list[Sample]) -> None:
    """Requests that arrive at ``times`` (ascending seconds), ``servers`` of them served at once."""
    begin, numbers = time.perf_counter(), itertools.count()

    def server(stop: threading.Event) -> None:
        for number in numbers:
            if number >= len(times) or stop.wait(times[number] - (time.perf_counter() - begin)):
                return
            start = time.perf_counter() - begin
            work(number)
            samples.append(Sample(times[number], start, time.perf_counter() - begin))

    _together([server] * servers)


def arrivals(count: int, rate: float, seed: int) -> list[float]:
    """Seconds at which a Poisson process of ``rate`` a second has its first ``count`` events."""
    random = Random(f"arrivals/{seed}")
    return list(itertools.accumulate(random.expovariate(rate) for _ in range(count)))


def _together(clients: Sequence[Callable[[threading.Event], None]]) -> None:
    """All at once, each in a thread. The first error ends the others, and so does an interrupt."""
    stop = threading.Event()

    def guarded(client: Callable[[threading.Event], None]) -> None:
        try:
            client(stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(len(clients), thread_name_prefix="minireranker-client") as pool:
        running = [pool.submit(guarded, client) for client in clients]
        try:
            for each in running:
                each.result()
        finally:
            stop.set()
