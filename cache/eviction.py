"""Who makes room for a new entry.

A tenant over its quota pays with its own entries. Where the folder is full, whoever is over a quota
pays first, then the tenant that holds most (the newcomer's bytes counted): so each keeps at least
an equal share of the folder, however much another writes. Everybody pays with what was used least
recently; what is pinned or being written is never touched, and where that leaves too little room,
nothing is evicted at all.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

AT_ONCE = 32
"""Entries claimed in one transaction, at most."""


@dataclass
class Eviction:
    """Chooses within one transaction who has to go."""

    connection: sqlite3.Connection
    claimant: str
    """Whose they are then: a locked temporary file."""
    limit: int
    """Bytes for all together."""
    quotas: Mapping[str, int] = field(default_factory=dict)
    """Bytes by tenant, for those that have one."""
    victims: list[str] = field(default_factory=list)
    """Keys that were claimed; their bytes are counted until their rows are gone."""

    def fits(self, tenant: str, size: int) -> bool:
        """Whether ``size`` more bytes fit for ``tenant`` as it is."""
        return not self._payers(self._held_with(tenant, size), tenant)

    def make_room(self, tenant: str, size: int) -> bool:
        """Whether they fit, or may once the victims are gone."""
        held = self._held_with(tenant, size)
        if self._payers(held, tenant) and not self._could_fit(tenant, size):
            return False
        while len(self.victims) < AT_ONCE and (payers := self._payers(held, tenant)):
            if not any(self._pay(payer, held) for payer in payers):
                return bool(self.victims)
        return True

    def _held_with(self, tenant: str, size: int) -> dict[str, int]:
        """Bytes by tenant, the newcomer's included."""
        rows = self.connection.execute("SELECT tenant, bytes FROM totals").fetchall()
        held = {tenant: 0, **dict(rows)}
        held[tenant] += size
        return held

    def _payers(self, held: Mapping[str, int], tenant: str) -> list[str]:
        """Who has to pay, the first that can; nobody: everything fits."""
        over = {name for name, quota in self.quotas.items() if held.get(name, 0) > quota}
        if tenant in over:
            return [tenant]
        if sum(held.values()) <= self.limit:
            return []
        return sorted(held, key=lambda name: (name not in over, -held[name], name != tenant))

    def _could_fit(self, tenant: str, size: int) -> bool:
        """Whether it would fit if everything went that may go."""
        kept = "SELECT tenant, bytes FROM entries WHERE"
        stays: Counter[str] = Counter()
        for name, taken in self.connection.execute(
            f"{kept} pinned = 1 AND writing IS NULL UNION ALL {kept} writing IS NOT NULL"
        ):
            stays[name] += taken
        quota = self.quotas.get(tenant, self.limit)
        return stays[tenant] + size <= quota and stays.total() + size <= self.limit

    def _pay(self, payer: str, held: dict[str, int]) -> bool:
        """Claim the entry ``payer`` has used least recently; whether there was one."""
        victim = self.connection.execute(
            "SELECT key, bytes FROM entries WHERE tenant = ? AND pinned = 0 AND writing IS NULL "
            "ORDER BY used LIMIT 1",
            (payer,),
        ).fetchone()
        if victim is None:
            return False
        key, size = victim
        self.connection.execute(
            "UPDATE entries SET writing = ? WHERE key = ?", (self.claimant, key)
        )
        held[payer] -= size
        self.victims.append(key)
        return True
