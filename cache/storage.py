"""The tiers that outlive the process: a folder on disk, before a store shared by machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from minireranker.errors import CorruptEntryError

from .disk import DiskCache
from .entry import Entry
from .format import Stored, dump, load
from .memory import is_past
from .placement import on_cpu
from .remote import RemoteStore
from .stats import TierStats

_E = TypeVar("_E", bound=Entry)


class Storage:
    """A ``DiskCache`` and the ``RemoteStore`` behind it, as far as there are any."""

    def __init__(
        self, disk: DiskCache | None, remote: RemoteStore | None, ttl: float | None
    ) -> None:
        """``ttl``: seconds an entry lives, also in the remote store; the disk's own."""
        self.disk, self.remote, self._ttl = disk, remote, ttl
        self._mapped = 0

    @property
    def is_writable(self) -> bool:
        """Whether anything could be kept in one of the two."""
        return self.remote is not None or (self.disk is not None and not self.disk.read_only)

    @property
    def stats(self) -> tuple[TierStats | None, TierStats | None]:
        """Disk's and remote's: each entry read is one hit, in the one it was found in."""
        disk = None
        if self.disk is not None:
            disk = self.disk.stats
            disk = replace(disk, hits=disk.hits - self._mapped)
        return disk, None if self.remote is None else self.remote.stats

    def read(self, key: str, kind: type[_E], *, keep: bool) -> Stored[_E] | None:
        """An entry on the CPU. ``keep``: one found in the remote store goes to the disk as well."""
        stored = None if self.disk is None else self.disk.get(key, kind)
        if stored is None and self.remote is not None:
            return self._read_through(self.remote, key, kind, keep=keep)
        return stored

    def write(self, key: str, entry: Entry, created: float) -> None:
        """Keep an entry in both, where it is not there yet and as far as they take it."""
        entry = on_cpu(entry)
        on_disk = self.disk is not None and self.disk.put(key, entry, created)
        if self.remote is None or key in self.remote:
            return
        data = self.disk.read_bytes(key) if self.disk is not None and on_disk else None
        self.remote.put(key, dump(key, entry, created) if data is None else data)

    def delete(self, keys: Iterable[str]) -> int:
        """Remove entries from both; how many were on disk."""
        keys = list(keys)
        if self.remote is not None:
            self.remote.delete(keys)
        return 0 if self.disk is None else self.disk.delete(keys)

    def drop(self, namespace: str) -> int:
        """Remove a whole namespace from both; how many entries were on disk."""
        if self.remote is not None:
            self.remote.delete(self.remote.keys(namespace))
        return 0 if self.disk is None else self.disk.drop(namespace)

    def __contains__(self, key: str) -> bool:
        """Whether it is on disk; the remote store is not asked."""
        return self.disk is not None and key in self.disk

    def _read_through(
        self, remote: RemoteStore, key: str, kind: type[_E], *, keep: bool
    ) -> Stored[_E] | None:
        data = remote.get(key)
        if data is None:
            return None
        try:
            stored = load(data, key, kind)
        except CorruptEntryError as error:
            remote.distrust(key, error)
            return None
        if is_past(stored.created, self._ttl):
            remote.distrust(key)
            return None
        if keep and self.disk is not None and self.disk.put_bytes(key, data):
            mapped = self.disk.get(key, kind)
            if mapped is not None:
                self._mapped += 1
                return mapped
        return stored
