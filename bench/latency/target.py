"""What is driven: something that keeps documents and ranks them for queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from .drawing import Item

__all__ = ["CACHES", "Counters", "Target"]

CACHES = ("warm-memory", "warm-disk", "cold")
"""Where a query finds what was kept of its candidates: in memory, in a folder, nowhere."""


_Number = TypeVar("_Number", int, float)


@dataclass
class Counters:
    """What a target has done since it was made."""

    pairs: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    token_layers: dict[str, int] = field(default_factory=dict)
    """By stage: tokens times decoder layers."""
    stage_seconds: dict[str, float] = field(default_factory=dict)

    def since(self, before: Counters) -> Counters:
        """What was added after ``before``."""
        return Counters(
            self.pairs - before.pairs,
            self.cache_hits - before.cache_hits,
            self.cache_misses - before.cache_misses,
            _less(self.token_layers, before.token_layers),
            _less(self.stage_seconds, before.stage_seconds),
        )


class Target(Protocol):
    """Queries and candidates are items of one material; documents are known by their names.

    Every method may raise MinirerankerError. Several threads may rank at once.
    """

    name: str

    def index(self, documents: Sequence[Item]) -> None:
        """Keep documents, ahead of any query."""

    def rank(self, query: Item, ids: Sequence[str]) -> list[float]:
        """Raw logit differences, in the order of ``ids``."""

    def rank_all(
        self, queries: Sequence[Item], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The same for all queries in one call."""

    def settle(self, cache: str) -> None:
        """Put what is kept where a query is to find it: one of CACHES."""

    def counters(self) -> Counters:
        """What was done so far."""

    def memory(self) -> dict[str, int | None]:
        """Bytes: ``peak`` of the process, ``gpu_peak``, ``weights``, ``cache``; None: not known."""

    def remarks(self) -> list[str]:
        """What a reader of its figures has to know, a sentence each."""

    def close(self) -> None:
        """Give everything back."""


def _less(now: dict[str, _Number], before: dict[str, _Number]) -> dict[str, _Number]:
    return {name: value - before[name] if name in before else value for name, value in now.items()}
