"""Work that waits or runs, and when it should be done: the queue's bound in seconds."""

from __future__ import annotations

from collections import Counter, defaultdict

from .pace import Pace

__all__ = ["Backlog"]


class Backlog:
    """Work by tenant and by kind of round, see ``jobs.round_of`` and ``weight.work_of``."""

    def __init__(self) -> None:
        """Empty."""
        self._pace = Pace()
        self._waiting: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: Counter[str] = Counter()

    def add(self, tenant: str, kind: str, work: int) -> None:
        """So much more waits."""
        self._waiting[tenant][kind] += work

    def remove(self, tenant: str, kind: str, work: int) -> None:
        """So much less does."""
        self._waiting[tenant][kind] -= work
        if not any(self._waiting[tenant].values()):
            del self._waiting[tenant]

    def start(self, tenant: str, kind: str, work: int) -> None:
        """It waits no longer: the round that begins now has it."""
        self.remove(tenant, kind, work)
        self._running[kind] += work

    def finish(self, seconds: float, share: float) -> None:
        """The round took so long; ``share`` of its work was done, the rest failed."""
        for kind, work in self._running.items():
            self._pace.note(kind, work * share, seconds)
        self._running.clear()

    def knows(self, kind: str) -> bool:
        """Whether anything can be said of such work."""
        return self._pace.knows(kind)

    def expected(self) -> float:
        """Seconds until all of it is done."""
        return self._pace.expected(sum(self._waiting.values(), self._running))

    def at_most(self, tenant: str, kind: str, work: int) -> float:
        """Seconds until so much more of a tenant's would be done.

        Tenants have turns: of each other one's, as much as he has comes before it at most.
        """
        mine = self._pace.at_most(self._waiting.get(tenant, Counter()) + Counter({kind: work}))
        others = sum(
            min(self._pace.at_most(theirs), mine)
            for name, theirs in self._waiting.items()
            if name != tenant
        )
        return self._pace.at_most(self._running) + mine + others
