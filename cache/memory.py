"""Entries in memory: bounded in bytes, the least recently used go first.

Of several tenants the one that holds most pays, as on disk: each keeps at least an equal share,
whatever the others bring.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from minireranker.errors import ConfigurationError

from .key import Namespace
from .stats import TierStats

DEFAULT_BYTES = 4 * 2**30


class Sized(Protocol):
    """Anything that knows its bytes."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


_Entry = TypeVar("_Entry", bound=Sized)


@dataclass(frozen=True)
class _Kept:
    entry: Sized
    created: float
    nbytes: int
    tenant: str


class MemoryCache:
    """Least-recently-used entries up to a number of bytes; safe to share between threads."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES, ttl: float | None = None) -> None:
        """``max_bytes``: bound on the sum of the entries' tensors. ``ttl``: seconds an entry lives.

        Raises ConfigurationError.
        """
        if type(max_bytes) is not int or max_bytes < 0:
            raise ConfigurationError(f"cache max_bytes = {max_bytes!r}: allowed is 0 or more")
        self.max_bytes = max_bytes
        self.ttl = check_ttl(ttl)
        self._entries: OrderedDict[str, _Kept] = OrderedDict()
        self._orders: dict[str, OrderedDict[str, None]] = {}
        self._held: Counter[str] = Counter()
        self._tenants: dict[str, str] = {}
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = self._evictions = 0

    def register(self, namespace: Namespace) -> None:
        """Note whose a namespace is, before its first entry; else it is the tenant's named ""."""
        self._tenants[namespace.name] = namespace.tenant

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    @property
    def entries(self) -> int:
        """Entries held now."""
        return len(self._entries)

    @property
    def stats(self) -> TierStats:
        """Hits, misses and evictions so far, and what is held now."""
        with self._lock:
            entries = len(self._entries)
            return TierStats(self._hits, self._misses, self._evictions, 0, entries, self._bytes)

    def held(self) -> list[str]:
        """The keys of its entries, the least recently used first."""
        with self._lock:
            return list(self._entries)

    def get(self, key: str, kind: type[_Entry]) -> _Entry | None:
        """The entry under ``key``, now the most recently used, or None; counted."""
        entry = self.peek(key, kind)
        self.count(hit=entry is not None)
        return entry

    def peek(self, key: str, kind: type[_Entry]) -> _Entry | None:
        """What ``get`` gives, not counted."""
        with self._lock:
            kept = self._alive(key)
            if kept is None or not isinstance(kept.entry, kind):
                return None
            self._entries.move_to_end(key)
            self._orders[kept.tenant].move_to_end(key)
            return kept.entry

    def count(self, *, hit: bool) -> None:
        """Count what a ``peek`` on somebody's behalf has found."""
        with self._lock:
            self._hits += hit
            self._misses += not hit

    def put(self, key: str, entry: Sized, created: float | None = None) -> float:
        """Keep ``entry``, evicting others as needed; one larger than the bound is not kept.

        ``created``: wall-clock seconds; None: as of the entry it replaces, else now. The time it
        counts as made at is returned.
        """
        size = entry.nbytes
        with self._lock:
            replaced = self._alive(key)
            if created is None:
                created = time.time() if replaced is None else replaced.created
            self._remove(key)
            if size <= self.max_bytes:
                self._add(key, entry, created)
            while self._bytes > self.max_bytes:
                payer = max(self._held, key=self._held.__getitem__)
                self._remove(next(iter(self._orders[payer])))
                self._evictions += 1
        return created

    def delete(self, keys: Iterable[str]) -> set[str]:
        """Drop entries; the keys of those that were there."""
        with self._lock:
            return {key for key in keys if self._remove(key)}

    def drop(self, namespace: str) -> set[str]:
        """Drop all entries of the namespace of that name; their keys."""
        with self._lock:
            inside = [key for key in self._entries if key.partition("-")[0] == namespace]
            return {key for key in inside if self._remove(key)}

    def clear(self) -> None:
        """Drop every entry."""
        with self._lock:
            for part in (self._entries, self._orders, self._held):
                part.clear()
            self._bytes = 0

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` is held; neither counted nor marked as used."""
        with self._lock:
            return self._alive(key) is not None

    def _alive(self, key: str) -> _Kept | None:
        kept = self._entries.get(key)
        if kept is not None and is_past(kept.created, self.ttl):
            self._remove(key)
            return None
        return kept

    def _add(self, key: str, entry: Sized, created: float) -> None:
        tenant, size = self._tenants.get(key.partition("-")[0], ""), entry.nbytes
        self._entries[key] = _Kept(entry, created, size, tenant)
        self._orders.setdefault(tenant, OrderedDict())[key] = None
        self._held[tenant] += size
        self._bytes += size

    def _remove(self, key: str) -> bool:
        kept = self._entries.pop(key, None)
        if kept is None:
            return False
        self._bytes -= kept.nbytes
        self._held[kept.tenant] -= kept.nbytes
        del self._orders[kept.tenant][key]
        if not self._orders[kept.tenant]:
            del self._orders[kept.tenant], self._held[kept.tenant]
        return True


def check_ttl(ttl: float | None) -> float | None:
    """The same ``ttl``, if it is a number of seconds or None. Raises ConfigurationError."""
    if ttl is None or (type(ttl) in (int, float) and 0 < ttl < float("inf")):
        return ttl
    raise ConfigurationError(f"cache ttl = {ttl!r}: allowed is more than 0 seconds, or None")


def is_past(created: float, ttl: float | None) -> bool:
    """Whether what was made at ``created``, in wall-clock seconds, is older than ``ttl``.

    Never, where the clock stands before ``created``: it has gone backwards since.
    """
    return ttl is not None and time.time() - created > ttl
