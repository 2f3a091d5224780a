"""The files of an index's folder.

index.json           what the index consists of now
<number>.segment     documents; never changed
<number>.graph       the graph of neighbours, with ann = "hnsw"; never changed
lock                 locked by whoever writes; says who that is
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from minireranker.cache.locks import FileLock
from minireranker.errors import ConfigurationError, VectorIndexError

from . import manifest

LOCK = "lock"
SEGMENT, GRAPH = ".segment", ".graph"
OURS = re.compile(rf"\d{{8,}}({re.escape(SEGMENT)}|{re.escape(GRAPH)})|{re.escape(manifest.PART)}")

AGAIN_AFTER = 0.02
"""Seconds between two looks at a lock that another holds."""


class Folder:
    """Where an index lies."""

    def __init__(self, path: Path) -> None:
        """Raises nothing."""
        self.path = path

    def make(self) -> None:
        """Make it. Raises VectorIndexError, ConfigurationError for one that holds something."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = sorted(os.listdir(self.path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VectorIndexError(
                f"{str(self.path)!r} cannot be made a folder ({reason}): choose another place"
            ) from error
        if manifest.NAME in names:
            raise ConfigurationError(
                f"{self.path} holds an index already: use VectorIndex.open, or another folder"
            )
        strange = [name for name in names if name not in (LOCK, "lost+found", manifest.PART)]
        if strange:
            raise ConfigurationError(
                f"{self.path} holds other things than an index ({strange[0]}): choose an empty "
                "folder"
            )

    def sweep(self, now: manifest.Manifest) -> None:
        """Remove what killed writers left and what ``now`` no longer names. Raises OSError.

        Only for who has the lock. Readers that have a removed file open keep it.
        """
        for name in set(os.listdir(self.path)) - now.names:
            if OURS.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path / name)

    @contextlib.contextmanager
    def locked(self, task: str, seconds: float) -> Iterator[None]:
        """Be the only writer, for ``task``; whoever else writes is waited for that long.

        Raises VectorIndexError where that is not enough, or the folder cannot be written.
        """
        lock = FileLock(self.path / LOCK)
        try:
            self._acquire(lock, seconds)
            self._sign(f"process {os.getpid()} on {socket.gethostname()}: {task}")
            try:
                yield
            finally:
                self._sign("")
                lock.release()
        finally:
            lock.forget()

    def _acquire(self, lock: FileLock, seconds: float) -> None:
        end = time.monotonic() + seconds
        try:
            while not lock.acquire(wait=False):
                if time.monotonic() >= end:
                    raise VectorIndexError(
                        f"{self.path} is being written for more than {seconds:g} s by "
                        f"{self._holder()}: try again later, or end that process"
                    )
                time.sleep(AGAIN_AFTER)
        except OSError as error:
            raise VectorIndexError(
                f"{self.path} cannot be written ({error.strerror}): copy it to where it can"
            ) from error

    def _sign(self, text: str) -> None:
        with contextlib.suppress(OSError):  # only for the message of who waits
            (self.path / LOCK).write_text(text)

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return (self.path / LOCK).read_text(errors="replace") or "another"
        return "another"
