"""Single rows of the ledger's tables, read and changed within somebody's transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import NamedTuple

from .key import Namespace

NAME_LENGTH = 32
"""Hex digits of a namespace's name: a key begins with it."""


class Row(NamedTuple):
    """What a decision about one key needs."""

    bytes: int
    created: float
    writing: str | None = None
    """The temporary file of whoever writes or removes the entry now; None: it is there."""


def row_of(connection: sqlite3.Connection, key: str) -> Row | None:
    """The row of ``key``."""
    sql = "SELECT bytes, created, writing FROM entries WHERE key = ?"
    found = connection.execute(sql, (key,)).fetchone()
    return Row(*found) if found else None


def add_row(connection: sqlite3.Connection, key: str, row: Row, tenant: str) -> None:
    """Add an entry, as the one used last."""
    used = _uses(connection, 1)
    connection.execute(
        "INSERT INTO entries VALUES(?, ?, ?, ?, ?, ?, 0, ?)",
        (key, key[:NAME_LENGTH], tenant, row.bytes, row.created, used, row.writing),
    )


def remove_row(connection: sqlite3.Connection, key: str, claimant: str | None = None) -> None:
    """Forget an entry; only if ``claimant`` has claimed it, if that is given."""
    sql = "DELETE FROM entries WHERE key = ? AND (? IS NULL OR writing = ?)"
    connection.execute(sql, (key, claimant, claimant))


def is_unused(connection: sqlite3.Connection, key: str, used: int) -> bool:
    """Whether an entry is not pinned, and was last used then."""
    sql = "SELECT 1 FROM entries WHERE key = ? AND used = ? AND pinned = 0"
    return connection.execute(sql, (key, used)).fetchone() is not None


def settle_row(connection: sqlite3.Connection, key: str, size: int) -> None:
    """Note that an entry is there, with so many bytes, whoever was writing it."""
    sql = "UPDATE entries SET writing = NULL, bytes = ? WHERE key = ?"
    connection.execute(sql, (size, key))


def unclaim_row(connection: sqlite3.Connection, key: str) -> None:
    """Note that nobody writes or removes an entry any more, and that it is there."""
    connection.execute("UPDATE entries SET writing = NULL WHERE key = ?", (key,))


def touch(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Note that these were used, in that order."""
    keys = list(keys)
    if keys:
        first = _uses(connection, len(keys)) - len(keys) + 1
        sql = "UPDATE entries SET used = ? WHERE key = ?"
        connection.executemany(sql, list(enumerate(keys, first)))


def tenant_of(connection: sqlite3.Connection, key: str) -> str:
    """Whose namespace a key is in; empty if nobody has registered it."""
    sql = "SELECT tenant FROM namespaces WHERE name = ?"
    found = connection.execute(sql, (key[:NAME_LENGTH],)).fetchone()
    return str(found[0]) if found else ""


def add_namespace(connection: sqlite3.Connection, namespace: Namespace) -> None:
    """Note whose it is; entries that were found before become the tenant's."""
    name, tenant = namespace.name, namespace.tenant
    added = connection.execute(
        "INSERT OR IGNORE INTO namespaces VALUES(?, ?, ?, ?)",
        (name, tenant, namespace.label, time.time()),
    )
    if added.rowcount:
        connection.execute(
            "UPDATE entries SET tenant = ? WHERE key BETWEEN ? AND ? AND tenant <> ?",
            (tenant, *keys_between(name), tenant),
        )


def keys_between(namespace: str | None) -> tuple[str, str]:
    """Two strings that all keys of a namespace, or all keys there are, lie between."""
    return (f"{namespace}-", f"{namespace}.") if namespace else ("", "g")


def _uses(connection: sqlite3.Connection, count: int) -> int:
    """The last of ``count`` new numbers of the counter of uses."""
    sql = "UPDATE meta SET value = value + ? WHERE name = 'used' RETURNING value"
    return int(connection.execute(sql, (count,)).fetchone()[0])
