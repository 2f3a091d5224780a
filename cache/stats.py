"""What the tiers of a cache have done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TierStats:
    """One tier: counts since it was opened by this process, and what it holds now."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    errors: int = 0
    """Reads and writes that failed, damaged entries: each was treated as a miss."""
    entries: int | None = 0
    """None: not known without listing a remote store."""
    bytes: int | None = 0


@dataclass(frozen=True)
class CacheStats:
    """All tiers; None for one that is not there."""

    memory: TierStats
    disk: TierStats | None = None
    remote: TierStats | None = None
