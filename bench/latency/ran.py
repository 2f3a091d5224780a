"""The record of one contender in the turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .contenders import Contender

if TYPE_CHECKING:
    from minireranker.bench.peers import PeerScores

__all__ = ["Ran"]


@dataclass
class Ran:
    """What a contender did; seconds are of whole units."""

    contender: Contender
    scores: list[list[float]] = field(default_factory=list)
    kind: str = "logit"
    cold: list[float] = field(default_factory=list)
    """Of each unit, when it was scored for the first time."""
    seconds: list[float] = field(default_factory=list)
    """One a turn, in the order of the turns."""
    ratios: list[float] = field(default_factory=list)
    """To ours, on the same pairs."""
    scaled_ratios: list[float] = field(default_factory=list)
    """Seconds a pair, to ours over the whole list."""
    peak_memory: int | None = None
    failure: str | None = None
    interpreter: str = "none"
    """Whose: its own environment, this interpreter, or none."""
    loaded: dict[str, Any] = field(default_factory=dict)
    """What the peer said of itself: ``versions``, ``load_s``."""
    prefixes: dict[str, int] | None = None
    """First segments ``computed`` and ``reused`` in the turns; None: the peer does not tell."""

    def count_prefixes(self, answer: PeerScores) -> None:
        """Add what a turn has told."""
        told = {"computed": answer.prefixes_computed, "reused": answer.prefixes_reused}
        if None not in told.values():
            before = self.prefixes or {}
            self.prefixes = {n: before.get(n, 0) + (more or 0) for n, more in told.items()}

    def take(self, answer: PeerScores) -> float:
        """Note the memory; returns the seconds."""
        self.peak_memory = max(self.peak_memory or 0, answer.peak_memory)
        return answer.seconds
