"""Whether a text is read whole: some callers would rather have an error than a cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from minireranker.engine.prompt import Side

if TYPE_CHECKING:
    from minireranker.engine import Reranker

__all__ = ["Lengths", "Rooms"]


class Rooms(NamedTuple):
    """Tokens that a text may have."""

    query: int
    document: int

    def surely_fit(self, query: str, texts: Sequence[str]) -> bool:
        """Whether all fit by their bytes alone: a token has at least one."""
        longest = max(map(_bytes, texts), default=0)
        return _bytes(query) < self.query and longest < self.document


class Lengths:
    """Room for the texts of a pair, under the profile's own instruction: ``rooms``."""

    def __init__(self, reranker: Reranker) -> None:
        """Measures what the template puts around a text."""
        profile, prompt = reranker.profile, reranker.state.prompt
        limits, instruction = profile.limits, profile.template.instruction
        self._tokenizer = prompt.tokenizer
        query_first = profile.template.order == "query-first"
        letter = Side(("x",))
        first = prompt.first(letter, instruction, is_query=query_first)
        second = prompt.second(letter, is_query=not query_first)
        ahead = limits.max_tokens - limits.max_suffix_tokens
        ahead -= len(prompt.header(instruction, query_first)) + len(first) - 1
        behind = limits.max_suffix_tokens - len(second) + 1
        self.rooms = Rooms(ahead, behind) if query_first else Rooms(behind, ahead)

    def overlong(self, query: str, texts: Sequence[str]) -> str | None:
        """Which one does not fit, in words. Raises InputError for text that is not Unicode."""
        rooms = [("the query", query, self.rooms.query)]
        rooms += [(f"text {index}", text, self.rooms.document) for index, text in enumerate(texts)]
        for name, text, room in rooms:
            if _bytes(text) >= room:
                tokens = len(self._tokenizer.encode(text))
                if tokens > room:
                    return f"{name} has {tokens} tokens, {room} fit"
        return None


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
