"""A file that nobody sees before it is whole: written aside, on the disk, then renamed.

While it is written it is locked, and the lock goes with its writer, however that one dies: a file
whose lock is free has no writer any more. All who look take the lock before they judge, and the
writer looks, once it has the lock, whether the file is still there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from .folder import PART

ATTEMPTS = 5


WAIT_SECONDS = 10.0
"""How long another's work on an entry is waited for: it takes milliseconds, if nobody stops it."""


class Draft:
    """One temporary file, open and locked; a context manager that leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        """Make it in ``folder``. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._published = ""
        while True:
            self.name = f"{secrets.token_hex(8)}{PART}"
            self.path = folder / self.name
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
            )
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if os.fstat(self._file).st_nlink:
                break
            os.close(self._file)  # taken for a dead writer's before it was locked
        _OPEN.add(self)

    def write(self, data: bytes, modified: float) -> None:
        """Write everything and wait until it is on the disk. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        with contextlib.suppress(OverflowError, OSError):
            os.utime(self._file, (modified, modified))
        os.fsync(self._file)

    def publish(self, target: str) -> list[str]:
        """Give it its name; the folders whose names have to be synced. Raises OSError."""
        shard = os.path.dirname(target)
        changed = [shard]
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                os.rename(self.path, target)
                break
            except FileNotFoundError:  # or somebody removes empty folders at this moment
                if not attempts_left:
                    raise
                os.makedirs(shard, exist_ok=True)
                namespace = os.path.dirname(shard)
                changed = [shard, namespace, os.path.dirname(namespace)]
        self._published = target
        return changed

    def discard(self) -> None:
        """Remove it, under whatever name; nothing if others have done so. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._published or self.path)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it if it was not published; unlock: a child made meanwhile may have it open."""
        if not self._published:
            with contextlib.suppress(OSError):
                self.discard()
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close it: what a forked child does with its parent's, which stay locked."""
        _OPEN.discard(self)
        os.close(self._file)


def is_alive(path: Path) -> bool:
    """Whether somebody writes that temporary file now. Raises OSError."""
    with _opened(path) as file:
        return file is not None and not _lock(file, fcntl.LOCK_SH)


def reap(path: Path) -> bool:
    """Remove a temporary file whose writer is dead; whether it was. Raises OSError."""
    with _opened(path) as file:
        if file is None or not _lock(file, fcntl.LOCK_EX):
            return False
        if not os.fstat(file).st_size:  # its writer may be about to lock it: let him
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.005)
            if not _lock(file, fcntl.LOCK_EX) or not os.fstat(file).st_nlink:
                return False
        os.unlink(path)
        return True


def wait_for(path: Path) -> None:
    """Return when nobody writes that temporary file any more.

    Raises OSError (TimeoutError, if that is not within WAIT_SECONDS).
    """
    end = time.monotonic() + WAIT_SECONDS
    while is_alive(path):
        if time.monotonic() > end:
            raise TimeoutError(f"{path.name} is being written for {WAIT_SECONDS:.0f} s by another")
        time.sleep(0.001)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_OPEN: weakref.WeakSet[Draft] = weakref.WeakSet()


def _after_fork() -> None:
    for draft in list(_OPEN):
        draft.forget()


os.register_at_fork(after_in_child=_after_fork)
