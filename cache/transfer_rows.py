"""Catalog rows as lines of JSON: what an archive of entries says about documents.

First a line that says what it is, then one line a row: namespaces, contents, documents. Rows of
``sources`` are about the files of one machine (inodes), and stay there.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from minireranker.errors import CacheError

from .database import Database
from .rows import keys_between
from .transfer_columns import COLUMNS, Row, is_sound, parsed, without_files

__all__ = ["RowImport", "catalog_lines", "read_lines"]

_HEADER = {"format": "minireranker catalog", "version": 1}
_MOST_LINE = 16 * 2**20
"""Bytes; a text document is in its row."""
_AT_ONCE = 500
"""Rows in one transaction: others that want to write do not wait long."""


def catalog_lines(
    database: Database, namespaces: Iterable[str], keys: Collection[str] | None = None
) -> Iterator[bytes]:
    """The lines about some namespaces; with ``keys``, only about documents behind those entries."""
    yield _line(_HEADER)
    for name in namespaces:
        yield _line({"table": "namespaces", **_namespace(database, name)})
        digests: set[str] = set()
        for row in _rows(database, "contents", name):
            if keys is None or row["key"] in keys:
                digests.add(row["digest"])
                yield _line({"table": "contents", **row})
        for row in _rows(database, "documents", name):
            if keys is None or row["digest"] in digests:
                yield _line({"table": "documents", **row})


def read_lines(file: BinaryIO, size: int) -> Iterator[Row | None]:
    """The rows in the next ``size`` bytes; None for a line that is none.

    Raises CacheError if the first line is not that of a catalog of this version.
    """
    header, left = None, size
    while left > 0:
        line = file.readline(min(_MOST_LINE, left))
        if not line:
            break
        left -= len(line)
        row = parsed(line)
        if header is not None:
            yield row
            continue
        header = row
        if header != _HEADER:
            raise CacheError(
                f"its catalog is not one of version {_HEADER['version']}; export it again with "
                "this version, or import it with the one that wrote it"
            )


class RowImport:
    """Adds rows to a database: those that are sound, of namespaces that came before them."""

    def __init__(self, database: Database, *, replace: bool) -> None:
        """``replace``: an id that is there and means another content gets the new one."""
        self._database, self._replace = database, replace
        self._waiting: list[Row] = []
        self.namespaces: set[str] = set()
        """Those declared so far."""
        self.documents = 0
        """Ids that are new here, or mean something new."""
        self.kept = 0
        """Ids that are here and went on meaning another content."""
        self.refused = 0
        """Lines that were no sound row."""

    def add(self, row: Row | None) -> None:
        """Take one row, or refuse it."""
        if row is None or not is_sound(row):
            self.refused += 1
            return
        if row["table"] == "namespaces":
            self.namespaces.add(row["name"])
        elif row["namespace"] not in self.namespaces:
            self.refused += 1
            return
        if row["table"] == "documents":
            row = {**row, "document": without_files(row["document"])}
        self._waiting.append(row)
        if len(self._waiting) >= _AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write what is waiting, in one transaction."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        with self._database.transaction() as connection:
            for row in rows:
                if row["table"] == "documents":
                    self._write_document(connection, row)
                elif row["table"] == "namespaces":
                    _write_namespace(connection, row)
                else:
                    connection.execute(*_insert(row))

    def _write_document(self, connection: sqlite3.Connection, row: Row) -> None:
        where = row["namespace"], row["id"]
        sql = "SELECT digest FROM documents WHERE namespace=? AND id=?"
        found = connection.execute(sql, where).fetchone()
        if found is None:
            connection.execute(*_insert(row))
        elif found[0] == row["digest"]:
            return
        elif self._replace:
            sql = "UPDATE documents SET digest=?, document=? WHERE namespace=? AND id=?"
            connection.execute(sql, (row["digest"], row["document"], *where))
        else:
            self.kept += 1
            return
        self.documents += 1


def _namespace(database: Database, name: str) -> Row:
    """Its row; entries that were found in the folder may have a namespace nobody registered."""
    sql = "SELECT tenant, label FROM namespaces WHERE name=?"
    tenant, label = (database.query(sql, (name,)) or [("", "")])[0]
    return {"name": name, "tenant": tenant, "label": label}


def _rows(database: Database, table: str, namespace: str) -> Iterator[Row]:
    """A table's rows of one namespace, a page at a time, in the order they were written."""
    columns = list(COLUMNS[table])
    sql = (
        f"SELECT rowid, {', '.join(columns)} FROM {table} "
        f"WHERE namespace=? AND rowid>? ORDER BY rowid LIMIT {_AT_ONCE}"
    )
    last = -1
    while page := database.query(sql, (namespace, last)):
        last = page[-1][0]
        yield from (dict(zip(columns, row[1:], strict=True)) for row in page)


def _write_namespace(connection: sqlite3.Connection, row: Row) -> None:
    """Register it, if it is not; what was found of it before becomes its tenant's."""
    name, tenant = row["name"], row["tenant"]
    sql = "INSERT OR IGNORE INTO namespaces(name, tenant, label, created) VALUES(?, ?, ?, ?)"
    if connection.execute(sql, (name, tenant, row["label"], time.time())).rowcount:
        sql = "UPDATE entries SET tenant=? WHERE key BETWEEN ? AND ? AND tenant<>?"
        connection.execute(sql, (tenant, *keys_between(name), tenant))


def _insert(row: Row) -> tuple[str, list[Any]]:
    columns = COLUMNS[row["table"]]
    marks = ", ".join("?" * len(columns))
    sql = f"INSERT OR IGNORE INTO {row['table']}({', '.join(columns)}) VALUES({marks})"
    return sql, [row[column] for column in columns]


def _line(row: Mapping[str, object]) -> bytes:
    return json.dumps(row).encode() + b"\n"
