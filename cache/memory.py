"""Entries in memory: bounded in bytes, the least recently used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, TypeVar

from minireranker.errors import ConfigurationError

DEFAULT_BYTES = 4 * 2**30


class Sized(Protocol):
    """Anything that knows its bytes."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


_Entry = TypeVar("_Entry", bound=Sized)


@dataclass(frozen=True)
class CacheStats:
    """Counts since the cache was made."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class MemoryCache:
    """Least-recently-used entries up to a number of bytes; safe to share between threads."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        """``max_bytes``: bound on the sum of the entries' tensors. Raises ConfigurationError."""
        if type(max_bytes) is not int or max_bytes < 0:
            raise ConfigurationError(f"cache max_bytes = {max_bytes!r}: allowed is 0 or more")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, Sized] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = self._evictions = 0

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    @property
    def entries(self) -> int:
        """Entries held now."""
        return len(self._entries)

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and evictions so far."""
        return CacheStats(self._hits, self._misses, self._evictions)

    def get(self, key: str, kind: type[_Entry]) -> _Entry | None:
        """The entry under ``key``, now the most recently used, or None; counted."""
        with self._lock:
            entry = self._entries.get(key)
            if not isinstance(entry, kind):
                self._misses += 1
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return entry

    def put(self, key: str, entry: Sized) -> None:
        """Keep ``entry``, evicting others as needed; one larger than the bound is not kept."""
        with self._lock:
            self._remove(key)
            if entry.nbytes > self.max_bytes:
                return
            self._entries[key] = entry
            self._bytes += entry.nbytes
            while self._bytes > self.max_bytes:
                self._remove(next(iter(self._entries)))
                self._evictions += 1

    def clear(self) -> None:
        """Drop every entry."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def __contains__(self, key: str) -> bool:
        """Whether ``key`` is held; neither counted nor marked as used."""
        return key in self._entries

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.nbytes
