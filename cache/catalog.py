"""Which documents are known, and which entries are theirs: what outlives a process besides entries.

    documents   id -> digest of the content, and how to read it again (paths, texts), as JSON
    contents    (digest, header) -> key of the entry behind that header
    sources     stamp of the files a document was read from -> digest, so that files that have not
                changed need not be opened

All of one namespace. A row may point at an entry that is gone: then it is a miss. What the machine
does not let be written (a full disk, a read-only folder) is known to this process only, until it
can be written down after all.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from minireranker.errors import CacheError

from .catalog_rows import (
    ADD_CONTENT,
    ADD_DOCUMENT,
    ADD_SOURCE,
    GONE,
    ContentRow,
    DocumentRow,
    write_down,
)
from .database import Database
from .faults import Faults

__all__ = ["Catalog", "ContentRow", "DocumentRow"]

_LOG = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

_FAULTS = (sqlite3.Error, OSError, CacheError)

_AT_ONCE = 500
"""Values in one SQL list: SQLite's older bound is 999."""

_UNWRITTEN = (
    "the cache's list of documents cannot be written (%s): what is indexed from now on is known to "
    "this process only"
)


class Catalog:
    """The documents of one namespace."""

    def __init__(self, database: Database, namespace: str) -> None:
        """``database``: the cache folder's, or one in memory."""
        self._database, self._namespace = database, namespace
        self._spare: Database | None = None
        self._lock, self._faults = threading.Lock(), Faults(_LOG)

    def documents(self, ids: Sequence[str]) -> dict[str, DocumentRow]:
        """The rows of those ids that are known; one that is not valid Unicode never is."""
        sql = "SELECT id, digest, document FROM documents WHERE namespace=?"
        rows = self._select(sql, "id", [name for name in ids if _is_unicode(name)])
        found = {name: DocumentRow(digest, document) for name, digest, document in rows}
        return {name: row for name, row in found.items() if row.digest != GONE}

    def keys(self, digests: Sequence[str], header: str) -> dict[str, str]:
        """Entry keys by content digest, behind the header of that hex digest."""
        sql = "SELECT digest, key FROM contents WHERE namespace=? AND header=?"
        return dict(self._select(sql, "digest", digests, header))

    def sources(self, stamps: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """(Content digest, whether it is visual) by stamp."""
        sql = "SELECT stamp, digest, visual FROM sources WHERE namespace=?"
        rows = self._select(sql, "stamp", stamps)
        return {stamp: (digest, bool(visual)) for stamp, digest, visual in rows}

    def ids(self) -> list[str]:
        """Every id, in the order they were first added."""
        sql = "SELECT id, digest FROM documents WHERE namespace=? ORDER BY rowid"
        found = dict(self._query(sql, (self._namespace,)))
        return [name for name, digest in found.items() if digest != GONE]

    def in_use(self, digests: Sequence[str]) -> set[str]:
        """Those of the contents that a document refers to."""
        sql = "SELECT digest FROM documents WHERE namespace=?"
        return {digest for (digest,) in self._select(sql, "digest", digests)}

    def add(self, rows: Mapping[str, DocumentRow]) -> None:
        """Remember documents by id, in place of what was known under them."""
        values = [(self._namespace, name, row.digest, row.document) for name, row in rows.items()]
        if values:
            self._change(lambda connection: connection.executemany(ADD_DOCUMENT, values))

    def add_contents(self, rows: Iterable[ContentRow]) -> None:
        """Remember entries and stamps of contents."""
        rows = list(rows)
        keys = [(self._namespace, row.digest, *row.entry) for row in rows if row.entry]
        stamps = [(self._namespace, r.stamp, r.digest, r.visual) for r in rows if r.stamp]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(ADD_CONTENT, keys)
            connection.executemany(ADD_SOURCE, stamps)

        if keys or stamps:
            self._change(write)

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Forget documents; the keys of entries that no other document stands behind any more."""
        known = self.documents(list(ids))
        wanted = [(self._namespace, name) for name in known]
        gone = [(*one, GONE, "") for one in wanted]
        sql = "DELETE FROM documents WHERE namespace=? AND id=?"
        if known:
            self._change(
                lambda connection: connection.executemany(sql, wanted),
                lambda spare: spare.executemany(ADD_DOCUMENT, gone),
            )
        return self.remove_unused(row.digest for row in known.values())

    def remove_unused(self, digests: Iterable[str]) -> list[str]:
        """Forget contents that no document refers to; the keys of their entries."""
        distinct = list(dict.fromkeys(digests))
        if not distinct:
            return []

        def forget(connection: sqlite3.Connection) -> list[str]:
            keys: list[str] = []
            for digest in distinct:
                where = (self._namespace, digest)
                sql = "SELECT 1 FROM documents WHERE namespace=? AND digest=? LIMIT 1"
                if connection.execute(sql, where).fetchone():
                    continue
                sql = "DELETE FROM contents WHERE namespace=? AND digest=? RETURNING key"
                keys += [key for (key,) in connection.execute(sql, where).fetchall()]
                connection.execute("DELETE FROM sources WHERE namespace=? AND digest=?", where)
            return keys

        return self._change(forget)

    def _select(
        self, sql: str, column: str, values: Sequence[str], *fixed: str
    ) -> Iterator[tuple[Any, ...]]:
        distinct = list(dict.fromkeys(values))
        for start in range(0, len(distinct), _AT_ONCE):
            some = distinct[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            given = (self._namespace, *fixed, *some)
            yield from self._query(f"{sql} AND {column} IN ({marks})", given)

    def _query(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Rows of the folder, then those only this process has: of two, the later one holds."""
        rows, spare = [], self._spare
        try:
            rows += self._database.query(sql, values)
        except _FAULTS as error:
            self._faults.report("read", "the cache's list of documents cannot be read (%s)", error)
        return rows if spare is None else rows + spare.query(sql, values)

    def _change(
        self,
        work: Callable[[sqlite3.Connection], _Answer],
        instead: Callable[[sqlite3.Connection], _Answer] | None = None,
    ) -> _Answer:
        """Do it in the folder; where that cannot be, the same or ``instead`` in this process."""
        with self._lock:
            try:
                with self._database.transaction() as connection:
                    if self._spare is not None:
                        write_down(self._spare, self._namespace, connection)
                    answer = work(connection)
            except _FAULTS as error:
                self._faults.report("write", _UNWRITTEN, error)
                self._spare = self._spare or Database(None)
                with self._spare.transaction() as connection:
                    return (instead or work)(connection)
            self._spare = None
            return answer


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
