"""Looks at every byte of a cache folder, and puts right what is not.

It may run beside any number of readers and writers: what it found wrong is judged again where
nothing can change, before it is touched. Afterwards every file has its row, every row its file, the
totals add up, and nothing the dead have left takes room.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minireranker.errors import CacheError, CorruptEntryError

from .census import Census, batches, is_temporary
from .disk import DiskCache
from .faults import Faults
from .folder import Folder, contents, files
from .format import check, restore
from .key import LAYOUT_VERSION
from .ledger import Ledger
from .opening import reason
from .rows import NAME_LENGTH
from .upkeep import Upkeep

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Files after which their rows are seen to."""


@dataclass
class VerifyReport:
    """What was found, and (unless only looked for) put right."""

    checked: int = 0
    """Entry files read."""
    bytes: int = 0
    corrupt: list[str] = field(default_factory=list)
    """Keys of damaged files: removed."""
    adopted: int = 0
    """Sound files without a row: entered."""
    lost_rows: int = 0
    """Rows without a file: removed."""
    temporary: int = 0
    """Temporary files and folders whose writer is dead: removed."""
    foreign: list[str] = field(default_factory=list)
    """Paths, relative to the folder, that are none of ours: left alone."""

    @property
    def problems(self) -> int:
        """How many things were not as they should be."""
        own = len(self.corrupt) + self.adopted + self.lost_rows + self.temporary
        return own + len(self.foreign)


def _no_step(size: int) -> None:
    pass


def verify(
    cache: DiskCache, step: Callable[[int], None] = _no_step, *, repair: bool = True
) -> VerifyReport:
    """Read all entries of ``cache``; ``step`` is told the bytes of each.

    ``repair`` False: nothing is changed. Raises CacheError if the folder is to be repaired and
    cannot be written, or its index or files cannot be read.
    """
    if repair and cache.read_only:
        raise CacheError(
            f"the cache {cache.path} can only be read here: look without repairing (repair=False), "
            "or ask its owner"
        )
    try:
        return _Verification(cache, step, repair).run()
    except (OSError, sqlite3.Error) as error:
        raise CacheError(
            f"the cache {cache.path} cannot be verified to the end ({reason(error)}): see to its "
            "disk and permissions, then verify again"
        ) from error


class _Verification:
    """One walk through a folder."""

    def __init__(self, cache: DiskCache, step: Callable[[int], None], repair: bool) -> None:
        self._database, self._folder = cache.database, Folder(cache.path)
        self._census = Census(self._database, self._folder)
        ledger = Ledger(self._database, self._folder, {})
        self._upkeep = Upkeep(self._database, self._folder, ledger, Faults(logger))
        self._step, self._repair, self._report = step, repair, VerifyReport()

    def run(self) -> VerifyReport:
        report = self._report
        if self._repair:
            self._database.mend()
        report.temporary = self._census.sweep() if self._repair else self._census.dead()
        for some in batches(self._sound(), AT_ONCE):
            without = self._without_row(some)
            report.adopted += self._census.adopt(without) if self._repair else len(without)
        report.lost_rows = self._census.settle() if self._repair else self._census.missing()
        report.foreign += self._strange_temporaries()
        if self._repair:
            self._finish()
        return report

    def _sound(self) -> Iterator[str]:
        """Keys of the entries that are whole; of the others care is taken at once."""
        for path in files(self._folder.entries):
            key = self._folder.key_of(path)
            if key is None:
                self._leave(path)
            elif self._is_sound(key, path):
                yield key

    def _is_sound(self, key: str, path: str) -> bool:
        try:
            data, status = contents(path)
        except FileNotFoundError:
            return False  # evicted since
        except OSError as error:
            logger.warning("%s cannot be read (%s): it is left as it is", path, reason(error))
            self._leave(path)
            return False
        self._report.checked += 1
        self._report.bytes += status.st_size
        self._step(status.st_size)
        try:
            header = check(data, key)
            if header.layout == LAYOUT_VERSION:
                restore(header, data)
        except CorruptEntryError as error:
            logger.warning("%s: %s", path, error)
            self._report.corrupt.append(key)
            if self._repair:
                self._upkeep.discard(key, status.st_ino)
            return False
        return True

    def _without_row(self, keys: list[str]) -> list[str]:
        """Those without a row, or with one that says something else."""
        marks = ",".join("?" * len(keys))
        rows = self._database.query(
            f"SELECT key, bytes FROM entries WHERE writing IS NULL AND key IN ({marks})", keys
        )
        sizes = dict(rows)
        statuses = {key: self._folder.status(key) for key in keys}
        return [key for key, found in statuses.items() if found and sizes.get(key) != found.st_size]

    def _strange_temporaries(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder.tmp) as found:
            return [self._name(item.path) for item in found if not is_temporary(item)]
        return []

    def _finish(self) -> None:
        if self._database.rebuilt:
            self._census.take()
        self._census.recount()
        self._upkeep.shrink()
        for path in _empty_folders(self._folder.entries):
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _leave(self, path: str) -> None:
        self._report.foreign.append(self._name(path))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._folder.path)


def _empty_folders(top: Path) -> Iterator[Path]:
    """Our folders below ``top`` that may be empty, the innermost first."""
    for namespace in top.glob("[0-9a-f]" * NAME_LENGTH):
        yield from namespace.glob("[0-9a-f][0-9a-f]")
        yield namespace
