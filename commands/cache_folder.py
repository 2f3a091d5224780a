"""Which cache folder is meant, and opening it without making one by looking at it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minireranker.errors import CacheError, ConfigurationError

if TYPE_CHECKING:
    from minireranker.cache.disk import DiskCache
    from minireranker.cache.ledger import NamespaceInfo

__all__ = [
    "CACHE_HELP",
    "cache_folder",
    "existing_folder",
    "find_namespaces",
    "one_folder",
    "open_cache",
]

CACHE_HELP = "The cache's folder. Default: $MINIRERANKER_CACHE, else ~/.cache/minireranker."


def cache_folder(given: Path | None) -> Path:
    """The folder given, else that of MINIRERANKER_CACHE, else the user's own.

    Raises ConfigurationError where there is no home to have one in.
    """
    if given is not None:
        return given
    try:
        if named := os.environ.get("MINIRERANKER_CACHE"):
            return Path(named).expanduser()
        above = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG base directory specification has relative paths ignored.
        return (above if above.is_absolute() else Path.home() / ".cache") / "minireranker"
    except RuntimeError as error:
        raise ConfigurationError("there is no home folder; name one with --cache DIR") from error


def one_folder(directory: Path | None, folder: Path | None) -> Path | None:
    """The folder given as an argument or as --cache. Raises ConfigurationError for two."""
    if directory is not None and folder is not None and directory != folder:
        raise ConfigurationError(f"{directory} and --cache {folder}: name one folder")
    return directory or folder


def existing_folder(given: Path | None) -> Path:
    """The cache folder, which is there. Raises CacheError where it is not."""
    path = cache_folder(given)
    if not os.path.isdir(path):
        what = "is not a folder" if os.path.exists(path) else "is not there"
        raise CacheError(f"the cache {path} {what}; name one with --cache DIR, or run index first")
    if not any(os.path.exists(path / name) for name in ("index.sqlite3", "entries")):
        raise CacheError(f"{path} is no cache: it holds no entries; name another with --cache DIR")
    return path


def open_cache(given: Path | None) -> DiskCache:
    """The cache folder, opened for looking and for changing. Raises CacheError."""
    path = existing_folder(given)
    from minireranker.cache.disk import DiskCache

    return DiskCache(path)


def find_namespaces(cache: DiskCache, wanted: Sequence[str]) -> list[NamespaceInfo]:
    """The namespaces meant by beginnings of their names, each once, in the order named.

    Raises CacheError for a beginning that none or several have.
    """
    known, found = cache.namespaces(), {}
    for start in wanted:
        matches = [info for info in known if start and info.name.startswith(start)]
        if len(matches) != 1:
            which = f"{len(matches)} namespaces begin" if matches else "no namespace begins"
            names = ", ".join(info.name for info in matches or known) or "none"
            raise CacheError(f"{which} with {start!r}; there are: {names}")
        found[matches[0].name] = matches[0]
    return list(found.values())
