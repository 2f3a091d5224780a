"""The tables of a cache folder's database: the ledger's (what lies there) and the catalog's."""

from __future__ import annotations

import sqlite3

from minireranker.errors import CacheError

VERSION = 1
"""Counted up whenever a table changes so that older code would misread it."""

# `writing` names the temporary file of whoever writes or removes the entry now; NULL: it is there.
# `pinned` and `claimed` are what no eviction can free, `by_use` the order in which a tenant pays.
_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE namespaces(
    name TEXT PRIMARY KEY, tenant TEXT NOT NULL, label TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE entries(
    key TEXT PRIMARY KEY, namespace TEXT NOT NULL, tenant TEXT NOT NULL, bytes INTEGER NOT NULL,
    created REAL NOT NULL, used INTEGER NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, writing TEXT
) WITHOUT ROWID;
CREATE INDEX by_use ON entries(tenant, used, bytes) WHERE pinned = 0 AND writing IS NULL;
CREATE INDEX pinned ON entries(tenant, bytes) WHERE pinned = 1 AND writing IS NULL;
CREATE INDEX claimed ON entries(writing, tenant, bytes) WHERE writing IS NOT NULL;
CREATE TABLE totals(
    tenant TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    INSERT INTO totals VALUES(new.tenant, 1, new.bytes)
    ON CONFLICT(tenant) DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - old.bytes WHERE tenant = old.tenant;
END;
CREATE TRIGGER entry_changed AFTER UPDATE OF tenant, bytes ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - old.bytes WHERE tenant = old.tenant;
    INSERT INTO totals VALUES(new.tenant, 1, new.bytes)
    ON CONFLICT(tenant) DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes;
END;
CREATE TABLE documents(
    namespace TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY(namespace, id)
);
CREATE INDEX documents_by_digest ON documents(namespace, digest);
CREATE TABLE contents(
    namespace TEXT NOT NULL, digest TEXT NOT NULL, header TEXT NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY(namespace, digest, header)
);
CREATE INDEX contents_by_key ON contents(key);
CREATE TABLE sources(
    namespace TEXT NOT NULL, stamp TEXT NOT NULL, digest TEXT NOT NULL, visual INTEGER NOT NULL,
    PRIMARY KEY(namespace, stamp)
);
CREATE INDEX sources_by_digest ON sources(namespace, digest);
INSERT INTO meta VALUES('used', 0);
"""


def make_tables(connection: sqlite3.Connection, where: str) -> None:
    """Make the tables if there are none yet. Raises CacheError for another program's, or newer."""
    version = schema_version(connection, where)
    if version == 0:
        script = f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
        connection.executescript(script)


def schema_version(connection: sqlite3.Connection, where: str) -> int:
    """0: empty. Raises CacheError for another program's database, or a newer version's."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if version > VERSION:
        raise CacheError(
            f"{where} has the tables of a newer minireranker (version {version}, this one knows "
            f"{VERSION}): upgrade, or choose another folder"
        )
    if names and (version == 0 or not {"entries", "totals", "meta", "documents"} <= names):
        raise CacheError(f"{where} is another program's database: choose another folder")
    return int(version)
