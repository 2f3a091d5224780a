"""Pairs as whole sequences, query first: the published reranker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .clock import Clock
from .model import Model
from .sequence import Side, Tokens
from .template import ANSWER, PUBLISHED

BATCH_TOKENS = 8_192
"""Of the sequences computed together, padding included."""


class WholePairs:
    """Every pair from its first token to its last."""

    def __init__(self, model: Model, clock: Clock, *, together: bool) -> None:
        """``together``: several pairs at once, filled up at their ends.

        Causal attention needs no mask for that; the published code fills up in front, which is
        slower and gives the same.
        """
        self.model, self.clock = model, clock
        self.most = BATCH_TOKENS if together else 0
        self.counts: dict[str, int] = {}

    def scores(
        self, query: dict[str, Any], documents: Sequence[dict[str, Any]], instruction: str | None
    ) -> list[float]:
        """One a document, in their order."""
        found: list[float] = []
        opening = PUBLISHED.opening(instruction)
        with self.clock.timing("reading"):
            asked = self.model.read(query, is_query=True)
        for batch in self._batches(opening, asked, documents):
            with self.clock.timing("pairs"):
                found += self.model.scores(batch)
        return found

    def _batches(
        self, opening: str, asked: Side, documents: Sequence[dict[str, Any]]
    ) -> Iterator[list[Tokens]]:
        """In the documents' order, and read no earlier than needed: pixels take much memory."""
        batch: list[Tokens] = []
        for document in documents:
            with self.clock.timing("reading"):
                side = self.model.read(document, is_query=False)
                # As published: a picture that asks is seen anew in every pair.
                row = self._tokens(opening, asked.unseen(), side)
            longest = max(map(len, [*batch, row]))
            if batch and longest * (len(batch) + 1) > self.most:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _tokens(self, opening: str, asked: Side, side: Side) -> Tokens:
        text = f"{opening}{asked.written(PUBLISHED)}\n{side.written(PUBLISHED)}{ANSWER}"
        return self.model.tokens(text, asked, side)
