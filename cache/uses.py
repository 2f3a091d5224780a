"""Which entries were used since that was last written down: a hit costs no transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

MOST = 64
SECONDS = 1.0


class Uses:
    """Keys in the order of their last use; safe to share between threads."""

    def __init__(self) -> None:
        """Nothing was used yet."""
        self._lock = threading.Lock()
        self._keys: dict[str, None] = {}
        self._since = 0.0

    def add(self, key: str, most: int = MOST) -> bool:
        """Note one; whether to write them down: ``most`` are noted, or a second has passed."""
        now = time.monotonic()
        with self._lock:
            if not self._keys:
                self._since = now
            self._keys.pop(key, None)
            self._keys[key] = None
            return len(self._keys) >= most or now - self._since >= SECONDS

    def take(self) -> list[str]:
        """All of them; they are no longer noted here."""
        with self._lock:
            taken, self._keys = list(self._keys), {}
            return taken

    def give_back(self, keys: Iterable[str]) -> None:
        """Note again what was taken, as older than what came since."""
        with self._lock:
            self._keys = {**dict.fromkeys(keys), **self._keys}
