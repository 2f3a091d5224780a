"""Entries on their way to slower tiers: written by one thread behind the caller's back."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from .entry import Entry
from .fence import Fence, Matches
from .memory import is_past

_LOG = logging.getLogger(__name__)
_E = TypeVar("_E", bound=Entry)

PENDING_BYTES = 256 * 2**20
"""Bytes of entries that may wait; beyond, whoever puts one waits himself."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    entry: Entry
    created: float
    nbytes: int
    ticket: int
    """Counted up: a smaller one came before."""


class WriteBehind:
    """A queue in order of arrival, at most so many bytes long, and the thread that empties it."""

    def __init__(
        self,
        write: Callable[[str, Entry, float], None],
        fence: Fence,
        max_bytes: int,
    ) -> None:
        """``write`` takes key, entry and time of creation. ``fence``: what deletions go through."""
        self._write, self._fence, self._max_bytes = write, fence, max_bytes
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._bytes = self._tickets = 0
        # Not a daemon: an executor's queue is emptied before the interpreter exits.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="minireranker-write")

    @property
    def bytes(self) -> int:
        """Bytes of what waits now."""
        return self._bytes

    def peek(self, key: str, kind: type[_E], ttl: float | None) -> _E | None:
        """The entry that waits under ``key``, until it has been written; not one past ``ttl``."""
        waiting = self._waiting.get(key)
        if waiting is None or is_past(waiting.created, ttl):
            return None
        return waiting.entry if isinstance(waiting.entry, kind) else None

    def __contains__(self, key: str) -> bool:
        """Whether it waits."""
        return key in self._waiting

    def put(self, key: str, entry: Entry, created: float) -> None:
        """Queue an entry; waits while there is no room, though one alone may be of any size.

        A key that waits already stays as it is: same key, same content.
        """
        size = entry.nbytes
        with self._changed:
            self._changed.wait_for(
                lambda: key in self._waiting or self._bytes + size <= max(self._max_bytes, size)
            )
            if key in self._waiting:
                return
            self._tickets += 1
            self._waiting[key] = _Waiting(entry, created, size, self._tickets)
            self._bytes += size
        try:
            self._pool.submit(self._write_first)
        except RuntimeError:  # closed, or the interpreter is exiting: no thread will do it
            self._write_first()

    def forget(self, matches: Matches) -> set[str]:
        """Take what matches out of the queue; its keys. To be called with the fence closed."""
        with self._changed:
            found = {key for key in self._waiting if matches(key)}
            for key in found:
                self._remove(key)
        return found

    def flush(self) -> None:
        """Wait until everything put so far is written."""
        with self._changed:
            last = self._tickets
            self._changed.wait_for(lambda: self._first_ticket() > last)

    def close(self) -> None:
        """Write everything, end the thread."""
        self.flush()
        self._pool.shutdown(wait=True)

    def _write_first(self) -> None:
        with self._changed:
            if not self._waiting:
                return
            key, first = next(iter(self._waiting.items()))
        try:
            with self._fence.passing(key, wait=True):
                if self._waiting.get(key) is first:
                    self._write(key, first.entry, first.created)
        except Exception:
            # Whatever it was: the entry is lost to the slower tiers, those behind it are not.
            _LOG.exception("could not write entry %s; it stays in memory only", key)
        finally:
            with self._changed:
                if self._waiting.get(key) is first:
                    self._remove(key)

    def _remove(self, key: str) -> None:
        self._bytes -= self._waiting.pop(key).nbytes
        self._changed.notify_all()

    def _first_ticket(self) -> float:
        return next(iter(self._waiting.values())).ticket if self._waiting else float("inf")
