"""What all targets that are servers elsewhere have in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from minireranker.errors import ConfigurationError

from .drawing import Item
from .target import Counters

__all__ = ["STAGES", "Remote", "failed_there"]

STAGES = ("queue", "inputs", "prefix", "suffix")
"""Whose nanoseconds a server tells with every answer."""
_NANOSECOND = 1e-9


class Remote(ABC):
    """A server as a target. What it has cached is its own affair: ``settle`` changes nothing."""

    def __init__(self, name: str) -> None:
        """``name``: for people; with the address and the protocol."""
        self.name = name
        self._lock = threading.Lock()
        self._pairs = 0
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @abstractmethod
    def index(self, documents: Sequence[Item]) -> None:
        """See Target."""

    @abstractmethod
    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """See Target. Raises ConfigurationError where a document failed."""

    @abstractmethod
    def close(self) -> None:
        """End the connections."""

    def rank_all(
        self, queries: Sequence[Item], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """One query after the other: no protocol has a call for lists of their own."""
        return [self.rank(query, ids) for query, ids in zip(queries, candidates, strict=True)]

    def settle(self, cache: str) -> None:
        """Nothing: ``warm-memory`` is what a server that was just asked is in."""
        assert cache == "warm-memory", "a sidecar's cache cannot be emptied from here"

    def counters(self) -> Counters:
        """Stages as the server tells them; it does not tell which entries were hits."""
        with self._lock:
            return Counters(pairs=self._pairs, stage_seconds=dict(self._seconds))

    def memory(self) -> dict[str, int | None]:
        """Not known from here."""
        return dict.fromkeys(("peak", "gpu_peak", "weights", "cache"))

    def remarks(self) -> list[str]:
        """See Target."""
        return []

    def _note(self, pairs: int, nanoseconds: Mapping[str, int]) -> None:
        """Count what one answer has told."""
        with self._lock:
            self._pairs += pairs
            for name in STAGES:
                self._seconds[name] += nanoseconds[name] * _NANOSECOND


def failed_there(count: int, index: int, reason: object) -> ConfigurationError:
    """The error for documents that failed at a server; ``index``, ``reason``: of the first."""
    return ConfigurationError(
        f"{count} documents of the workload failed at the sidecar, so nothing is measured: "
        f"document {index}: {reason}"
    )
