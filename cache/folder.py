"""The files of a cache folder.

index.sqlite3                                      what lies here, and the catalog
entries/<namespace>/<first two of the hash>/<key>.safetensors
tmp/<random>.part                                  being written
tmp/<namespace>.<random>.drop                      a namespace on its way out
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from minireranker.errors import CacheError, ConfigurationError

from .format import Buffer
from .key import KEY_PATTERN
from .rows import NAME_LENGTH

INDEX = "index.sqlite3"
SUFFIX = ".safetensors"
PART = ".part"
DROP = ".drop"

_SMALL = 64 * 1024
"""Bytes up to which reading costs less than mapping."""


class Folder:
    """Where everything lies in ``path``; the index is another's business."""

    def __init__(self, path: Path) -> None:
        """Raises nothing: whether ``path`` can be used is seen by ``make`` or ``check``."""
        self.path = path
        self.entries, self.tmp = path / "entries", path / "tmp"
        self._prefix = f"{self.entries}{os.sep}"

    def check(self) -> None:
        """Raise CacheError for a file, for what cannot be listed, for another program's folder."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise CacheError(f"{self.path} is a file: a cache needs a folder") from error
        except OSError as error:
            raise CacheError(
                f"the cache folder {self.path} cannot be read ({error.strerror}): choose one that "
                "can, or make it readable"
            ) from error
        own = {self.entries.name, self.tmp.name}
        strange = [
            n for n in names if n not in own and not n.startswith((".", "lost+found", INDEX))
        ]
        if strange and not any(name.startswith(INDEX) for name in names):
            raise CacheError(
                f"{self.path} holds other things than a cache ({sorted(strange)[0]}): choose an "
                "empty folder"
            )

    def make(self) -> None:
        """Make what is missing. Raises OSError."""
        for place in (self.path, self.entries, self.tmp):
            place.mkdir(parents=True, exist_ok=True)

    def path_of(self, key: str) -> str:
        """Where the entry of ``key`` lies. Raises ConfigurationError for what is no key."""
        if not KEY_PATTERN.fullmatch(key):
            raise ConfigurationError(f"{key!r} is no cache key: allowed is {KEY_PATTERN.pattern}")
        name, shard = key[:NAME_LENGTH], key[NAME_LENGTH + 1 : NAME_LENGTH + 3]
        return f"{self._prefix}{name}{os.sep}{shard}{os.sep}{key}{SUFFIX}"

    def key_of(self, path: str) -> str | None:
        """The key of an entry's file by its path, or None for a file that is in no such place."""
        key = os.path.basename(path).removesuffix(SUFFIX)
        sound = KEY_PATTERN.fullmatch(key) and path == self.path_of(key)
        return key if sound else None

    def status(self, key: str) -> os.stat_result | None:
        """Size, inode and times of an entry's file; None if there is none. Raises OSError."""
        try:
            found = os.lstat(self.path_of(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def remove(self, key: str, inode: int | None = None) -> bool:
        """Unlink an entry's file; only that very file, if ``inode`` is given. Raises OSError."""
        path = self.path_of(key)
        try:
            if inode is not None and os.lstat(path).st_ino != inode:
                return False
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def remove_all(self, keys: Iterable[str]) -> tuple[int, dict[str, OSError]]:
        """Unlink entries' files: how many there were, and what could not be unlinked."""
        removed, stuck = 0, dict[str, OSError]()
        for key in keys:
            try:
                removed += self.remove(key)
            except OSError as error:
                stuck[key] = error
        return removed, stuck

    def present(self, namespace: str | None = None) -> Iterator[str]:
        """Of every file that is in an entry's place, in no order. Raises OSError."""
        top = self.entries / namespace if namespace else self.entries
        for path in files(top):
            if (key := self.key_of(path)) is not None:
                yield key

    def set_aside(self, namespace: str) -> Path | None:
        """Take a whole namespace's files away at once; the folder they lie in now, if any.

        Raises OSError, and ConfigurationError for what is no namespace's name.
        """
        if not re.fullmatch(rf"[0-9a-f]{{{NAME_LENGTH}}}", namespace):
            raise ConfigurationError(
                f"{namespace!r} is no namespace: allowed is a name of {NAME_LENGTH} hex digits"
            )
        aside = self.tmp / f"{namespace}.{secrets.token_hex(8)}{DROP}"
        try:
            os.rename(self.entries / namespace, aside)
        except FileNotFoundError:
            return None
        return aside

    def remove_aside(self, aside: Path) -> None:
        """Remove what ``set_aside`` took away; two processes may do it at once."""
        while aside.exists():
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(aside)


def files(top: Path) -> Iterator[str]:
    """Paths of all that is no folder below ``top``, which may be missing. Raises OSError."""
    waiting = [str(top)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                items = list(found)
        except FileNotFoundError:
            continue
        waiting += [item.path for item in items if item.is_dir(follow_symlinks=False)]
        yield from (item.path for item in items if not item.is_dir(follow_symlinks=False))


def contents(path: str) -> tuple[Buffer, os.stat_result]:
    """A file's bytes, and what it was. Raises OSError.

    Memory-mapped if large, copy-on-write: the file never changes, whatever is done to the bytes,
    and they stay when it is unlinked. torch maps, because Python's mmap keeps a descriptor open for
    as long as the map lives, and a process may have a thousand of those.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if found.st_size > _SMALL:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            with contextlib.suppress(RuntimeError):  # replaced meanwhile, or too many maps
                flat = torch.from_file(path, False, found.st_size, dtype=torch.uint8)
                return flat.numpy().data, found
        return _read(file, found.st_size), found
    finally:
        os.close(file)


def _read(file: int, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size and (some := os.preadv(file, [view[done:]], done)):
        done += some
    return data[:done] if done < size else data


def sync(path: str | Path) -> None:
    """Have a folder's names on the disk. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
