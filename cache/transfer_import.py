"""Reading what export wrote, or what somebody says it wrote: nothing in it is believed."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minireranker.errors import CacheError, CorruptEntryError

from .archive import Member, members
from .disk import DiskCache
from .key import KEY_PATTERN
from .transfer_export import CATALOG, Step, entry_name
from .transfer_rows import RowImport, read_lines

__all__ = ["Imported", "import_archive"]

_MOST_NAMED = 20


@dataclass(frozen=True)
class Imported:
    """What became of an archive's contents."""

    entries: int = 0
    """Now here and not before."""
    bytes: int = 0
    """Of those."""
    present: int = 0
    """Entries that were here."""
    unkept: int = 0
    """Sound entries that the folder did not take: no room, or the disk failed."""
    documents: int = 0
    """Ids that are new here, or mean something new."""
    documents_kept: int = 0
    """Ids that are here and went on meaning another content."""
    refused: int = 0
    """Members and catalog lines that were not what they have to be."""
    reasons: tuple[str, ...] = ()
    """Why, for the first few members. Names in it are the archive's: not to be trusted."""


def import_archive(
    cache: DiskCache,
    source: Path,
    *,
    replace: bool = False,
    step: Step = lambda count: None,
) -> Imported:
    """Take over what ``export_archive`` wrote, or what somebody says it wrote.

    Only verified entries are kept, of namespaces the catalog declares, and nothing that is here
    already is touched; with ``replace``, an id that means another content here gets the archive's.
    What is not as it has to be is counted, not taken. Raises CacheError where ``source`` cannot be
    read, holds more than the folder may, or is damaged: what was sound before that is kept, and the
    message says how much it was.
    """
    if cache.read_only:
        raise CacheError(f"the cache {cache.path} cannot be written; choose another folder")
    with _opened(source) as file:
        importing = _Import(cache, source, file, step)
        importing.look_through()
        importing.take_catalog(replace)
        damage = importing.take_entries()
    cache.flush()
    if damage is not None:
        found = importing.found
        raise CacheError(
            f"{source}: {damage}. Before that {found.entries} entries ({found.bytes} bytes) and "
            f"{found.documents} documents were imported, {found.present} entries were here "
            "already; fetch the archive again and import it once more"
        )
    return importing.found


class _Import:
    """One archive on its way into a folder: a look at all headers first, then entry by entry."""

    def __init__(self, cache: DiskCache, source: Path, file: BinaryIO, step: Step) -> None:
        self._cache, self._source, self._file, self._step = cache, source, file, step
        self._limit = cache.max_bytes
        self._catalog: Member | None = None
        self._seen: set[str] = set()
        self._namespaces: set[str] = set()
        self.found = Imported()

    def look_through(self) -> None:
        """Find the catalog, wherever it is. Raises CacheError if the new entries are too many."""
        total = 0
        with contextlib.suppress(CacheError):  # found again, and told, by ``take_entries``
            for member in members(self._file):
                key = _key_of(member)
                if key is not None and member.size <= self._limit and key not in self._cache:
                    total += member.size
                if self._catalog is None and _is_catalog(member):
                    self._catalog = member
        if total > self._limit:
            raise CacheError(
                f"{self._source}: its new entries have {total} bytes, and {self._cache.path} may "
                f"hold {self._limit}; allow it more, or export fewer namespaces"
            )

    def take_catalog(self, replace_documents: bool) -> None:
        """Take the rows. Raises CacheError for a catalog of another version, or a failing disk."""
        if self._catalog is None:
            return
        rows = RowImport(self._cache.database, replace=replace_documents)
        self._file.seek(self._catalog.start)
        try:
            for row in read_lines(self._file, self._catalog.size):
                rows.add(row)
            rows.write()
        except CacheError as error:
            raise CacheError(f"{self._source}: {error}") from error
        except sqlite3.Error as error:
            raise CacheError(
                f"the index of {self._cache.path} cannot be written ({error}); run cache verify"
            ) from error
        self._namespaces = rows.namespaces
        self._count(documents=rows.documents, documents_kept=rows.kept, refused=rows.refused)

    def take_entries(self) -> CacheError | None:
        """Take entry by entry; what ended it early, if anything did."""
        try:
            for member in members(self._file):
                self._take(member)
        except CacheError as error:
            return error
        return None

    def _take(self, member: Member) -> None:
        key = _key_of(member)
        if self._catalog is not None and member.start == self._catalog.start:
            return
        reason = self._objection(member, key)
        if reason is None and key is not None:
            self._seen.add(key)
            if key in self._cache:
                self._count(present=1)
            else:
                reason = self._keep(key, member)
            self._step(member.size)
        if reason is not None:
            self._count(refused=1)
            if len(self.found.reasons) < _MOST_NAMED:
                reasons = (*self.found.reasons, f"{member.name[:200]}: {reason}")
                self.found = dataclasses.replace(self.found, reasons=reasons)

    def _objection(self, member: Member, key: str | None) -> str | None:
        if not member.is_file:
            return "a link, folder or device"
        if key is None:
            return "not a name that an archive of entries has"
        if key in self._seen:
            return "there twice"
        if key[:32] not in self._namespaces:
            return "of a namespace that the catalog does not declare"
        if member.size > self._limit:
            return f"{member.size} bytes, more than the folder may hold"
        return None

    def _keep(self, key: str, member: Member) -> str | None:
        self._file.seek(member.start)
        try:
            kept = self._cache.put_bytes(key, self._file.read(member.size))
        except CorruptEntryError as error:
            return str(error)
        if kept:
            self._count(entries=1, bytes=member.size)
        else:
            self._count(unkept=1)
        return None

    def _count(self, **more: int) -> None:
        sums = {name: getattr(self.found, name) + count for name, count in more.items()}
        self.found = dataclasses.replace(self.found, **sums)


def _key_of(member: Member) -> str | None:
    key = member.name[len("entries/") : -len(".safetensors")]
    is_entry = KEY_PATTERN.fullmatch(key) is not None and member.name == entry_name(key)
    return key if is_entry and member.is_file else None


def _is_catalog(member: Member) -> bool:
    return member.name == CATALOG and member.is_file


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    if not source.is_file():
        what = "not a regular file" if source.exists() else "not there"
        raise CacheError(f"{source} is {what}; name a tar file written by export")
    try:
        file = source.open("rb")
    except OSError as error:
        raise CacheError(f"{source}: {error.strerror}; make it readable") from error
    with file:
        yield file
