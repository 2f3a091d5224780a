"""A store shared by many machines, addressed by an fsspec URL: objects, no ledger, no locks."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from minireranker.errors import CacheError, MissingDependencyError

from .faults import Faults
from .key import KEY_PATTERN
from .stats import TierStats

_LOG = logging.getLogger(__name__)

_SUFFIX = ".safetensors"


class RemoteStore:
    """Entry files under ``<url>/<namespace>/<two hex digits>/<key>.safetensors``.

    A store that cannot be reached is an empty one: failures are counted and logged, at most once a
    minute each kind, and never raised. Bytes are handed on as they are: whoever reads them checks
    them. Safe to share between threads.
    """

    def __init__(self, url: str, **options: Any) -> None:
        """``options`` are the fsspec driver's: endpoint, credentials, time limits.

        Raises CacheError for a URL no store can have, MissingDependencyError if its driver is not
        installed.
        """
        self.url = _without_password(url)
        self._fs, self._root = _opened(url, self.url, options)
        self._lock = threading.Lock()
        self._faults = Faults(_LOG)
        self._hits = self._misses = 0
        self._useless: set[str] = set()

    @property
    def stats(self) -> TierStats:
        """Counts so far; what the store holds is not known without listing it."""
        return TierStats(self._hits, self._misses, 0, self._faults.count, None, None)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, unchecked; None if there is none, or it cannot be read."""
        data: bytes | None = None
        try:
            data = self._fs.cat_file(self._path(key))
        except FileNotFoundError:
            pass
        except Exception as error:  # of whatever class: each driver raises its own
            self._failed("read from", error)
        with self._lock:
            self._hits += data is not None
            self._misses += data is None
        return data

    def put(self, key: str, data: bytes) -> bool:
        """Store a file's bytes under ``key``; whether that worked."""
        path = self._path(key)
        try:
            try:
                self._publish(path, data)
            except FileNotFoundError:  # a store with real folders, and this one is new
                self._fs.makedirs(self._fs._parent(path), exist_ok=True)
                self._publish(path, data)
        except Exception as error:
            self._failed("write to", error)
            return False
        with self._lock:
            self._useless.discard(key)
        return True

    def distrust(self, key: str, fault: Exception | None = None) -> None:
        """Take back the hit on ``key``: the object is of no use, and ``put`` may replace it.

        ``fault``: what is wrong with it, counted and logged; None if it is only too old.
        """
        with self._lock:
            self._hits -= 1
            self._misses += 1
            self._useless.add(key)
        if fault is not None:
            self._failed("use an entry of", fault)

    def __contains__(self, key: str) -> bool:
        """Whether there is an object that is not known to be useless; nothing counted as read."""
        try:
            return key not in self._useless and bool(self._fs.exists(self._path(key)))
        except Exception as error:
            self._failed("look into", error)
            return False

    def delete(self, keys: Iterable[str]) -> int:
        """Remove objects; how many were there and are gone."""
        removed = 0
        for key in keys:
            try:
                self._fs.rm_file(self._path(key))
                removed += 1
            except FileNotFoundError:
                pass
            except Exception as error:
                self._failed("delete from", error)
        return removed

    def keys(self, namespace: str | None = None) -> Iterator[str]:
        """Keys of all objects, or of one namespace's; what else lies there is passed over."""
        folder = self._root if namespace is None else f"{self._root}/{namespace}"
        try:
            self._fs.invalidate_cache()
            found = self._fs.find(folder)
        except FileNotFoundError:
            return
        except Exception as error:
            self._failed("list", error)
            return
        for path in found:
            key = str(path).rpartition("/")[2].removesuffix(_SUFFIX)
            if KEY_PATTERN.fullmatch(key) and str(path).endswith(self._path(key)):
                yield key

    def __repr__(self) -> str:
        """Its URL, without a password."""
        return f"RemoteStore({self.url!r})"

    def _path(self, key: str) -> str:
        namespace, _, digest = key.partition("-")
        return f"{self._root}/{namespace}/{digest[:2]}/{key}{_SUFFIX}"

    def _publish(self, path: str, data: bytes) -> None:
        if "file" not in self._fs.protocol:
            self._fs.pipe_file(path, data)  # an object store shows all of an object or nothing
            return
        part = f"{path}.{secrets.token_hex(8)}.part"
        try:
            self._fs.pipe_file(part, data)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            raise

    def _failed(self, what: str, error: Exception) -> None:
        kind = type(error).__name__
        self._faults.report(
            f"{what} {kind}",
            "could not %s the remote cache %s (%s: %s); going on without it",
            *(what, self.url, kind, error),
        )


def _opened(url: str, shown: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The file system and the path in it that a URL stands for."""
    from fsspec.core import url_to_fs

    if "://" not in url:
        raise CacheError(f"remote cache {shown!r} is not a URL; use s3://, gs://, file:///folder")
    try:
        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        # The driver's own sentence names the package.
        raise MissingDependencyError(
            f"remote cache {shown!r} needs a package that is not installed: {error}"
        ) from error
    except Exception as error:
        raise CacheError(
            f"remote cache {shown!r} cannot be opened ({type(error).__name__}: {error}); "
            "check the URL and remote_options"
        ) from error
    return fs, root.rstrip("/")


def _without_password(url: str) -> str:
    place = urlsplit(url).netloc
    return url.replace(place, place.rpartition("@")[2], 1) if "@" in place else url
