"""What goes wrong with the machine: counted always, said at most once a minute a cause."""

from __future__ import annotations

import logging
import threading
import time

AGAIN_AFTER = 60.0
"""Seconds before the same cause is said again."""


class Faults:
    """The faults of one tier; safe to share between threads."""

    def __init__(self, logger: logging.Logger) -> None:
        """``logger``: where they are said, as warnings."""
        self._logger = logger
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many there were."""
        return self._count

    def report(self, cause: str, message: str, *args: object) -> None:
        """Count one, and say it unless ``cause`` was said within the minute."""
        with self._lock:
            self._count += 1
        self.say(cause, message, *args)

    def say(self, cause: str, message: str, *args: object) -> None:
        """Say it, uncounted, unless ``cause`` was said within the minute."""
        now = time.monotonic()
        with self._lock:
            last = self._said.get(cause)
            if last is not None and now - last < AGAIN_AFTER:
                return
            self._said[cause] = now
        self._logger.warning(message, *args)
