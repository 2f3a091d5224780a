"""Keeps Python from collecting garbage while others wait."""

from __future__ import annotations

import gc
import os
import threading


class NoCollection:
    """No garbage is collected inside; any number of threads may be.

    A full collection takes a tenth of a second where torch is loaded; begun while the lock is held,
    it would have every other process wait.
    """

    def __init__(self) -> None:
        """Nobody is inside."""
        self._lock = threading.Lock()
        self._inside = 0
        self._was_enabled = False

    def forget(self) -> None:
        """In a child: the threads that were inside are not there."""
        self._lock = threading.Lock()
        if self._inside and self._was_enabled:
            gc.enable()
        self._inside = 0

    def __enter__(self) -> None:
        """No collection from here on."""
        with self._lock:
            if not self._inside:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        """As it was before, if nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if not self._inside and self._was_enabled:
                gc.enable()


NO_COLLECTION = NoCollection()
"""Collection belongs to the process, so there is one of these."""

os.register_at_fork(after_in_child=NO_COLLECTION.forget)
