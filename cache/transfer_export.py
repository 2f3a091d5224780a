"""Entries and what is known of their documents, from one cache folder to another, as a tar file.

    catalog.jsonl                  rows of namespaces, contents and documents (transfer_rows.py)
    entries/<key>.safetensors      the files as they are in the folder

Nothing in an archive can be written anywhere but where its key says, and every entry is verified.
But whoever wrote it says what its documents score: import archives of people you trust with that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minireranker.errors import CacheError

from .archive import ArchiveWriter
from .disk import DiskCache
from .transfer_rows import catalog_lines

__all__ = ["CATALOG", "Exported", "Step", "entry_name", "export_archive"]

CATALOG = "catalog.jsonl"

Step = Callable[[int], None]
"""Told the bytes of each entry that has been dealt with."""


def entry_name(key: str) -> str:
    """The name of an entry's member."""
    return f"entries/{key}.safetensors"


@dataclass(frozen=True)
class Exported:
    """What an archive holds."""

    entries: int = 0
    bytes: int = 0
    """Of the entries."""
    gone: int = 0
    """Entries asked for that are not there, or no longer sound."""


def export_archive(
    cache: DiskCache,
    out: Path,
    *,
    namespaces: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    step: Step = lambda count: None,
) -> Exported:
    """Write all entries, those of some namespaces, or some keys, into a tar file.

    The file appears at once and whole, in place of one that is there. Least recently used entries
    come first, so that importing keeps their order. Raises CacheError where ``out`` cannot be
    made, OSError (the disk is full) once it is being written; nothing is left then.
    """
    chosen = _chosen(cache, namespaces, keys)
    names = sorted({key[:32] for key in chosen} if keys is not None else _names(cache, namespaces))
    wanted = None if keys is None else frozenset(chosen)
    with _published(out) as file:
        archive = ArchiveWriter(file)
        try:
            archive.add(CATALOG, catalog_lines(cache.database, names, wanted))
        except sqlite3.Error as error:
            raise CacheError(
                f"the index of the cache {cache.path} cannot be read ({error}); run cache verify"
            ) from error
        entries = size = 0
        for key in chosen:
            data = cache.read_bytes(key)
            if data is not None:
                entries, size = entries + 1, size + archive.add(entry_name(key), [data])
                step(len(data))
        archive.finish()
    return Exported(entries, size, len(chosen) - entries)


def _names(cache: DiskCache, namespaces: Collection[str] | None) -> list[str]:
    return list(namespaces) if namespaces is not None else [n.name for n in cache.namespaces()]


def _chosen(
    cache: DiskCache, namespaces: Collection[str] | None, keys: Collection[str] | None
) -> Sequence[str]:
    """Keys to export, the least recently used first."""
    if keys is not None:
        return list(dict.fromkeys(keys))
    names = _names(cache, namespaces)
    found = [(info.used, info.key) for name in names for info in cache.entries(name)]
    return [key for _, key in sorted(found)]


@contextlib.contextmanager
def _published(out: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``out`` when all went well, and is removed otherwise."""
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        file = part.open("xb")
    except OSError as error:
        raise CacheError(f"{out}: {error.strerror}; name a file that can be written") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
