"""The cache an engine holds: memory, before a folder on disk, before a store shared by machines.

    get     memory -> waiting to be written -> disk -> remote; kept in the tiers above on its way up
    put     memory at once; disk and remote behind the caller's back
    delete  every tier, and what is on its way between two of them

A disk that is full, a folder without permission, a store that is gone: counted, logged, a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import torch

from minireranker.errors import ConfigurationError

from .behind import PENDING_BYTES, WriteBehind
from .codec import check_codec
from .database import Database
from .disk import DiskCache
from .entry import Entry
from .fence import Fence
from .flight import Flights
from .key import Namespace
from .memory import DEFAULT_BYTES, MemoryCache, check_ttl
from .placement import onto, place_of, ready
from .prefetch import THREADS, Lookup, Prefetch
from .remote import RemoteStore
from .stats import CacheStats
from .storage import Storage

_E = TypeVar("_E", bound=Entry)


class Cache:
    """Entries in up to three tiers; safe to share between threads, its folder between processes.

    Attributes: ``memory``, ``disk`` and ``remote`` (the tiers; None for one that is not there),
    ``codec`` (how K and V are kept), ``flights`` (who is computing which entry),
    ``catalog_database`` (beside the entries; in memory where there is no folder).
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        memory_bytes: int = DEFAULT_BYTES,
        disk_bytes: int | None = None,
        remote: str | None = None,
        codec: str = "exact",
        ttl: float | None = None,
        quotas: Mapping[str, int] | None = None,
        remote_options: Mapping[str, Any] | None = None,
    ) -> None:
        """``path``: a folder, made if need be; None: memory only.

        ``disk_bytes``: the folder's budget, None: what it was last given. ``remote``: an fsspec URL
        behind the folder, ``remote_options`` its driver's. ``ttl``: seconds after which an entry is
        a miss. ``quotas``: bytes on disk a tenant. Raises ConfigurationError for arguments that
        cannot be honoured, CacheError for a folder or URL that cannot be used, and
        MissingDependencyError for a URL whose driver is not installed.
        """
        _check_combination(
            path, remote, disk_bytes=disk_bytes, quotas=quotas, remote_options=remote_options
        )
        if isinstance(path, str) and ("://" in path or not path):
            raise ConfigurationError(
                f"path = {path!r} is no folder: name one, and give a store's URL as remote="
            )
        if type(memory_bytes) is not int or memory_bytes < 0:
            raise ConfigurationError(f"memory_bytes = {memory_bytes!r}: allowed is 0 or more")
        self.codec = check_codec(codec)
        self.memory = MemoryCache(memory_bytes, check_ttl(ttl))
        self.remote = None if remote is None else RemoteStore(remote, **(remote_options or {}))
        self.disk = (
            None if path is None else DiskCache(path, max_bytes=disk_bytes, ttl=ttl, quotas=quotas)
        )
        self._storage = Storage(self.disk, self.remote, ttl)
        self.flights = Flights()
        self._loads = Flights()
        self._fence = Fence()
        self._behind = WriteBehind(self._storage.write, self._fence, PENDING_BYTES)
        self._loaders = ThreadPoolExecutor(THREADS, thread_name_prefix="minireranker-load")
        self._closed = False
        self.catalog_database = Database(None) if self.disk is None else self.disk.database

    def get(self, key: str, kind: type[_E], device: torch.device | str | None = None) -> _E | None:
        """The entry, on ``device`` if one is given; None if it is nowhere, damaged or too old."""
        place = place_of(device)
        entry = self.peek(key, kind)
        self.memory.count(hit=entry is not None)
        if entry is None:
            entry = self._load(key, kind, place)
        return None if entry is None else ready(entry, place)

    def peek(self, key: str, kind: type[_E]) -> _E | None:
        """The entry if it is in memory or waits to be written, where it is; not counted."""
        entry = self.memory.peek(key, kind)
        if entry is not None and self.disk is not None:
            self.disk.touch(key)
        return self._behind.peek(key, kind, self.memory.ttl) if entry is None else entry

    def put(self, key: str, entry: Entry, *, durable: bool = True) -> None:
        """Keep an entry: in memory at once; if ``durable``, on disk and in the remote store soon.

        Waits while too many bytes wait to be written.
        """
        created = self.memory.put(key, entry)
        if durable and not self._closed and self._storage.is_writable:
            self._behind.put(key, entry, created)

    def prefetch(
        self, keys: Iterable[str], kind: type[_E], device: torch.device | str | None = None
    ) -> Prefetch[_E]:
        """Start to load entries, to be taken in that order; see ``Prefetch``."""
        place = place_of(device)
        lookup: Lookup[_E] = Lookup(
            peek=lambda key: self.peek(key, kind),
            load=lambda key: self._load(key, kind, place),
            get=lambda key: self.get(key, kind, place),
            count=lambda hit: self.memory.count(hit=hit),
        )
        return Prefetch(keys, lookup, self._loaders, place)

    def __contains__(self, key: str) -> bool:
        """Whether the entry is on this machine, and not too old; nothing is counted."""
        if key in self.memory or key in self._behind:
            return True
        return not self._closed and key in self._storage

    def delete(self, keys: Iterable[str]) -> int:
        """Remove entries from all tiers; how many were on this machine."""
        wanted = frozenset(keys)
        with self._fence.closed(wanted.__contains__) as matches:
            quick = self.memory.delete(wanted) | self._behind.forget(matches)
            return sum(key not in self._storage for key in quick) + self._storage.delete(wanted)

    def drop(self, namespace: str) -> int:
        """Remove the namespace of that name from all tiers; how many entries were here."""
        with self._fence.closed(lambda key: key.partition("-")[0] == namespace) as matches:
            quick = self.memory.drop(namespace) | self._behind.forget(matches)
            return sum(key not in self._storage for key in quick) + self._storage.drop(namespace)

    def register(self, namespace: Namespace) -> None:
        """Note whose a namespace is, and what people call it."""
        if self.disk is not None:
            self.disk.register(namespace)

    @property
    def stats(self) -> CacheStats:
        """What each tier has done so far; a read that two threads share is a hit of one of them."""
        return CacheStats(self.memory.stats, *self._storage.stats)

    def flush(self) -> None:
        """Wait until everything put so far is on disk and in the remote store, if it can be."""
        self._behind.flush()
        if self.disk is not None:
            self.disk.flush()

    def close(self) -> None:
        """Flush, and end all threads. From then on the cache is its memory alone."""
        self._closed = True
        self._behind.close()
        self._loaders.shutdown(wait=True)
        self.catalog_database.close()
        if self.disk is not None:
            self.disk.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Its tiers and their bounds."""
        tiers = [f"memory: {self.memory.max_bytes / 2**20:,.0f} MiB"]
        if self.disk is not None:
            tiers.append(f"{self.disk.path}: {self.disk.max_bytes / 2**20:,.0f} MiB")
        if self.remote is not None:
            tiers.append(self.remote.url)
        return f"Cache({'; '.join(tiers)}; codec {self.codec})"

    def _load(self, key: str, kind: type[_E], place: torch.device | None) -> _E | None:
        """From below memory, by one thread at a time; kept in memory."""
        if self._closed:
            return None
        with self._loads.claim([key]) as claim:
            if claim.mine:
                # Another may have finished between our looking and our claiming.
                entry = self.peek(key, kind) or self._read(key, kind, place)
                if entry is not None:
                    claim.land(key, entry)
                return entry
        found = claim.theirs[key].result()
        return found if isinstance(found, kind) else None

    def _read(self, key: str, kind: type[_E], place: torch.device | None) -> _E | None:
        with self._fence.passing(key, wait=False) as keep:
            stored = self._storage.read(key, kind, keep=keep)
            if stored is None:
                return None
            entry = onto(stored.entry, place)
            if keep:
                self.memory.put(key, entry, stored.created)
        return entry


def _check_combination(path: object, remote: object, **others: object) -> None:
    """Raise ConfigurationError for what is given without what it belongs to."""
    needed = {"disk_bytes": "path", "quotas": "path", "remote": "path", "remote_options": "remote"}
    given = {"path": path, "remote": remote, **others}
    for name, other in needed.items():
        if given[name] is not None and given[other] is None:
            raise ConfigurationError(f"{name} is given without {other}: give both, or neither")
