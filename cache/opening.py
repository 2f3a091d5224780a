"""Opens a cache folder as far as the machine lets us: to write, else to read, else not at all."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from minireranker.errors import CacheError

from .census import Census
from .database import Database
from .folder import INDEX, Folder
from .publish import Draft

logger = logging.getLogger(__name__)

FAULTS = (OSError, sqlite3.Error, CacheError)
"""What a folder or its index raises when something is wrong with the machine, or with them."""


@dataclass(frozen=True)
class Opened:
    """A folder and its index."""

    folder: Folder
    database: Database
    """In memory, if the folder's can be neither written nor read."""
    read_only: bool


def open_folder(path: Path) -> Opened:
    """Open or make the cache in ``path``. Raises CacheError, which says why and what to do."""
    folder = Folder(path)
    folder.check()
    _refuse_foreign_index(folder)
    held_something = _holds_something(folder)
    try:
        folder.make()
        with Draft(folder.tmp):
            pass
        return Opened(folder, Database(path / INDEX), read_only=False)
    except (OSError, sqlite3.Error) as error:
        if not held_something:
            raise CacheError(
                f"no cache can be made in {path} ({reason(error)}): choose a folder on a disk with "
                "room, where this user may write"
            ) from error
        logger.warning(
            "the cache %s cannot be written (%s): what it holds is read, nothing is added. Make it "
            "writable, or choose another folder",
            path,
            reason(error),
        )
    return Opened(folder, _readable_index(folder), read_only=True)


def _refuse_foreign_index(folder: Folder) -> None:
    """Before anything is made beside it: an index without entries may be another program's."""
    index = folder.path / INDEX
    if folder.entries.exists() or not index.is_file() or not index.stat().st_size:
        return
    try:
        Database(index, read_only=True).close()
    except sqlite3.DatabaseError as error:
        raise CacheError(
            f"{index} is no cache's index ({reason(error)}): choose an empty folder, or remove it"
        ) from error


def is_full(error: Exception) -> bool:
    """Whether the disk, or a quota on it, is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def reason(error: Exception) -> str:
    """An error in a few words, without the path that the message names already."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _holds_something(folder: Folder) -> bool:
    """Whether there is something to read, or what looks as if there were."""
    try:
        if os.listdir(folder.entries):
            return True
    except FileNotFoundError:
        pass
    except OSError:
        return True
    index = folder.path / INDEX
    return index.exists() and index.stat().st_size > 0


def _readable_index(folder: Folder) -> Database:
    try:
        return Database(folder.path / INDEX, read_only=True)
    except FAULTS as error:
        logger.debug("entries are listed from the files of %s: %s", folder.path, error)
    found = Database(None)
    try:
        Census(found, folder).take()
    except OSError as error:
        logger.debug("the files of %s cannot be listed: %s", folder.path, error)
    return found
