"""Whose the namespaces are."""

from __future__ import annotations

import sqlite3

from .database import Database
from .key import Namespace
from .rows import NAME_LENGTH, add_namespace, tenant_of


class Tenants:
    """The namespaces of a folder, and those this process has registered.

    Every method may raise CacheError, OSError and sqlite3.Error, as ``Database`` does.
    """

    def __init__(self, database: Database) -> None:
        """Nothing is registered yet."""
        self._database = database
        self._registered: dict[str, Namespace] = {}

    def register(self, namespace: Namespace) -> None:
        """Note whose it is; what was found of it before becomes the tenant's."""
        if namespace.name not in self._registered:
            with self._database.transaction() as connection:
                add_namespace(connection, namespace)
            self._registered[namespace.name] = namespace

    def of(self, connection: sqlite3.Connection, key: str) -> str:
        """Whose a key is; a namespace dropped by somebody else is registered again."""
        known = self._registered.get(key[:NAME_LENGTH])
        if known is not None:
            add_namespace(connection, known)
        return tenant_of(connection, key)

    def forget(self, name: str) -> None:
        """Remove a namespace's registration and catalog; the rows of its entries stay."""
        with self._database.transaction() as connection:
            for table in ("documents", "contents", "sources"):
                connection.execute(f"DELETE FROM {table} WHERE namespace = ?", (name,))
            connection.execute("DELETE FROM namespaces WHERE name = ?", (name,))
            self._registered.pop(name, None)
