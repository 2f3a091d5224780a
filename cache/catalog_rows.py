"""Rows of the catalog, and how they are written."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from .database import Database

ADD_DOCUMENT = (
    "INSERT INTO documents(namespace, id, digest, document) VALUES(?,?,?,?) ON CONFLICT("
    "namespace, id) DO UPDATE SET digest=excluded.digest, document=excluded.document"
)
ADD_CONTENT = "INSERT OR REPLACE INTO contents(namespace, digest, header, key) VALUES(?,?,?,?)"
ADD_SOURCE = "INSERT OR REPLACE INTO sources(namespace, stamp, digest, visual) VALUES(?,?,?,?)"

GONE = ""
"""Digest of a document that was removed, where that could not be written down."""


@dataclass(frozen=True)
class DocumentRow:
    """What is known of one id."""

    digest: str
    document: str
    """JSON text; the engine's business."""


@dataclass(frozen=True)
class ContentRow:
    """What is known of one content."""

    digest: str
    visual: bool
    entry: tuple[str, str] | None = None
    """(Hex digest of a header, key of the entry behind it)."""
    stamp: str | None = None
    """Of the files it was read from."""


def write_down(spare: Database, namespace: str, connection: sqlite3.Connection) -> None:
    """Move what a namespace's ``spare`` rows say to where they should have been from the start."""
    rows = spare.query("SELECT namespace, id, digest, document FROM documents ORDER BY rowid")
    connection.executemany(ADD_DOCUMENT, rows)
    rows = spare.query("SELECT namespace, digest, header, key FROM contents")
    connection.executemany(ADD_CONTENT, rows)
    rows = spare.query("SELECT namespace, stamp, digest, visual FROM sources")
    connection.executemany(ADD_SOURCE, rows)
    sql = "DELETE FROM documents WHERE namespace=? AND digest=?"
    connection.execute(sql, (namespace, GONE))
