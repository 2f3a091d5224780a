"""What pruning would remove, without removing it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .quantities import counted, shown_bytes

if TYPE_CHECKING:
    from minireranker.cache.listing import EntryInfo

__all__ = ["PrunePlan", "plan"]


@dataclass(frozen=True)
class PrunePlan:
    """How much goes and how much there is; as text, a sentence."""

    entries: int
    bytes: int
    all_entries: int
    all_bytes: int
    pinned: int
    """Entries that stay because they are pinned."""

    def __str__(self) -> str:
        """For people."""
        stay = f"; {self.pinned} pinned stay" if self.pinned else ""
        return (
            f"{self.entries:,} of {counted(self.all_entries, 'entry', 'entries')}, "
            f"{shown_bytes(self.bytes)} of "
            f"{shown_bytes(self.all_bytes)}{stay}"
        )


def plan(
    entries: Iterable[EntryInfo], max_bytes: int | None, older_than: float | None
) -> PrunePlan:
    """What ``DiskCache.prune`` with these arguments is about to do; None: no bound."""
    found = sorted(entries, key=lambda entry: entry.used)
    total = left = sum(entry.bytes for entry in found)
    oldest = 0.0 if older_than is None else time.time() - older_than
    loose = [entry for entry in found if not entry.pinned]
    gone = [entry for entry in loose if entry.created < oldest]
    left -= sum(entry.bytes for entry in gone)
    for entry in loose:
        if max_bytes is not None and left > max_bytes and entry.created >= oldest:
            gone.append(entry)
            left -= entry.bytes
    size = sum(entry.bytes for entry in gone)
    return PrunePlan(len(gone), size, len(found), total, len(found) - len(loose))
