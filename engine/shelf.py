"""First segments through the cache: hits at once, misses read together in packed passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from minireranker.cache import PrefixEntry

from .packing import Packer
from .prefix import read_prefixes
from .prompt import Segment
from .state import EngineState

READ_TOKENS = 1_024
"""Tokens read in one packed pass: enough for full-speed products, few enough to see progress."""

Deliver: TypeAlias = Callable[[PrefixEntry], None]


class Shelf:
    """Collects requests for entries behind one header until a packed pass is worth its while."""

    def __init__(self, state: EngineState, packer: Packer, header: Segment) -> None:
        """``header``: the segment all requested ones stand behind."""
        self._state, self._packer, self.header = state, packer, header
        self._waiting: dict[str, tuple[Segment, list[Deliver]]] = {}
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
        entry = self._state.cache.get(key, PrefixEntry)
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
        """Read everything that is waiting, keep it, deliver it."""
        if not self._waiting:
            return
        waiting, self._waiting, self._tokens = self._waiting, {}, 0
        state = self._state
        with self._packer.meter.stage("prefix"):
            header = state.header(self.header, self._packer)
            segments = [segment for segment, _ in waiting.values()]
            entries = read_prefixes(self._packer, header, segments, state.band, state.backend)
        for (key, (_, deliveries)), entry in zip(waiting.items(), entries, strict=True):
            state.cache.put(key, entry)
            for deliver in deliveries:
                deliver(entry)
