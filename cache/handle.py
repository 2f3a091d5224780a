"""The file of a database, open to write and to read; followed when another takes its place."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minireranker.errors import CacheError

from . import connection as connections

_INHERITED: list[sqlite3.Connection | None] = []
"""Connections of a parent process: a child may neither use nor close them, says SQLite."""


class Handle:
    """Two connections to what a path leads to.

    What is written needs a lock above this one; what is read does not.
    """

    def __init__(self, path: Path | None, *, read_only: bool) -> None:
        """Opens nothing yet. ``path`` None: in memory."""
        self.path, self.read_only = path, read_only
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._inode = 0
        self._damaged = self._closed = False

    @property
    def in_transaction(self) -> bool:
        """Whether one was begun and not ended."""
        return self._writer is not None and self._writer.in_transaction

    @property
    def is_stale(self) -> bool:
        """Whether there is none open that may be used: or the path leads to another by now."""
        opened = self._reader or self._writer
        if opened is None or self._damaged:
            return True
        if self.path is None or self.read_only:
            return False
        try:
            return os.stat(self.path).st_ino != self._inode
        except FileNotFoundError:
            return True

    def current(self) -> sqlite3.Connection:
        """The connection that writes (reads, where nothing can be written), opened if needed.

        Raises CacheError once it was closed; sqlite3.Error, OSError.
        """
        if self._closed:
            raise CacheError(f"{self.path or 'the index'} was closed: open the cache again")
        if self.is_stale:
            self._close()
            self._open()
            self._damaged = False
        found = self._writer or self._reader
        assert found is not None, "it was just opened"
        return found

    def read(self, sql: str, args: Sequence[object]) -> list[tuple[Any, ...]]:
        """Rows of what was last committed. Raises as ``current``."""
        with self._lock:
            reader = self._reader
            if reader is None:
                raise CacheError(f"{self.path} was closed: open the cache again")
            return reader.execute(sql, args).fetchall()

    def is_sound(self) -> bool:
        """Whether SQLite finds nothing wrong with the file. Reads all of it."""
        with self._lock:
            return self._reader is None or connections.is_sound(self._reader)

    def doubt(self, error: sqlite3.Error | None = None) -> None:
        """Have it checked before the next use, if ``error`` is one of a malformed file."""
        self._damaged |= error is None or connections.is_damage(error)

    def close(self) -> None:
        """Give the files back; it cannot be opened again."""
        self._closed = True
        self._close()

    def abandon(self) -> None:
        """In a child: leave the parent's connections alone; its own are opened when needed."""
        self._lock = threading.Lock()
        if self.path is not None:
            _INHERITED.extend((self._reader, self._writer))
            self._reader = self._writer = None

    def _open(self) -> None:
        if self.path is None:
            self._writer = connections.in_memory()
        elif self.read_only:
            self._reader = connections.to_read(self.path)
        else:
            if self._inode and not self.path.exists():
                connections.tell_of_new(self.path, "is gone")
            self._writer = connections.to_write(self.path, suspect=self._damaged)
            self._reader = connections.beside(self.path)
            self._inode = os.stat(self.path).st_ino

    def _close(self) -> None:
        with self._lock:
            for found in (self._reader, self._writer):
                if found is not None:
                    found.close()
            self._reader = self._writer = None
