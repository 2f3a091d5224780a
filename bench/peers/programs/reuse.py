"""Pairs with the reusable side first, whose keys and values stay from one query to the next.

The strong baseline: what can be had with ``transformers`` alone, the model unmodified.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from .clock import Clock
from .content import content_key, query_goes_first
from .kept import Kept, PrefixStore
from .model import Model
from .sequence import Tokens
from .template import ANSWER, REUSABLE_FIRST
from .whole import BATCH_TOKENS

REUSED_TOKENS = 32_768
"""Of the pairs computed together, what was kept included: that is copied a layer at a time."""


@dataclass(eq=False)
class _First:
    """A first segment, of one pair or of several."""

    key: Hashable
    found: Kept | Tokens
    """Tokens until they were computed."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """A pair on its way."""

    at: int
    first: _First
    second: Tokens

    def __len__(self) -> int:
        """Tokens."""
        return len(self.first.found) + len(self.second)


class ReusedPrefixes:
    """First segments from the store, second segments computed behind them."""

    def __init__(self, model: Model, clock: Clock, store: PrefixStore, *, together: bool) -> None:
        """``together``: several pairs at once; first segments too, where they are new."""
        self.model, self.clock, self.store = model, clock, store
        self.together = together
        self.counts = {"prefixes_computed": 0, "prefixes_reused": 0}

    def scores(
        self, query: dict[str, Any], documents: Sequence[dict[str, Any]], instruction: str | None
    ) -> list[float]:
        """One a document, in their order."""
        found = [0.0] * len(documents)
        self.opening = REUSABLE_FIRST.opening(instruction)
        self.asked: Tokens | None = None
        self.last: _First | None = None
        batch: list[_Pair] = []
        for at, document in enumerate(documents):
            pair = self._pair(at, query, document)
            longest = max(map(len, [*batch, pair]))
            most = REUSED_TOKENS if self.together else 0
            if batch and longest * (len(batch) + 1) > most:
                self._score(batch, found)
                batch = []
            batch.append(pair)
        if batch:
            self._score(batch, found)
        return found

    def _pair(self, at: int, query: dict[str, Any], document: dict[str, Any]) -> _Pair:
        query_first = query_goes_first(query, document)
        front, back = (query, document) if query_first else (document, query)
        # The ways of working share nothing, or the second to be timed would find all done.
        key = (self.together, self.opening, query_first, content_key(front))
        with self.clock.timing("reading"):
            if self.last is None or self.last.key != key:
                self.last = _First(key, self._first(key, front, is_query=query_first))
            if query_first:
                return _Pair(at, self.last, self._second(back, is_query=False))
            self.asked = self.asked or self._second(back, is_query=True)
        return _Pair(at, self.last, self.asked)

    def _first(self, key: Hashable, content: dict[str, Any], *, is_query: bool) -> Kept | Tokens:
        if (kept := self.store.get(key)) is not None:
            self.counts["prefixes_reused"] += 1
            return kept
        side = self.model.read(content, is_query=is_query)
        return self.model.tokens(f"{self.opening}{side.written(REUSABLE_FIRST)}\n", side)

    def _second(self, content: dict[str, Any], *, is_query: bool) -> Tokens:
        side = self.model.read(content, is_query=is_query)
        return self.model.tokens(f"{side.written(REUSABLE_FIRST)}{ANSWER}", side)

    def _score(self, batch: Sequence[_Pair], found: list[float]) -> None:
        with self.clock.timing("prefix"):
            after = self._complete([pair.first for pair in batch])
        with self.clock.timing("pairs"):
            scores = self.model.scores([pair.second for pair in batch], after)
        for pair, score in zip(batch, scores, strict=True):
            found[pair.at] = score

    def _complete(self, firsts: Sequence[_First]) -> list[Kept]:
        """What is kept of each first segment; new ones are computed, and stored."""
        known = {first.key: first.found for first in firsts}
        new = {key: tokens for key, tokens in known.items() if isinstance(tokens, Tokens)}
        self.counts["prefixes_computed"] += len(new)
        for keys in _groups(new):
            for key, kept in zip(keys, self.model.prefixes([new[k] for k in keys]), strict=True):
                known[key] = kept
                self.store.put(key, kept)
        for first in firsts:
            first.found = known[first.key]
        return [first.found for first in firsts if isinstance(first.found, Kept)]


def _groups(new: dict[Hashable, Tokens]) -> list[list[Hashable]]:
    """Keys of first segments computed together: of like length, so that little is padded."""
    groups: list[list[Hashable]] = []
    for key in sorted(new, key=lambda key: len(new[key])):
        if groups and len(new[key]) * (len(groups[-1]) + 1) <= BATCH_TOKENS:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
