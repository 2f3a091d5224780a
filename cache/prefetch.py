"""Entries of a whole candidate list, loaded by a few threads ahead of their turn."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch

from .entry import Entry
from .placement import onto

_LOG = logging.getLogger(__name__)
_E = TypeVar("_E", bound=Entry)

THREADS = 4

AHEAD_ENTRIES = 128
AHEAD_BYTES = 512 * 2**20
"""Held ahead of what was taken; what ``THREADS`` loads under way bring may come on top."""


@dataclass(frozen=True)
class Lookup(Generic[_E]):
    """The ways a cache looks for an entry."""

    peek: Callable[[str], _E | None]
    """In memory, at once, uncounted."""
    load: Callable[[str], _E | None]
    """In the tiers below, counted there."""
    get: Callable[[str], _E | None]
    """Everywhere, counted."""
    count: Callable[[bool], None]
    """Count what ``peek`` found, or did not, once it is taken."""


@dataclass(eq=False)
class _Slot(Generic[_E]):
    future: Future[_E | None]
    at_hand: bool
    takes: int = 1
    """Announced and outstanding; none: nobody wants it any more."""
    nbytes: int = 0
    """Held, as soon as it is there."""


class Prefetch(Generic[_E]):
    """Entries on their way, in the order of ``keys``; a context manager.

    Take them in about that order. A key in the list twice may be taken twice.
    """

    def __init__(
        self,
        keys: Iterable[str],
        lookup: Lookup[_E],
        pool: Executor,
        device: torch.device | None = None,
    ) -> None:
        """``pool``: at most ``THREADS`` loads of this list are submitted to it at a time."""
        self._lookup, self._pool, self._device = lookup, pool, device
        self._order = deque(keys)
        self._slots: dict[str, _Slot[_E]] = {}
        self._bytes = self._entries = self._loading = 0
        self._lock = threading.Lock()
        self._advance()

    @property
    def bytes(self) -> int:
        """Bytes of the entries that are there and not taken yet."""
        return self._bytes

    def take(self, key: str) -> _E | None:
        """The entry, waited for if it is being loaded; None: a miss. Counted as ``get`` counts.

        A key that was not announced, or whose turn has not come, is looked up at once. The entry's
        numbers may still be under way to the device: make it ``ready`` before they are read.
        """
        slot = self._pop(key)
        self._advance()
        if slot is None:
            return self._lookup.get(key)
        try:
            entry = slot.future.result()
        except CancelledError:
            return self._lookup.get(key)
        except Exception:
            _LOG.exception("could not load entry %s; it is a miss", key)
            entry = None
        self._lookup.count(slot.at_hand)
        return None if entry is None else onto(entry, self._device)

    def close(self) -> None:
        """Load no more, hold nothing; ``take`` still works, as ``get`` does."""
        with self._lock:
            self._order.clear()
            dropped = self._let_go()
        _cancel(dropped)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _pop(self, key: str) -> _Slot[_E] | None:
        dropped: list[_Slot[_E]] = []
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None:
                self._entries -= 1
                slot.takes -= 1
                if not slot.takes:
                    del self._slots[key]
                    self._bytes -= slot.nbytes
            elif key in self._order:
                # The taker has overtaken us: what came before is not what he is waiting for.
                while self._order.popleft() != key:
                    pass
                dropped = self._let_go()
        _cancel(dropped)
        return slot

    def _let_go(self) -> list[_Slot[_E]]:
        dropped = list(self._slots.values())
        for slot in dropped:
            slot.takes = 0
        self._slots.clear()
        self._bytes = self._entries = 0
        return dropped

    def _advance(self) -> None:
        """Start loading what there is room for."""
        with self._lock:
            while self._order and self._has_room():
                key = self._order.popleft()
                self._entries += 1
                if key in self._slots:
                    self._slots[key].takes += 1
                elif not self._start(key):
                    self._order.clear()
                    self._entries -= 1

    def _has_room(self) -> bool:
        return (
            self._loading < THREADS and self._entries < AHEAD_ENTRIES and self._bytes < AHEAD_BYTES
        )

    def _start(self, key: str) -> bool:
        entry = self._lookup.peek(key)
        slot: _Slot[_E] = _Slot(Future(), entry is not None)
        if entry is not None:
            slot.future.set_result(entry)
            self._hold(slot, entry)
        else:
            try:
                self._pool.submit(self._load, key, slot)
            except RuntimeError:  # closed, or the interpreter is exiting
                return False
            self._loading += 1
        self._slots[key] = slot
        return True

    def _load(self, key: str, slot: _Slot[_E]) -> None:
        if slot.future.set_running_or_notify_cancel():
            try:
                entry = self._lookup.load(key)
            except BaseException as error:
                slot.future.set_exception(error)
            else:
                with self._lock:
                    self._hold(slot, entry)
                slot.future.set_result(entry)
        with self._lock:
            self._loading -= 1
        self._advance()

    def _hold(self, slot: _Slot[_E], entry: _E | None) -> None:
        if entry is not None and slot.takes:
            slot.nbytes = entry.nbytes
            self._bytes += slot.nbytes


def _cancel(slots: Iterable[_Slot[_E]]) -> None:
    for slot in slots:
        slot.future.cancel()
