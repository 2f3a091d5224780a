"""What lies in a cache folder: sizes, last use, pins, tenants.

The order of use is a counter, not a clock: a clock that is set back changes nothing. An entry's
bytes are taken from the budget before the first of them is written, and given to somebody else only
after its file is gone: a row may stand without a file, and costs room until it is its turn, but no
file is published unpaid.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from .claims import Claims
from .database import Database
from .eviction import Eviction
from .folder import Folder
from .listing import EntryInfo, NamespaceInfo
from .requests import Answer, Request, Verdict
from .rows import Row, add_row, remove_row, row_of, settle_row, touch, unclaim_row
from .tenants import Tenants

__all__ = ["Answer", "EntryInfo", "Ledger", "NamespaceInfo", "Request", "Verdict"]

DEFAULT_DISK_BYTES = 32 * 2**30


class Ledger:
    """The rows of a database about the entries of a folder.

    Every method may raise CacheError, OSError and sqlite3.Error, as ``Database`` does.
    """

    def __init__(self, database: Database, folder: Folder, quotas: Mapping[str, int]) -> None:
        """``quotas``: bytes a tenant may hold; without one, all there are."""
        self._database, self._folder, self._quotas = database, folder, dict(quotas)
        self.tenants = Tenants(database)
        self.claims = Claims(database, folder, self.tenants)
        self.known_limit: int | None = None
        """The limit as it was last seen: what an index made anew is given."""

    @property
    def limit(self) -> int:
        """Bytes all entries may have together, for everybody who opens the folder."""
        rows = self._database.query("SELECT value FROM meta WHERE name = 'max_bytes'")
        return int(rows[0][0]) if rows else DEFAULT_DISK_BYTES

    def set_limit(self, value: int) -> None:
        """Set it, for everybody."""
        self.known_limit = value
        if self._database.query("SELECT value FROM meta WHERE name = 'max_bytes'") != [(value,)]:
            with self._database.transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO meta VALUES('max_bytes', ?)", (value,))

    @property
    def taken(self) -> int:
        """Bytes that are not free: those of entries being written too."""
        ((size,),) = self._database.query("SELECT sum(bytes) FROM totals")
        return size or 0

    @property
    def held(self) -> tuple[int, int]:
        """Entries that are there, and their bytes."""
        ((entries, size),) = self._database.query(
            "SELECT a - b, c - d FROM (SELECT total(entries) a, total(bytes) c FROM totals), "
            "(SELECT count(*) b, total(bytes) d FROM entries WHERE writing IS NOT NULL)"
        )
        return int(entries), int(size)

    def reserve(
        self,
        wanted: Request,
        touched: Iterable[str] = (),
        gone: Iterable[str] = (),
        stuck: Iterable[str] = (),
    ) -> Answer:
        """Ask for an entry's room; first note what was ``touched``.

        Of the victims, ``gone`` were removed and ``stuck`` cannot be: their turn is last.
        """
        with self._database.transaction() as connection:
            for key in gone:
                remove_row(connection, key, wanted.claimant)
            for key in stuck:
                unclaim_row(connection, key)
            touch(connection, [*touched, *stuck])
            found = self._found(connection, wanted)
            if found:
                return found
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            if "scanned" not in meta:
                return Answer(Verdict.UNKNOWN)
            self.known_limit = meta.get("max_bytes", DEFAULT_DISK_BYTES)
            tenant = self.tenants.of(connection, wanted.key)
            eviction = Eviction(connection, wanted.claimant, self.known_limit, self._quotas)
            fits = eviction.fits(tenant, wanted.bytes)
            if not fits and not wanted.swept and self.claims.dead_hold_room(connection):
                return Answer(Verdict.UNKNOWN)
            if not eviction.make_room(tenant, wanted.bytes):
                return Answer(Verdict.REFUSED)
            if eviction.victims:
                return Answer(Verdict.EVICT, tuple(eviction.victims))
            row = Row(wanted.bytes, wanted.created, wanted.claimant)
            add_row(connection, wanted.key, row, tenant)
            return Answer(Verdict.GRANTED)

    def publish(self, wanted: Request) -> None:
        """End the claim to an entry whose file has its name; others may have done so already.

        (The claim is void from the moment its temporary file is renamed.)
        """
        sql = "UPDATE entries SET writing = NULL WHERE key = ? AND writing = ?"
        with self._database.transaction() as connection:
            if not connection.execute(sql, (wanted.key, wanted.claimant)).rowcount:
                self._found(connection, wanted)  # an index made anew has no row of it

    def touch(self, keys: Iterable[str], *, wait: bool = True) -> None:
        """Note that these were used, in that order. ``wait`` as for ``Database.transaction``."""
        with self._database.transaction(wait=wait) as connection:
            touch(connection, keys)

    def pin(self, keys: Iterable[str], pinned: bool) -> int:
        """Pin or unpin entries; how many of them are there."""
        sql, there = "UPDATE entries SET pinned = ? WHERE key = ?", 0
        with self._database.transaction() as connection:
            for key in keys:
                row = row_of(connection, key)
                if row and row.writing:  # there as well, if that claim is void
                    status = None if self.claims.is_claimed(row) else self._folder.status(key)
                    if status is None:
                        continue
                    settle_row(connection, key, status.st_size)
                there += connection.execute(sql, (pinned, key)).rowcount
        return there

    def _found(self, connection: sqlite3.Connection, wanted: Request) -> Answer | None:
        """What there is of the entry already."""
        row = row_of(connection, wanted.key)
        if row and self.claims.is_claimed(row):
            return Answer(Verdict.BUSY, claimant=row.writing or "")
        status = self._folder.status(wanted.key)
        if status is None:
            if row and row.writing and not wanted.swept:
                return Answer(Verdict.UNKNOWN)  # its file may lie in a folder half dropped
            if row:
                remove_row(connection, wanted.key)
            return None
        if (row.created if row else status.st_mtime) < wanted.oldest:
            self.claims.take(connection, wanted.key, row, wanted.claimant)
            return Answer(Verdict.EVICT, (wanted.key,))
        if row is None:
            found = Row(status.st_size, status.st_mtime)
            add_row(connection, wanted.key, found, self.tenants.of(connection, wanted.key))
        elif row.writing:  # whoever was at it died
            settle_row(connection, wanted.key, status.st_size)
        touch(connection, [wanted.key])
        return Answer(Verdict.THERE)
