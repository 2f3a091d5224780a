"""Counts what a call computes and how long its stages take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from .types import Timings, Work


class Meter:
    """One call's counters; the model-facing code adds to it, the answer reports it."""

    def __init__(self) -> None:
        """All zero."""
        self._counts: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def count(self, **amounts: int) -> None:
        """Add to fields of Work."""
        self._counts.update(amounts)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block as one of the fields of Timings; what stages inside it take is theirs."""
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self._seconds[name] += elapsed - self._inner.pop()
            self._inner[-1] += elapsed

    @property
    def work(self) -> Work:
        """What was counted."""
        return Work(**self._counts)

    @property
    def timings(self) -> Timings:
        """What was timed."""
        return Timings(**self._seconds)
