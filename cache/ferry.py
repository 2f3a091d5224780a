"""Entries on their way to a device, beside what is computed there.

    send      host memory -> staged -> queued on a lane of its own; nobody waits for the copy
    receive   the taker's stream waits, on the device, for what it is about to read

The order is the sender's, what is staged at a time is bounded, and no thread waits for the device
but a sender who is that far ahead of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from .entry import Entry

_E = TypeVar("_E", bound=Entry)

STAGED_BYTES = 256 * 2**20
"""Of copies under way; what each sending thread is staging comes on top."""


class Mark(Protocol):
    """A place in a lane's queue; ``torch.cuda.Event`` is one."""

    def query(self) -> bool:
        """Whether everything before it is done."""

    def synchronize(self) -> None:
        """Keep the calling thread until it is."""


class Lane(Protocol):
    """A queue of copies to one device, and the streams that compute there."""

    def stage(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same on the host where the device can fetch them; any thread at any time."""

    def copy(self, staged: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Mark]:
        """Queue their copies: tensors that are complete once the mark is passed."""

    def stream(self) -> Hashable:
        """The stream on which the calling thread computes."""

    def wait(self, mark: Mark) -> None:
        """Keep that stream, not the thread, until ``mark`` of this lane is passed."""

    def hold(self, tensor: Tensor) -> None:
        """Give ``tensor``'s memory to nobody before this thread's stream is past its last use."""


@dataclass(eq=False)
class _Arrival:
    mark: Mark | None
    """None once it is known to have passed."""
    held: set[Hashable] = field(default_factory=set)
    """Streams that have waited for it, and hold its memory."""


class Ferry:
    """One lane; safe to share between threads."""

    def __init__(self, lane: Lane, staged_bytes: int = STAGED_BYTES) -> None:
        """``staged_bytes``: bound on copies under way; one entry alone may be of any size."""
        self._lane, self._most = lane, staged_bytes
        self._under_way: deque[tuple[Mark, int]] = deque()
        self._arrivals: WeakKeyDictionary[Entry, _Arrival] = WeakKeyDictionary()
        self._bytes = 0
        self._lock, self._queue = threading.Lock(), threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes of copies not known to be done."""
        return self._bytes

    def __len__(self) -> int:
        """Entries it has had to do with that are still alive."""
        return len(self._arrivals)

    def send(self, entry: _E) -> _E:
        """``entry`` with its numbers on the device, to be received before they are read."""
        staged = self._lane.stage(entry.numbers())
        size = sum(tensor.nbytes for tensor in staged.values())
        with self._queue:
            self._make_room(size)
            moved, mark = self._lane.copy(staged)
            self._under_way.append((mark, size))
            self._bytes += size
        # What stays is cloned: a view into a mapped file would keep all of it mapped.
        rest = {name: t.clone() for name, t in entry.tensors().items() if name not in moved}
        sent = entry.restore({**rest, **moved}, entry.fields())
        with self._lock:
            self._arrivals[sent] = _Arrival(mark)
        return sent

    def has(self, entry: Entry) -> bool:
        """Whether this thread's stream has received ``entry`` before."""
        with self._lock:
            arrival = self._arrivals.get(entry)
            return arrival is not None and self._lane.stream() in arrival.held

    def receive(self, entry: _E) -> _E:
        """``entry``, for this thread's stream to read: cheap from the second time on."""
        stream = self._lane.stream()
        with self._lock:
            arrival = self._arrivals.setdefault(entry, _Arrival(None))
            if stream in arrival.held:
                return entry
            if arrival.mark is not None and arrival.mark.query():
                arrival.mark = None
            if arrival.mark is not None:
                self._lane.wait(arrival.mark)
            arrival.held.add(stream)
            for tensor in entry.numbers().values():
                self._lane.hold(tensor)
        return entry

    def _make_room(self, size: int) -> None:
        """Forget the copies that are done; wait for the oldest while there are too many bytes."""
        while self._under_way:
            mark, oldest = self._under_way[0]
            if not mark.query():
                if self._bytes + size <= self._most:
                    return
                mark.synchronize()
            self._under_way.popleft()
            self._bytes -= oldest
