"""How requests come: all at once, one by one, from several clients, or as a stream; and one run."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from minireranker.errors import ConfigurationError

from .clock import Sample, arrivals, closed_loop, one_after_another, open_loop
from .drawing import Material
from .energy import EnergyMeter
from .statistics import summary
from .target import Counters, Target

__all__ = ["MODES", "Driver", "Mode"]

MODES = ("offline", "single", "closed", "open")

_LOAD = 0.7
"""Share of what one query after the other takes that a rate nobody gave asks for."""


@dataclass(frozen=True)
class Mode:
    """One way of driving a target. Raises ConfigurationError."""

    name: str
    """offline: one call for everything, again and again. single: one query after the other.
    closed: so many clients at once. open: at a Poisson rate."""
    concurrency: int = 4
    """Clients of ``closed``; requests served at once in ``open``."""
    rate: float | None = None
    """Of ``open``, queries a second; None: 70 % of what one after the other takes."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.name not in MODES:
            raise ConfigurationError(f"mode {self.name!r}: allowed is one of {', '.join(MODES)}")
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency = {self.concurrency}: allowed is 1 or more")
        if self.rate is not None and not self.rate > 0:
            raise ConfigurationError(f"rate = {self.rate}: allowed is above 0, queries a second")

    def check(self, cache: str, *, stream: bool) -> None:
        """Raise ConfigurationError where a state of the cache leaves it without a meaning."""
        if cache == "warm-memory" or stream or self.name in ("offline", "single"):
            return
        raise ConfigurationError(
            f"mode {self.name} with --cache {cache}: queries that overlap would find what the "
            "others have just read; use --cache warm-memory, or the modes offline and single"
        )

    def label(self, rate: float | None = None) -> str:
        """For people; ``rate``: what was driven at."""
        if self.name == "closed":
            return f"closed loop, {self.concurrency} at a time"
        if self.name == "open":
            return "open loop" if rate is None else f"open loop, {rate:.3g} a second"
        return {"offline": "offline, all at once", "single": "one after the other"}[self.name]


class Driver:
    """Drives one target with one material from one state of the cache.

    A run that is interrupted is in ``runs`` as far as it got, under ``"finished": False``.
    """

    def __init__(
        self, target: Target, material: Material, cache: str, *, repeats: int, stream: bool
    ) -> None:
        """``stream``: what is read stays, so that every query is asked once, from a cold start."""
        self._target, self._material, self._cache = target, material, cache
        self._repeats, self._stream = 1 if stream else repeats, stream
        self._service: float | None = None
        self.runs: list[dict[str, Any]] = []

    def run(self, mode: Mode, seed: int) -> None:
        """Measure one mode; the result is added to ``runs``. Raises what the target raises."""
        samples: list[Sample] = []
        rate = self._rate(mode)
        before, finished = self._target.counters(), False
        begin, meter = time.perf_counter(), EnergyMeter()
        try:
            with meter:
                self._settle(first=True)
                begin = time.perf_counter()
                self._drive(mode, rate, seed, samples)
            finished = True
        finally:
            wall = time.perf_counter() - begin
            if samples:
                done = self._target.counters().since(before)
                row = self._row(mode, samples, wall, done) | {"label": mode.label(rate)}
                row |= {"rate": rate, "energy": meter.reading(), "finished": finished}
                self.runs.append(row)

    def _drive(self, mode: Mode, rate: float | None, seed: int, samples: list[Sample]) -> None:
        count = len(self._material.queries) * self._repeats
        if mode.name == "offline":
            one_after_another(self._rank_all, self._repeats, samples, self._settle)
        elif mode.name == "single":
            one_after_another(self._rank, count, samples, self._settle)
            self._service = statistics.fmean(sample.service for sample in samples)
        elif mode.name == "closed":
            closed_loop(self._rank, count, mode.concurrency, samples)
        else:
            assert rate is not None, "an open loop has a rate"
            open_loop(self._rank, arrivals(count, rate, seed), mode.concurrency, samples)

    def _rate(self, mode: Mode) -> float | None:
        if mode.name != "open" or mode.rate is not None:
            return mode.rate if mode.name == "open" else None
        if self._service is None:
            spent: list[Sample] = []
            queries = min(3, len(self._material.queries))
            self._settle(first=True)
            one_after_another(self._rank, queries, spent, self._settle)
            self._service = statistics.fmean(sample.service for sample in spent)
        return _LOAD / self._service

    def _settle(self, *, first: bool = False) -> None:
        if first or not self._stream:
            self._target.settle(self._cache)

    def _rank(self, number: int) -> None:
        query = number % len(self._material.queries)
        self._target.rank(self._material.queries[query], self._material.names(query))

    def _rank_all(self, number: int) -> None:
        lists = [self._material.names(query) for query in range(len(self._material.queries))]
        self._target.rank_all(self._material.queries, lists)

    def _row(
        self, mode: Mode, samples: list[Sample], wall: float, done: Counters
    ) -> dict[str, Any]:
        """The figures of a run; a latency of ``offline`` is a whole call's."""
        offline = mode.name == "offline"
        listed = len(self._material.queries) if offline else 1
        queries = listed * len(samples)
        pairs = queries / len(self._material.queries) * self._material.pairs
        # What lies between two samples was spent on settling the cache.
        seconds = wall if mode.name in ("closed", "open") else samples[-1].end
        latencies = [sample.latency for sample in samples]
        looked = done.cache_hits + done.cache_misses
        return {
            "mode": mode.name,
            "concurrency": mode.concurrency if mode.name in ("closed", "open") else 1,
            "cache": self._cache,
            "latencies": latencies,
            "service": [sample.service for sample in samples],
            **summary(latencies),
            "queries": queries,
            "pairs": round(pairs),
            "seconds": seconds,
            "pairs_per_second": pairs / seconds,
            "queries_per_second": queries / seconds,
            "cache_hit_rate": done.cache_hits / looked if looked else None,
            "token_layers": done.token_layers,
            "stages": _stages(done.stage_seconds),
            "memory": self._target.memory(),
        }


def _stages(seconds: dict[str, float]) -> dict[str, Any]:
    """Seconds of each stage, and its share of all of them."""
    total = sum(seconds.values())
    return {
        name: {"seconds": value, "share": value / total}
        for name, value in seconds.items()
        if total > 0
    }
