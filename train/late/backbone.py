"""An embedding model to train on, and inputs written in its template."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from minireranker.engine.ahead import ahead
from minireranker.engine.draft import Segment
from minireranker.engine.embedder import Embedder
from minireranker.engine.embedding_model import EmbeddingModel
from minireranker.engine.reading import Reading, read_content
from minireranker.errors import MinirerankerError
from minireranker.train.examples import Examples

from .lessons import Input

_LOG = logging.getLogger(__name__)
_Sized = TypeVar("_Sized")


@dataclass(eq=False)
class Writing:
    """An input on its way to a prompt."""

    item: Input
    reading: Reading | None = None
    segment: Segment | None = None
    error: MinirerankerError | None = None


@dataclass(frozen=True, eq=False)
class Backbone:
    """Writes the contents of some examples as the model reads them."""

    model: EmbeddingModel
    examples: Examples
    _warned: set[int] = field(default_factory=set)

    @property
    def embedder(self) -> Embedder:
        """The same weights as users have them."""
        return Embedder(self.model, 1)

    def written(self, items: Iterable[Input]) -> Iterator[Writing]:
        """Each with its prompt, or the error; files are decoded ahead in other threads."""
        for writing in ahead(map(Writing, items), self._read):
            reading, writing.reading = writing.reading, None
            if reading is not None:
                try:
                    writing.segment = self._segment(writing.item, reading)
                except MinirerankerError as error:
                    writing.error = error
            yield writing

    def segments(self, items: Iterable[Input]) -> dict[Input, Segment]:
        """Prompts of what can be read; what cannot is named in the log, once."""
        found: dict[Input, Segment] = {}
        for writing in self.written(items):
            if writing.segment is not None:
                found[writing.item] = writing.segment
            elif writing.item.content not in self._warned:
                self._warned.add(writing.item.content)
                origin = self.examples.origins[writing.item.content]
                _LOG.warning("%s: %s; it is left out", origin, writing.error)
        return found

    def _read(self, writing: Writing) -> None:
        content = self.examples.contents[writing.item.content]
        try:
            writing.reading = read_content(content, self.model.limits)
        except MinirerankerError as error:
            writing.error = error

    def _segment(self, item: Input, reading: Reading) -> Segment:
        asked = item.instruction or self.model.instruction
        return self.model.prompt.segment(reading.texts, reading.visuals, asked)


def passes(items: Iterable[tuple[_Sized, int]], tokens: int) -> Iterator[list[_Sized]]:
    """Items, each with its tokens, as many together as stay within ``tokens``; at least one."""
    group: list[_Sized] = []
    total = 0
    for item, size in items:
        if group and total + size > tokens:
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
