"""How many bytes are held for callers: of requests, and of what they made the server fetch."""

from __future__ import annotations

import threading

__all__ = ["Holding"]


class Holding:
    """Bytes in use, bounded; from any thread."""

    def __init__(self, most: int) -> None:
        """``most``: bytes."""
        self._most, self._now = most, 0
        self._lock = threading.Lock()

    @property
    def now(self) -> int:
        """Bytes in use."""
        return self._now

    def take(self, count: int) -> bool:
        """Count bytes in; False where they are too many, and are not counted."""
        with self._lock:
            if self._now + count > self._most:
                return False
            self._now += count
            return True

    def release(self, count: int) -> None:
        """Count bytes out."""
        with self._lock:
            self._now -= count
