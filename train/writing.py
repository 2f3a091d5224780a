"""Queries and documents to segments, each distinct one once."""

from __future__ import annotations

from minireranker.engine.content import Content
from minireranker.engine.draft import Segment
from minireranker.engine.guide import Guide
from minireranker.engine.prompt import Prompt, Side
from minireranker.engine.reading import read_content

from .batch import WrittenPair


class PairWriter:
    """Writes pairs in a profile's template; one object for every equal segment, while it lives."""

    def __init__(self, prompt: Prompt, guide: Guide) -> None:
        """``guide`` decides which visual tokens are kept."""
        self._prompt, self._guide = prompt, guide
        self._sides: dict[int, tuple[Content, Side]] = {}
        self._segments: dict[tuple[int, str, bool, bool], Segment] = {}

    def write(self, query: Content, document: Content, instruction: str | None) -> WrittenPair:
        """The segments of one pair. A side given again has to be the same object.

        Raises MediaError, ImportanceError, InputError and TooLongError as ranking would.
        """
        asked = instruction or self._prompt.template.instruction
        query_first = self._prompt.template.order == "query-first" or (
            query.is_visual and not document.is_visual
        )
        front, back = (query, document) if query_first else (document, query)
        header = self._prompt.header(asked, query_first)
        first = self._segment(front, asked, is_query=query_first, first=True)
        second = self._segment(back, asked, is_query=not query_first, first=False)
        self._prompt.check_pair(len(header), len(first), len(second))
        return WrittenPair(header, first, second)

    def _segment(self, content: Content, asked: str, *, is_query: bool, first: bool) -> Segment:
        key = id(content), asked, is_query, first
        if key not in self._segments:
            side = self._side(content)
            self._segments[key] = (
                self._prompt.first(side, asked, is_query=is_query)
                if first
                else self._prompt.second(side, is_query=is_query)
            )
        return self._segments[key]

    def _side(self, content: Content) -> Side:
        if id(content) not in self._sides:
            # The content is kept beside its side: an id of one that is gone may come again.
            reading = read_content(content, self._prompt.limits)
            self._sides[id(content)] = content, self._guide.side(content, reading)
        return self._sides[id(content)][1]
