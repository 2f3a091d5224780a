"""Who waits, who may, and whose turn it is. Plain state: no thread, no clock, no event loop.

Bounded in documents (once for each query; those of the running round too, so that the bound is one
on time), in the seconds they should take, and in bytes; for each tenant in documents. A round is
dealt from one tenant, the one that has had the least so far, to its requests in the order they have
been waiting: a slice each, then what is left of the round. A request that led a round, or took its
slice of one, goes behind those that came meanwhile: a long one holds up none. Who got less keeps
his place.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from .backlog import Backlog
from .options import ServiceOptions
from .parts import Part
from .refusals import QueueFullError
from .ticket import Ticket

__all__ = ["Queue"]

_ROUND_BYTES = 2**27
"""Of content in a round, unless one document has more: on its way to the engine it is in memory up
to four times."""
_PATIENCE = 60.0
"""Seconds a refused caller is told to stay away, at most."""


class Queue:
    """Tickets with documents that no round has taken yet.

    Attributes: ``nbytes`` (of content they hold).
    """

    def __init__(self, options: ServiceOptions) -> None:
        """Empty."""
        self._options = options
        self._tickets: dict[str, dict[Ticket, None]] = {}
        self._waiting: Counter[str] = Counter()
        self._served: dict[str, float] = {}
        self._places = itertools.count()
        self._running: Counter[str] = Counter()
        self._backlog = Backlog()
        self.nbytes = 0

    @property
    def waiting(self) -> int:
        """Documents, once for each query."""
        return self._waiting.total()

    def add(self, ticket: Ticket) -> None:
        """Let a ticket wait. Raises QueueFullError."""
        (tenant, kind, _), cost, work = ticket.group, ticket.waiting, ticket.work
        self.check(tenant, kind, cost, work, ticket.nbytes)
        if tenant not in self._tickets:
            # Who was away has no claim on the time he did not use.
            least = min((self._served[name] for name in self._tickets), default=0.0)
            self._served[tenant] = max(self._served.get(tenant, 0.0), least)
        self._tickets.setdefault(tenant, {})[ticket] = None
        ticket.place = next(self._places)
        self._waiting[tenant] += cost
        self._backlog.add(tenant, kind, work)
        self.nbytes += ticket.nbytes

    def check(self, tenant: str, kind: str, cost: int, work: int, nbytes: int = 0) -> None:
        """Whether so much more may wait; ``kind``: of its rounds. Raises QueueFullError."""
        quota, mine = self._options.quota(tenant), self._waiting[tenant] + self._running[tenant]
        waiting = self.waiting + self._running.total()
        if waiting + cost > self._options.queue_documents:
            raise self._full(f"{waiting} documents are waiting")
        if mine + cost > quota:
            raise self._full(f"{mine} of your documents are waiting, {quota} may")
        if waiting and self._options.queue_seconds is not None:
            self._check_seconds(tenant, kind, waiting + cost, work)
        if self.nbytes + nbytes > self._options.queue_bytes and self._tickets:
            raise self._full("too many bytes are waiting")

    def remove(self, ticket: Ticket) -> None:
        """Of whoever has been answered or has left; nothing if it does not wait."""
        tenant = ticket.job.tenant
        waiting = self._tickets.get(tenant, {})
        if ticket not in waiting:
            return
        del waiting[ticket]
        self._waiting[tenant] -= ticket.waiting
        if ticket.left:
            self._backlog.remove(tenant, ticket.group[1], ticket.work)
        self.nbytes -= ticket.nbytes
        if not waiting:
            del self._tickets[tenant], self._waiting[tenant]
        if not self._tickets:
            self._served.clear()

    def deal(self) -> list[tuple[Ticket, int]]:
        """The next round: tickets of one group, and how many documents each may take.

        Nothing is taken yet, see ``take``. Empty if nobody waits.
        """
        if not self._tickets:
            return []
        tenant = min(self._tickets, key=lambda name: (self._served[name], self._first(name).place))
        first = self._first(tenant)
        mates = [ticket for ticket in self._tickets[tenant] if ticket.group == first.group]
        mates.sort(key=lambda ticket: ticket.place)
        return _deal(mates, self._options)

    def take(self, dealt: Sequence[tuple[Ticket, int]]) -> list[Part]:
        """The documents that were dealt, for a round that starts now.

        Who led the round, or took a slice of it, goes behind.
        """
        return [self._take(ticket, count, led=at == 0) for at, (ticket, count) in enumerate(dealt)]

    def _take(self, ticket: Ticket, count: int, *, led: bool) -> Part:
        before, part, cost = ticket.work, ticket.take(count), count * ticket.job.rows
        self._backlog.start(*ticket.group[:2], before - ticket.work)
        self._waiting[ticket.job.tenant] -= cost
        self._running[ticket.job.tenant] += cost
        self._served[ticket.job.tenant] += cost
        if led or cost >= self._options.slice_documents:
            ticket.place = next(self._places)
        if not ticket.left:
            self.remove(ticket)
        return part

    def round_over(self, seconds: float, share: float = 1.0) -> None:
        """What was taken has been computed, but for what failed: ``share`` of it.

        Until then it counts against the bounds.
        """
        self._running.clear()
        self._backlog.finish(seconds, share)

    def clear(self) -> list[Ticket]:
        """All tickets, which no longer wait."""
        tickets = [ticket for waiting in self._tickets.values() for ticket in waiting]
        for ticket in tickets:
            self.remove(ticket)
        return tickets

    def _first(self, tenant: str) -> Ticket:
        return min(self._tickets[tenant], key=lambda ticket: ticket.place)

    def _check_seconds(self, tenant: str, kind: str, documents: int, work: int) -> None:
        """Raise QueueFullError for work that may come too late, and for more than a round of what
        nobody knows the time of."""
        most, backlog = self._options.queue_seconds, self._backlog
        assert most is not None, "there is a bound"
        if not backlog.knows(kind) and documents > self._options.round_documents:
            raise self._full("nothing like it has been computed yet")
        if backlog.at_most(tenant, kind, work) > most:
            raise self._full(f"what is waiting takes about {backlog.expected():.1f} s")

    def _full(self, what: str) -> QueueFullError:
        seconds = self._backlog.expected()
        return QueueFullError(f"the server is busy: {what}", min(max(seconds, 1.0), _PATIENCE))


def _deal(tickets: Sequence[Ticket], options: ServiceOptions) -> list[tuple[Ticket, int]]:
    """A slice each, in order; then whatever room is left, in order."""
    room, tokens, nbytes = options.round_documents, options.round_tokens, _ROUND_BYTES
    taken = dict.fromkeys(tickets, 0)
    for most in (options.slice_documents, options.round_documents):
        for ticket in tickets:
            rows = ticket.job.rows
            while taken[ticket] < ticket.left and (taken[ticket] + 1) * rows <= max(most, rows):
                weight = ticket.weight(taken[ticket]) + rows
                held = ticket.held(taken[ticket])
                is_empty = room == options.round_documents
                if not is_empty and (rows > room or weight > tokens or held > nbytes):
                    return [(one, count) for one, count in taken.items() if count]
                taken[ticket] += 1
                room, tokens, nbytes = room - rows, tokens - weight, nbytes - held
    return [(one, count) for one, count in taken.items() if count]
