"""First segments through the cache: hits at once, misses read together in packed passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from minireranker.cache import Claim, PrefixEntry
from minireranker.cache.placement import ready

from .draft import Segment
from .packing import Packer
from .prefix import PASS_ROWS, read_prefixes
from .state import EngineState

READ_TOKENS = PASS_ROWS
"""Tokens that wait before they are read: a full pass."""

Deliver: TypeAlias = Callable[[PrefixEntry], None]

Waiting: TypeAlias = dict[str, tuple[Segment, list[Deliver]]]
"""Who waits for which segment's entry, by key."""


class Shelf:
    """Collects requests for entries behind one header until a packed pass is worth its while."""

    def __init__(
        self, state: EngineState, packer: Packer, header: Segment, *, durable: bool
    ) -> None:
        """``header``: the segment all requested ones stand behind.

        ``durable``: entries are to outlive the process, as documents' are and queries' are not.
        """
        self._state, self._packer, self.header = state, packer, header
        self._durable = durable
        self._waiting: Waiting = {}
        self._tokens = 0

    def key(self, segment: Segment) -> str:
        """The cache key of a segment's entry behind this header."""
        return self._state.prefix_key(self.header, segment)

    def want(self, segment: Segment, deliver: Deliver) -> None:
        """Ask for a segment's entry: ``deliver`` is called now on a hit, else by ``flush``."""
        key = self.key(segment)
        if key in self._waiting:
            self._waiting[key][1].append(deliver)
            return
        entry = self._state.cache.get(key, PrefixEntry, self._state.model.device)
        if entry is not None:
            self._packer.meter.count(cache_hits=1)
            deliver(entry)
            return
        self._packer.meter.count(cache_misses=1)
        self._waiting[key] = (segment, [deliver])
        self._tokens += len(segment)
        if self._tokens >= min(READ_TOKENS, self._state.batch_tokens):
            self.flush()

    def flush(self) -> None:
        """Read everything that is waiting, keep it, deliver it.

        What another thread is reading at this moment is waited for instead, after what is ours:
        so nobody waits for one who waits.
        """
        waiting, self._waiting, self._tokens = self._waiting, {}, 0
        while waiting:
            with self._state.cache.flights.claim(waiting) as claim:
                mine = {key: waiting.pop(key) for key in claim.mine}
                self._read(self._found_meanwhile(mine, claim), claim)
            for key, future in claim.theirs.items():
                entry = future.result()
                if isinstance(entry, PrefixEntry):
                    _deliver(waiting.pop(key), ready(entry, self._state.model.device))

    def _found_meanwhile(self, mine: Waiting, claim: Claim) -> Waiting:
        """What is still missing: others may have finished between our asking and our claiming."""
        missing: Waiting = {}
        for key, wanted in mine.items():
            entry = self._state.cache.peek(key, PrefixEntry)
            if entry is None:
                missing[key] = wanted
            else:
                claim.land(key, entry)
                _deliver(wanted, ready(entry, self._state.model.device))
        return missing

    def _read(self, missing: Waiting, claim: Claim) -> None:
        if not missing:
            return
        state = self._state
        with self._packer.meter.stage("prefix"):
            header = state.header(self.header, self._packer)
            segments = [segment for segment, _ in missing.values()]
            entries = read_prefixes(
                self._packer, header, segments, state.band, state.backend, state.cache.codec
            )
        if self._durable:
            # Only now: who merely looks for entries leaves no trace of his namespace.
            state.cache.register(state.namespace)
        for (key, wanted), entry in zip(missing.items(), entries, strict=True):
            state.cache.put(key, entry, durable=self._durable)
            claim.land(key, entry)
            _deliver(wanted, entry)


def _deliver(wanted: tuple[Segment, list[Deliver]], entry: PrefixEntry) -> None:
    for deliver in wanted[1]:
        deliver(entry)
