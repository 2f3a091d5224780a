"""The SQLite database of a cache folder: what lies there, and which documents are known.

Between processes a write first takes a lock on a file beside it, where waiting costs no polling;
SQLite's own locks are then free. The file may be damaged, or go, while it is open: every use looks
whether the path still leads to the file that is open. One that is malformed is moved aside and made
anew. (SQLite leaves the log of a file alone that was moved, when it closes it.) Nothing here is
needed to read an entry.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minireranker.errors import CacheError

from .garbage import NO_COLLECTION
from .handle import Handle
from .locks import FileLock

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY = 256
"""Commits between two checkpoints. They wait for the disk, so they are made outside the lock."""
LONG_LOG = 8192
"""Pages of the write-ahead log (of 4 KiB) from which on it is emptied while all others wait."""


class Database:
    """Tables of ledger and catalog; safe between threads, processes and across a fork."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open or make the file ``path``; None: in memory.

        A file that is malformed is moved aside and made anew, except with ``read_only``. Raises
        CacheError for tables of a newer version or of another program, and for a file that cannot
        be read with ``read_only``; OSError or sqlite3.Error if the machine does not let it.
        """
        self._handle = Handle(path, read_only=read_only)
        self._lock = threading.RLock()
        shared = path is not None and not read_only
        self._file_lock = FileLock(Path(f"{path}.lock")) if shared else None
        self._commits = CHECKPOINT_EVERY - 16
        self.longest_wait = 0.0
        """Seconds, the longest a transaction has waited for another process."""
        self._refresh()
        _OPEN.add(self)

    @property
    def rebuilt(self) -> bool:
        """Whether it was made anew, and nobody has looked through the folder since."""
        return not self.query("SELECT 1 FROM meta WHERE name = 'scanned'")

    @contextlib.contextmanager
    def transaction(self, *, wait: bool = True) -> Iterator[sqlite3.Connection]:
        """Change something: committed at the end, rolled back if the block raises. Does not nest.

        ``wait`` False: raises BlockingIOError where another thread or process is at it. Raises
        CacheError if it is closed or read-only; sqlite3.Error and OSError for the machine's faults.
        """
        if self._handle.read_only:
            raise CacheError(f"{self._handle.path} was opened to be read only: nothing is changed")
        try:
            with self._alone(wait) as writer:
                yield writer
        except sqlite3.DatabaseError as error:
            self._handle.doubt(error)
            raise
        self._commits += 1
        if self._file_lock and wait and self._commits >= CHECKPOINT_EVERY:
            self._commits = 0
            self._checkpoint()

    def query(self, sql: str, args: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of what was last committed; waits for no process. Raises as ``transaction``."""
        if self._handle.path is None:
            with self._lock:
                return self._handle.current().execute(sql, args).fetchall()
        if self._handle.is_stale:
            self._refresh()
        try:
            return self._handle.read(sql, args)
        except sqlite3.DatabaseError as error:
            self._handle.doubt(error)
            raise

    def mend(self) -> bool:
        """Check the whole file; made anew if it is malformed, and then True."""
        self._refresh()
        if self._handle.is_sound():
            return False
        self._handle.doubt()
        self._refresh()
        return True

    def compact(self) -> bool:
        """Make the files as small as they can be; whether that went well."""
        try:
            with self._locked(True), self._locked_file(True):
                writer = self._handle.current()
                blocked, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (sqlite3.Error, OSError, CacheError) as error:
            logger.debug("%s is not made smaller: %s", self._handle.path, error)
            return False
        return not blocked

    def close(self) -> None:
        """Give back files and locks; further use raises CacheError."""
        with self._lock:
            self._handle.close()
            if self._file_lock:
                self._file_lock.forget()

    @contextlib.contextmanager
    def _alone(self, wait: bool) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, ended with the block."""
        with self._locked(wait):
            start = time.perf_counter()
            with NO_COLLECTION, self._locked_file(wait):
                writer = self._handle.current()
                writer.execute("BEGIN IMMEDIATE")
                self.longest_wait = max(self.longest_wait, time.perf_counter() - start)
                try:
                    yield writer
                    writer.execute("COMMIT")
                finally:
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")

    @contextlib.contextmanager
    def _locked(self, wait: bool) -> Iterator[None]:
        if not self._lock.acquire(blocking=wait):
            raise BlockingIOError("another thread writes to the cache's index")
        try:
            assert not self._handle.in_transaction, "a transaction is begun inside another"
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _locked_file(self, wait: bool) -> Iterator[None]:
        if self._file_lock is None:
            yield
            return
        if not self._file_lock.acquire(wait):
            raise BlockingIOError("another process writes to the cache's index")
        try:
            yield
        finally:
            self._file_lock.release()

    def _refresh(self) -> None:
        """Open the file the path leads to now, unless this thread is in a transaction."""
        with self._lock:
            if not self._handle.in_transaction:
                with self._locked_file(True):
                    self._handle.current()

    def _checkpoint(self) -> None:
        """Move the log into the file. A failure is no loss: the next one tries again."""
        try:
            with self._locked(True):
                if not self._handle.is_stale and _pages(self._handle.current()) > LONG_LOG:
                    with self._locked_file(True):
                        _pages(self._handle.current())
        except (sqlite3.Error, OSError, CacheError) as error:
            logger.debug("no checkpoint of %s: %s", self._handle.path, error)

    def _after_fork(self) -> None:
        """In a child: leave the parent's connections and locks alone."""
        self._lock = threading.RLock()
        self._handle.abandon()
        if self._file_lock:
            self._file_lock.forget()


def _pages(writer: sqlite3.Connection) -> int:
    """Checkpoint without waiting for anybody; pages in the log."""
    _, pages, _ = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_OPEN):
        database._after_fork()


os.register_at_fork(after_in_child=_after_fork)
