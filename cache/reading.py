"""How an entry comes out of a cache folder: whatever is wrong with its file, it is a miss."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TypeVar

from minireranker.errors import CorruptEntryError

from .faults import Faults
from .folder import Folder, contents
from .format import Buffer, check
from .header import Header
from .opening import FAULTS, reason
from .upkeep import Upkeep

_T = TypeVar("_T")


class Reading:
    """Reads files of one folder, and removes those that are worth nothing."""

    def __init__(
        self, folder: Folder, upkeep: Upkeep | None, faults: Faults, ttl: float | None
    ) -> None:
        """``upkeep`` None: nothing can be removed. ``ttl``: seconds, None: entries do not age."""
        self._folder, self._upkeep, self._faults = folder, upkeep, faults
        self._ttl = math.inf if ttl is None else ttl

    @property
    def oldest(self) -> float:
        """Seconds since the epoch: an entry made before is too old."""
        return time.time() - self._ttl

    def read(self, key: str, use: Callable[[Buffer, Header], _T]) -> _T | None:
        """What ``use`` makes of the sound bytes under ``key``, or None."""
        try:
            data, status = contents(self._folder.path_of(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._report("cannot be read", key, reason(error))
            return None
        try:
            header = check(data, key)
            if header.created >= self.oldest:
                return use(data, header)
        except CorruptEntryError as error:
            self._report("is removed", key, str(error))
        self._remove(key, status.st_ino)
        return None

    def is_there(self, key: str) -> bool:
        """Whether there is a file, not too old by its time, which is that of its entry."""
        try:
            status = self._folder.status(key)
        except OSError:
            return False
        return status is not None and status.st_mtime >= self.oldest

    def _remove(self, key: str, inode: int) -> None:
        """Remove the file that was read, not one that took its place."""
        if self._upkeep is None:
            return
        try:
            self._upkeep.discard(key, inode)
        except FAULTS:
            with contextlib.suppress(OSError):
                self._folder.remove(key, inode)

    def _report(self, what: str, key: str, why: str) -> None:
        path = self._folder.path_of(key)
        self._faults.report(what, "the entry %s %s: %s. It counts as a miss", path, what, why)
