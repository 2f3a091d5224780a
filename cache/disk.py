"""Entries in a folder that any number of processes share: bounded in bytes, never wrong.

To read an entry is to open its file: no lock, no database, and whatever is wrong with the file is a
miss. Files are never changed in place. All other steps are taken in an order that lets a process be
killed after any of them:

    claim   A row names the temporary file of whoever writes or removes its entry. That file is
            locked, and only the end of the work, or death, unlocks it. Nobody else touches an entry
            that is claimed; a dead claim is void: if the file is there, so is the entry, else not.
    put     1  make and lock tmp/<random>.part              left: an empty file; it is swept
            2  transaction: claim the victims               void claims
            3  unlink them                                  void claims, rows without a file
            4  transaction: forget them, add a row          the row, claimed: void, no file
            5  write, fsync                                 part of a file, and the row: swept. Its
                                                            bytes were counted all the time
            6  rename to the final name                     a whole file, its row with a void claim
            7  transaction: end the claim                   nothing
            8  fsync the folder, unlock                     nothing
    remove  (delete, prune, damage, age) transaction: claim; unlink; transaction: forget
    drop    1  transactions: claim all entries              void claims
            2  in the last of them: rename the namespace's  a folder in tmp: swept, then the rows;
               folder into tmp                              the catalog, whose entries are misses
            3  transaction: drop its catalog                a folder in tmp: swept, then the rows
            4  remove the folder, forget the rows           rest of the folder, and rows: swept

Whoever opens the folder, or finds no room in it, sweeps: removes temporary files that nobody has
locked and folders half dropped, and settles what void claims are about. Rows only ever promise too
much, so the budget holds. A file under its final name is whole: it was on the disk before it got
that name. What power loss undoes of the index leaves no more than rows without a file, and files
without a row, which ``put`` and ``verify`` adopt. But for that one renaming, no file is touched
inside a transaction: that would have everybody wait for the file system's journal.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from minireranker.errors import CacheError, ConfigurationError

from .census import Census, batches
from .entry import Entry
from .faults import Faults
from .format import Buffer, Stored, dump, load, restore
from .header import Header
from .key import Namespace
from .ledger import DEFAULT_DISK_BYTES, Ledger
from .listing import PAGE, EntryInfo, NamespaceInfo, entries_in, namespaces_in
from .opening import FAULTS, is_full, open_folder, reason
from .reading import Reading
from .stats import TierStats
from .upkeep import Upkeep
from .uses import Uses
from .writing import Parcel, Tasks, Writing

__all__ = ["DEFAULT_DISK_BYTES", "DiskCache", "EntryInfo", "NamespaceInfo"]

logger = logging.getLogger(__name__)

_E = TypeVar("_E", bound=Entry)
_T = TypeVar("_T")


class DiskCache:
    """One cache folder; safe to share between threads, and across a fork.

    Faults of the machine are never raised, but by opening it and by listing it: what cannot be read
    is a miss, what cannot be written is not kept; they are counted, and logged once a minute.

    Attributes: ``path``; ``read_only`` (entries are read, nothing is ever changed); ``database``
    (the folder's; one in memory, if that can neither be written nor read).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int | None = None,
        ttl: float | None = None,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """Open or make the cache in the folder ``path``.

        ``max_bytes``: for all entries together, from now on and for all who use the folder; None:
        what it was last given, else 32 GiB. ``ttl``: seconds after which an entry is a miss.
        ``quotas``: bytes by tenant. Raises ConfigurationError for a number that cannot be, and
        CacheError if ``path`` cannot be a cache folder.
        """
        _check_numbers(max_bytes, ttl, quotas or {})
        self.path = Path(path).absolute()
        opened = open_folder(self.path)
        folder, self.database, self.read_only = opened.folder, opened.database, opened.read_only
        self._lock, self._counts = threading.Lock(), Counter[str]()
        self._uses, self._faults = Uses(), Faults(logger)
        self._ledger = Ledger(self.database, folder, quotas or {})
        self._census = Census(self.database, folder)
        tasks = Tasks(self._prepare, self._evicted)
        self._writing = Writing(folder, self._ledger, self._uses, self._faults, tasks)
        self._upkeep = Upkeep(self.database, folder, self._ledger, self._faults)
        self._reading = Reading(folder, None if self.read_only else self._upkeep, self._faults, ttl)
        self._max_bytes, self._prepared = max_bytes, False
        self._change("be looked through", self._prepare, None)

    @property
    def max_bytes(self) -> int:
        """Bytes all entries may have together."""
        try:
            return self._ledger.limit
        except FAULTS:
            return DEFAULT_DISK_BYTES

    @property
    def stats(self) -> TierStats:
        """Counts of this object, and what the folder holds now (None: its index cannot be read)."""
        held: tuple[int | None, int | None] = None, None
        try:
            held = self._ledger.held
        except FAULTS as error:
            logger.debug("the index of %s cannot be read: %s", self.path, error)
        counts = self._counts
        hits, misses, evictions = counts["hits"], counts["misses"], counts["evictions"]
        return TierStats(hits, misses, evictions, self._faults.count, *held)

    def get(self, key: str, kind: type[_E]) -> Stored[_E] | None:
        """The entry under ``key``, or None; counted.

        Its tensors are views of the mapped file, checked to the last byte; changing them changes
        neither the file nor what others read. Raises ConfigurationError for what is no key.
        """

        def stored(data: Buffer, header: Header) -> Stored[_E] | None:
            if header.kind != kind.__name__:
                return None
            return Stored(cast(_E, restore(header, data)), header.created, header.key)

        found = self._reading.read(key, stored)
        self._count("misses" if found is None else "hits")
        if found is not None:
            self._use(key)
        return found

    def read_bytes(self, key: str) -> bytes | None:
        """The file of an entry as it is, checked; None as for ``get``. Not counted."""
        return self._reading.read(key, lambda data, header: bytes(data))

    def __contains__(self, key: str) -> bool:
        """Whether there is a file that is not too old; it is not read, and nothing is counted."""
        return self._reading.is_there(key)

    def put(self, key: str, entry: Entry, created: float | None = None) -> bool:
        """Keep ``entry`` (of the CPU); whether it is there now, by whoever's hand.

        One that is there is left as it is, and was used. ``created``: seconds since the epoch, None
        for now. False: no room, or a fault. Raises ConfigurationError for what is no key or time.
        """
        made = time.time() if created is None else created
        if not math.isfinite(made):
            raise ConfigurationError(f"entry created = {made!r}: allowed is a finite time")
        return self._put(key, lambda: dump(key, entry, made), made)

    def put_bytes(self, key: str, data: bytes) -> bool:
        """Keep an entry's file that comes from elsewhere, as ``put`` does.

        Raises CorruptEntryError if it is not a sound entry of that key.
        """
        return self._put(key, lambda: data, load(data, key).created)

    def delete(self, keys: Iterable[str]) -> int:
        """Remove entries; how many there were."""
        some = list(keys)
        return self._change("delete entries", lambda: self._upkeep.delete(some), 0)

    def register(self, namespace: Namespace) -> None:
        """Note a namespace's tenant and label; costs nothing the second time."""
        self._change("note a namespace", lambda: self._ledger.tenants.register(namespace), None)

    def drop(self, name: str) -> int:
        """Remove a namespace, its entries and its catalog, at once; how many entries it had."""
        return self._change("drop a namespace", lambda: self._upkeep.drop(name), 0)

    def pin(self, keys: Iterable[str]) -> int:
        """Never evict these; how many of them are there."""
        return self._pin(keys, True)

    def unpin(self, keys: Iterable[str]) -> int:
        """Let these be evicted again; how many of them are there."""
        return self._pin(keys, False)

    def prune(self, *, max_bytes: int | None = None, older_than: float | None = None) -> int:
        """Remove what is older than ``older_than`` seconds, then the least recently used.

        Until no more than ``max_bytes`` are left (None: the budget); what is pinned stays. Returns
        how many went.
        """
        oldest = self._reading.oldest
        if older_than is not None:
            oldest = max(oldest, time.time() - older_than)
        limit = self.max_bytes if max_bytes is None else max_bytes
        self.flush()
        removed = self._change("be pruned", lambda: self._upkeep.prune(limit, oldest), 0)
        self._count("evictions", removed)
        return removed

    def entries(self, namespace: str | None = None) -> Iterator[EntryInfo]:
        """All entries, or those of a namespace, by key. Raises CacheError without an index."""
        try:
            yield from entries_in(self.database, namespace)
        except sqlite3.Error as error:
            raise _unreadable(self.path, error) from error

    def namespaces(self) -> list[NamespaceInfo]:
        """All namespaces, by name. Raises CacheError without an index."""
        try:
            return namespaces_in(self.database)
        except sqlite3.Error as error:
            raise _unreadable(self.path, error) from error

    def touch(self, key: str) -> None:
        """Note that a tier above had an entry, so that the folder keeps it too.

        Written down once a second, however many there are: memory is asked far more often.
        """
        if not self.read_only and self._uses.add(key, most=sys.maxsize):
            self._write_uses(wait=False)

    def flush(self) -> None:
        """Write down what was used; entries themselves are never late."""
        self._write_uses(wait=True)

    def close(self) -> None:
        """Write down what was used, and give back files and locks. Entries got stay valid."""
        self.flush()
        self.database.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _prepare(self) -> None:
        """Look what there is, clear away what the dead have left, and keep to the budget."""
        limit = self._ledger.known_limit if self._prepared else self._max_bytes
        if limit is not None:
            self._ledger.set_limit(limit)
        if self.database.rebuilt:
            self._census.take()
        self._census.sweep()
        self._evicted(self._upkeep.shrink())
        self._prepared = True

    def _put(self, key: str, data: Callable[[], bytes], created: float) -> bool:
        if key in self and not self.read_only:
            self._use(key)
            return True

        def write() -> bool:
            if not self._prepared:
                self._prepare()
            parcel = Parcel(key, data(), created, self._reading.oldest)
            return self._writing.write(parcel)

        kept = self._change("take an entry", write, None)
        if kept is False:
            self._faults.say(
                "room",
                "no room in the cache %s: all of its %d bytes, or the tenant's "
                "quota, are pinned or too few for one entry. Allow it more",
                self.path,
                self.max_bytes,
            )
        return bool(kept)

    def _pin(self, keys: Iterable[str], pinned: bool) -> int:
        def pin() -> int:
            return sum(self._ledger.pin(some, pinned) for some in batches(keys, PAGE))

        return self._change("pin entries", pin, 0)

    def _use(self, key: str) -> None:
        """Note a use; written down now and then, if nobody has to be waited for."""
        if not self.read_only and self._uses.add(key):
            self._write_uses(wait=False)

    def _write_uses(self, *, wait: bool) -> None:
        keys = self._uses.take()
        if not keys:
            return
        try:
            self._ledger.touch(keys, wait=wait)
        except BlockingIOError:
            self._uses.give_back(keys)
        except FAULTS as error:
            logger.debug("what was used in %s is not written down: %s", self.path, error)

    def _evicted(self, count: int) -> None:
        self._count("evictions", count)

    def _count(self, what: str, more: int = 1) -> None:
        with self._lock:
            self._counts[what] += more

    def _change(self, what: str, change: Callable[[], _T], otherwise: _T) -> _T:
        """Do it, unless the folder is read-only or the machine does not let us."""
        if self.read_only:
            return otherwise
        try:
            return self._with_room(change)
        except FAULTS as error:
            why = reason(error)
            self._faults.report(what, "the cache %s cannot %s: %s", self.path, what, why)
            return otherwise

    def _with_room(self, change: Callable[[], _T]) -> _T:
        """Do it; once more, on a full disk, after the index has given back what it can."""
        try:
            return change()
        except FAULTS as error:
            if not is_full(error) or not self.database.compact():
                raise
        return change()


def _check_numbers(max_bytes: int | None, ttl: float | None, quotas: Mapping[str, int]) -> None:
    sizes = {"max_bytes": max_bytes, **{f"quota of {name!r}": n for name, n in quotas.items()}}
    for name, size in sizes.items():
        if size is not None and (type(size) is not int or not 0 <= size < 2**62):
            raise ConfigurationError(f"disk cache {name} = {size!r}: allowed is 0 or more bytes")
    if ttl is not None and not ttl > 0:
        raise ConfigurationError(f"disk cache ttl = {ttl!r}: allowed is more than 0 seconds")


def _unreadable(path: Path, error: sqlite3.Error) -> CacheError:
    return CacheError(f"the index of the cache {path} cannot be read ({error}): run cache verify")
