"""SQLite connections to a cache folder's file, with its tables; a malformed one is moved aside."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from minireranker.errors import CacheError

from .schema import make_tables, schema_version

logger = logging.getLogger(__name__)

BUSY_SECONDS = 1.0
"""How long another program's lock on the database is waited for."""
SMALL_FILE = 4 * 2**20
"""Bytes up to which the whole file is checked whenever it is opened."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SHORT_READ = sqlite3.SQLITE_IOERR | 2 << 8
_SUFFIXES = ("", "-wal", "-shm")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is malformed, or no database at all."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGED or code == _SHORT_READ or "no such table" in str(error)


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether SQLite finds nothing wrong with the file. Reads all of it."""
    try:
        return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise


def in_memory() -> sqlite3.Connection:
    """A database of its own, with the tables."""
    connection = _connect(":memory:")
    make_tables(connection, "memory")
    return connection


def to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing. Raises CacheError if there is nothing it can read.

    A write-ahead log cannot be read in a folder where nothing can be written: what is not in the
    file itself is not seen then.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    for uri in (address, f"{address}&immutable=1"):
        connection = None
        try:
            connection = _connect(uri, uri=True)
            if schema_version(connection, str(path)):
                return connection
        except sqlite3.Error as error:
            logger.debug("%s cannot be read: %s", uri, error)
        except CacheError:
            _close(connection)
            raise
        _close(connection)
    raise CacheError(f"{path} is not readable as a cache's index: entries are found without it")


def beside(path: Path) -> sqlite3.Connection:
    """A second connection, for reading, to a file that ``to_write`` has opened."""
    connection = _connect(str(path))
    connection.execute("PRAGMA query_only = 1")
    return connection


def to_write(path: Path, *, suspect: bool = False) -> sqlite3.Connection:
    """A connection that may write, the tables being there; to be opened by one process at a time.

    ``suspect``: check the whole file, however large. A malformed one is moved aside, and another
    made. Raises CacheError for another program's tables and those of a newer version.
    """
    if path.is_dir():
        _move_aside(path)
    found = _try(path, suspect)
    if found is None:
        _move_aside(path)
        found = _try(path, suspect)
    if found is None:
        raise sqlite3.DatabaseError(f"{path} is malformed right after it was made")
    return found


def _try(path: Path, suspect: bool) -> sqlite3.Connection | None:
    """A connection; None if the file is malformed."""
    connection = _connect(str(path))
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        make_tables(connection, str(path))
        if not (suspect or path.stat().st_size <= SMALL_FILE) or is_sound(connection):
            return connection
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            connection.close()
            raise
    except CacheError:
        connection.close()
        raise
    connection.close()
    return None


def _connect(address: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        address, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri
    )


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _move_aside(path: Path) -> None:
    names = (path.with_name(f"{path.name}.corrupt-{n}") for n in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    tell_of_new(path, f"was malformed (it is {aside.name} now)")


def tell_of_new(path: Path, why: str) -> None:
    """Log that the index is made anew, and what that means."""
    logger.warning(
        "the cache's index %s %s: another is filled from the entry files. Documents have to be "
        "indexed again (their entries are found), pins and the budget set again",
        path,
        why,
    )
