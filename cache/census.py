"""Makes the ledger's rows and the files of the folder agree, beside others at work.

Everything is judged again inside the transaction that changes it, and what somebody alive has
claimed is left alone.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from .database import Database
from .folder import DROP, PART, Folder
from .listing import PAGE
from .publish import is_alive, reap
from .rows import NAME_LENGTH, Row, add_row, keys_between, remove_row, row_of, settle_row, tenant_of

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Files looked at in one transaction: others wait for it."""

_DROPPED = re.compile(rf"[0-9a-f]{{{NAME_LENGTH}}}\.[0-9a-f]+{re.escape(DROP)}")

_T = TypeVar("_T")


class Census:
    """Looks through a folder. Every method may raise CacheError, OSError and sqlite3.Error."""

    def __init__(self, database: Database, folder: Folder) -> None:
        """``database``: what is to agree with the files of ``folder``."""
        self._database, self._folder = database, folder

    def take(self) -> None:
        """Enter every file into a ledger made anew, in the order they were made."""
        found = []
        for key in self._folder.present():
            status = self._folder.status(key)
            if status is not None:
                found.append((status.st_mtime, key))
        self.adopt(key for _, key in sorted(found))
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES('scanned', 1)")

    def adopt(self, keys: Iterable[str]) -> int:
        """Enter files without a row, correct the sizes of others; how many had none."""
        added = 0
        for some in batches(keys, AT_ONCE):
            with self._database.transaction() as connection:
                added += sum(self._adopt(connection, key) for key in some)
        return added

    def sweep(self) -> int:
        """Clear away what the dead have left; how many temporary files and folders."""
        return self._clear(only_unfinished=True)[0]

    def settle(self) -> int:
        """Remove rows without a file, unless it is being written; how many."""
        return self._clear(only_unfinished=False)[1]

    def missing(self) -> int:
        """How many rows have no file, and nobody writes it."""
        return sum(1 for _ in self._without_file(False))

    def dead(self) -> int:
        """How many temporary files and folders the dead have left."""
        names = self._temporaries()
        return sum(n.endswith(DROP) or not is_alive(self._folder.tmp / n) for n in names)

    def recount(self) -> None:
        """Make the totals what the rows add up to."""
        counted = "SELECT tenant, count(*), sum(bytes) FROM entries GROUP BY tenant"
        differ = f"SELECT * FROM totals WHERE entries > 0 EXCEPT {counted}"
        if self._database.query(f"{differ} UNION ALL SELECT * FROM ({_reversed(counted)})"):
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM totals")
                connection.execute(f"INSERT INTO totals {counted}")

    def _clear(self, *, only_unfinished: bool) -> tuple[int, int]:
        """How many temporary files and folders, and how many rows, are gone.

        The rows are chosen first: a namespace's folder was renamed before the claims of who dropped
        it were void, so it is among what is removed before any of its rows is. A row that somebody
        claimed since is left alone.
        """
        chosen = list(self._without_file(only_unfinished))
        removed, half_dropped = 0, set()
        for name in self._temporaries():
            try:
                removed += self._remove(name)
            except OSError as error:
                logger.debug("%s stays in %s: %s", name, self._folder.tmp, error)
                half_dropped.add(name[:NAME_LENGTH])
        chosen = [row for row in chosen if row[0][:NAME_LENGTH] not in half_dropped]
        lost = 0
        for some in batches(chosen, AT_ONCE):
            with self._database.transaction() as connection:
                lost += sum(self._settle(connection, key, writing) for key, writing in some)
        return removed, lost

    def _remove(self, name: str) -> bool:
        if name.endswith(PART):
            return reap(self._folder.tmp / name)
        self._folder.remove_aside(self._folder.tmp / name)
        return True

    def _temporaries(self) -> list[str]:
        try:
            with os.scandir(self._folder.tmp) as found:
                return [item.name for item in found if is_temporary(item)]
        except FileNotFoundError:
            return []

    def _without_file(self, only_unfinished: bool) -> Iterator[tuple[str, str | None]]:
        """Rows that need a second look: key and void claim."""
        for key, writing in self._rows(only_unfinished):
            if writing is not None and is_alive(self._folder.tmp / writing):
                continue
            if writing is not None or self._folder.status(key) is None:
                yield key, writing

    def _rows(self, only_unfinished: bool) -> Iterator[tuple[str, str | None]]:
        start, end = keys_between(None)
        table, which = "entries", ""
        if only_unfinished:  # few: SQLite would rather go through all there are
            table, which = "entries INDEXED BY claimed", "AND writing IS NOT NULL"
        sql = (
            f"SELECT key, writing FROM {table} WHERE key > ? AND key < ? {which} "
            f"ORDER BY key LIMIT {PAGE}"
        )
        while rows := self._database.query(sql, (start, end)):
            yield from rows
            start = rows[-1][0]

    def _adopt(self, connection: sqlite3.Connection, key: str) -> bool:
        status, row = self._folder.status(key), row_of(connection, key)
        if status is None or self._is_written(row):
            return False
        if row is None:
            found = Row(status.st_size, status.st_mtime)
            add_row(connection, key, found, tenant_of(connection, key))
        elif row.writing or row.bytes != status.st_size:
            settle_row(connection, key, status.st_size)
        return row is None

    def _settle(self, connection: sqlite3.Connection, key: str, writing: str | None) -> bool:
        status, row = self._folder.status(key), row_of(connection, key)
        if row is None or row.writing != writing:
            return False
        if status is None:
            remove_row(connection, key)
        elif row.writing:
            settle_row(connection, key, status.st_size)
        return status is None

    def _is_written(self, row: Row | None) -> bool:
        return bool(row and row.writing and is_alive(self._folder.tmp / row.writing))


def is_temporary(item: os.DirEntry[str]) -> bool:
    """Whether something in the temporary folder is ours."""
    if item.is_dir(follow_symlinks=False):
        return _DROPPED.fullmatch(item.name) is not None
    return item.name.endswith(PART)


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """``items`` in lists of at most ``size``."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _reversed(counted: str) -> str:
    return f"{counted} EXCEPT SELECT * FROM totals WHERE entries > 0"
