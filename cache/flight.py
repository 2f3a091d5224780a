"""Single flight: what several threads of a process want is worked on by one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeAlias

from .entry import Entry

Landing: TypeAlias = "Future[Entry | None]"


class Flights:
    """Who is working on which key."""

    def __init__(self) -> None:
        """Nobody on anything."""
        self._lock = threading.Lock()
        self._futures: dict[str, Landing] = {}

    def claim(self, keys: Iterable[str]) -> Claim:
        """Those of ``keys`` nobody works on are the caller's while it is inside the context.

        For the others there are futures, to be waited for after the caller's own have landed or
        its context has been left, never before: then nobody waits for one who waits.
        """
        return Claim(self, keys)

    def _take(self, keys: Iterable[str]) -> tuple[list[str], dict[str, Landing]]:
        mine: list[str] = []
        theirs: dict[str, Landing] = {}
        with self._lock:
            for key in dict.fromkeys(keys):
                if key in self._futures:
                    theirs[key] = self._futures[key]
                    continue
                self._futures[key] = Future()
                # A running future cannot be cancelled by one of those who wait for it.
                self._futures[key].set_running_or_notify_cancel()
                mine.append(key)
        return mine, theirs

    def _end(self, key: str, entry: Entry | None) -> None:
        with self._lock:
            future = self._futures.pop(key)
        future.set_result(entry)


class Claim:
    """A context manager: the keys of one caller, as of when it was entered."""

    def __init__(self, flights: Flights, keys: Iterable[str]) -> None:
        """Made by ``Flights.claim``."""
        self._flights, self._keys = flights, keys
        self._open: set[str] = set()
        self.mine: list[str] = []
        """To be worked on by the caller, in the order given."""
        self.theirs: dict[str, Landing] = {}
        """Being worked on by others: the entry, or None if they failed."""

    def land(self, key: str, entry: Entry) -> None:
        """Give the entry of one of ``mine`` to all who wait for it.

        Whoever asks from now on works on it anew: put it where it will be found before.
        """
        assert key in self._open, f"{key} is not in flight here: what is mine lands, and once"
        self._open.remove(key)
        self._flights._end(key, entry)

    def __enter__(self) -> Claim:
        """Take what is free."""
        self.mine, self.theirs = self._flights._take(self._keys)
        self._open = set(self.mine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What of ``mine`` has not landed has failed: who waits for it gets None."""
        while self._open:
            self._flights._end(self._open.pop(), None)
