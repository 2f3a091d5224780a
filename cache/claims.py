"""Who writes or removes which entry now: claims on rows, in the name of a locked temporary file.

Nobody touches an entry that another has claimed. The claim of somebody dead is void: its temporary
file is no longer locked. Then the entry is there if its file is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

from .database import Database
from .folder import Folder
from .publish import is_alive
from .rows import Row, add_row, is_unused, keys_between, remove_row, row_of, settle_row
from .tenants import Tenants

AT_ONCE = 500
"""Rows changed in one transaction."""


class Claims:
    """The claims on the entries of a folder.

    Every method may raise CacheError, OSError and sqlite3.Error, as ``Database`` does.
    """

    def __init__(self, database: Database, folder: Folder, tenants: Tenants) -> None:
        """``tenants``: whose an entry is that was found without a row."""
        self._database, self._folder, self._tenants = database, folder, tenants

    def claim(
        self, keys: Iterable[str], claimant: str, *, unused: Mapping[str, int] | None = None
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """Make entries somebody's, to be removed: those, and (key, claimant) of others' claims.

        ``unused``: only such as are not pinned and were last used then.
        """
        mine, others = [], []
        with self._database.transaction() as connection:
            for key in keys:
                row = row_of(connection, key)
                if self.is_claimed(row):
                    others.append((key, str(row and row.writing)))
                elif unused is None or is_unused(connection, key, unused[key]):
                    mine += [key] * self.take(connection, key, row, claimant)
        return mine, others

    def claim_all(self, name: str, claimant: str) -> list[str]:
        """Claim a namespace's entries; the claimants of those that others have claimed."""
        others = "SELECT DISTINCT writing FROM entries WHERE key BETWEEN ? AND ? AND writing <> ?"
        sql = (
            "UPDATE entries SET writing = ? WHERE key IN (SELECT key FROM entries "
            f"WHERE key BETWEEN ? AND ? AND writing IS NULL LIMIT {AT_ONCE})"
        )
        while True:
            with self._database.transaction() as connection:
                if not connection.execute(sql, (claimant, *keys_between(name))).rowcount:
                    found = connection.execute(others, (*keys_between(name), claimant))
                    return [found for (found,) in found.fetchall()]

    def claim_rest(self, name: str, claimant: str, rename: Callable[[], None]) -> None:
        """Claim what has come into a namespace since ``claim_all``, and ``rename`` its folder.

        In one transaction: no entry whose file lies in that folder is left to be evicted, which
        would give its bytes away before they are free. One whose writer has yet to name its file
        stays: it comes into a new folder.
        """
        rows = "SELECT key, writing FROM entries WHERE key BETWEEN ? AND ? AND writing IS NOT ?"
        with self._database.transaction() as connection:
            for key, writing in connection.execute(
                rows, (*keys_between(name), claimant)
            ).fetchall():
                if writing is None or not is_alive(self._folder.tmp / writing):
                    self.take(connection, key, row_of(connection, key), claimant)
            rename()

    def release(self, claimant: str) -> None:
        """Give up claims: entries whose file is there stay, the rows of others go."""
        sql = f"SELECT key FROM entries WHERE writing = ? LIMIT {AT_ONCE}"
        while True:
            with self._database.transaction() as connection:
                keys = connection.execute(sql, (claimant,)).fetchall()
                for (key,) in keys:
                    status = self._folder.status(key)
                    if status is None:
                        remove_row(connection, key)
                    else:
                        settle_row(connection, key, status.st_size)
            if len(keys) < AT_ONCE:
                return

    def is_claimed(self, row: Row | None) -> bool:
        """Whether somebody alive is writing or removing an entry."""
        return bool(row and row.writing and is_alive(self._folder.tmp / row.writing))

    def dead_hold_room(self, connection: sqlite3.Connection) -> bool:
        """Whether there are claims of the dead to entries that are not there."""
        sql = "SELECT writing, min(key) FROM entries WHERE writing IS NOT NULL GROUP BY writing"
        return any(
            not is_alive(self._folder.tmp / claimant) and self._folder.status(key) is None
            for claimant, key in connection.execute(sql).fetchall()
        )

    def take(
        self, connection: sqlite3.Connection, key: str, row: Row | None, claimant: str
    ) -> bool:
        """Claim an entry that nobody claims; False: there is neither row nor file."""
        if row is None:
            status = self._folder.status(key)
            if status is None:
                return False
            found = Row(status.st_size, status.st_mtime, claimant)
            add_row(connection, key, found, self._tenants.of(connection, key))
        connection.execute("UPDATE entries SET writing = ? WHERE key = ?", (claimant, key))
        return True
