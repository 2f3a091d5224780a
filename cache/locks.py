"""One exclusive lock between processes, on a file that is never removed.

``flock`` belongs to the open file description, which threads of a process share and a forked child
inherits: the threads need a lock of their own above this one, and a child has to ``forget`` it.
The kernel frees it when its holder dies, however it dies, and whoever waits is woken: no polling.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """Held by one open file description at a time."""

    def __init__(self, path: Path) -> None:
        """``path``: made, with its folder, when it is missing."""
        self._path = path
        self._file: int | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Take it; False if it is held elsewhere and ``wait`` is False. Raises OSError."""
        while True:
            if self._file is None:
                self._file = self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            if os.fstat(self._file).st_nlink:
                return True
            self.forget()  # the file was removed: those who come later lock another

    def release(self) -> None:
        """Let the next one have it."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def forget(self) -> None:
        """Close the file: what a forked child does with its parent's lock, which stays taken."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o666)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, flags, 0o666)
