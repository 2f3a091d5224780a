"""What the ledger shows of entries and namespaces, for people and for pruning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .database import Database
from .rows import keys_between

PAGE = 1000
"""Rows read in one go: no reader holds up the emptying of the write-ahead log for long."""


class EntryInfo(NamedTuple):
    """One entry as the ledger knows it."""

    key: str
    namespace: str
    tenant: str
    bytes: int
    created: float
    used: int
    """Counted up with every use of any entry."""
    pinned: bool


class NamespaceInfo(NamedTuple):
    """One namespace; tenant and label are empty where nobody has registered it."""

    name: str
    tenant: str
    label: str
    entries: int
    bytes: int
    pinned: int
    created: float
    """When it was registered; 0 where nobody has."""


def entries_in(database: Database, namespace: str | None = None) -> Iterator[EntryInfo]:
    """Every entry that is there, by key."""
    start, end = keys_between(namespace)
    while True:
        rows = database.query(
            "SELECT key, namespace, tenant, bytes, created, used, pinned FROM entries "
            f"WHERE key > ? AND key < ? AND writing IS NULL ORDER BY key LIMIT {PAGE}",
            (start, end),
        )
        for key, name, tenant, size, created, used, pinned in rows:
            yield EntryInfo(key, name, tenant, size, created, used, bool(pinned))
        if len(rows) < PAGE:
            return
        start = rows[-1][0]


def namespaces_in(database: Database) -> list[NamespaceInfo]:
    """Every namespace that is registered or has entries, by name."""
    rows = database.query("SELECT name, tenant, label, created FROM namespaces")
    known = {name: rest for name, *rest in rows}
    counts = database.query(
        "SELECT namespace, count(*), sum(bytes), sum(pinned) FROM entries WHERE writing IS NULL "
        "GROUP BY namespace"
    )
    held = {name: rest for name, *rest in counts}
    found = []
    for name in sorted(known.keys() | held.keys()):
        tenant, label, created = known.get(name, ("", "", 0.0))
        entries, size, pinned = held.get(name, (0, 0, 0))
        found.append(NamespaceInfo(name, tenant, label, entries, size, pinned, created))
    return found
