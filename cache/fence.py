"""Deletions against what is on its way: nothing that was deleted comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Matches: TypeAlias = Callable[[str], bool]
"""Whether a key is meant."""


class Fence:
    """Between the threads that write or promote entries and those that delete them.

    A deletion waits until nobody is carrying one of its keys from one tier to another; meanwhile
    nobody starts to.
    """

    def __init__(self) -> None:
        """Open."""
        self._changed = threading.Condition()
        self._passing: list[str] = []
        self._closed: list[Matches] = []

    @contextmanager
    def passing(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Carry ``key`` while inside. False where it is being deleted, unless told to ``wait``."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: not self._is_closed(key))
            allowed = not self._is_closed(key)
            if allowed:
                self._passing.append(key)
        try:
            yield allowed
        finally:
            if allowed:
                with self._changed:
                    self._passing.remove(key)
                    self._changed.notify_all()

    @contextmanager
    def closed(self, matches: Matches) -> Iterator[Matches]:
        """Delete the keys that match while inside, after those who carry them have arrived."""
        with self._changed:
            self._closed.append(matches)
        try:
            with self._changed:
                self._changed.wait_for(lambda: not any(map(matches, self._passing)))
            yield matches
        finally:
            with self._changed:
                self._closed.remove(matches)
                self._changed.notify_all()

    def _is_closed(self, key: str) -> bool:
        return any(matches(key) for matches in self._closed)
