"""From the two sides of a pair to header | first segment | second segment, as token ids.

Method, section 1. A segment's tokens and positions depend on its own side, the template and the
instruction, never on the other side: that is what makes it reusable.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

from minireranker.configs import Limits, Template
from minireranker.errors import TooLongError

from .draft import Draft, Ints, Segment
from .pixels import Visual
from .tokenizer import TextTokenizer

MIN_ROOM = 8
"""Tokens an instruction must leave for a first segment."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """One side's content, read: pixels on their grid, and which visual tokens are kept."""

    texts: tuple[str, ...]
    visuals: tuple[Visual, ...] = ()
    kept: tuple[Ints, ...] = ()
    guided: tuple[bool, ...] = ()
    """Which visuals' tokens an embedder chose; none of them where it is empty."""


class Prompt:
    """Writes segments in one checkpoint's template."""

    def __init__(self, tokenizer: TextTokenizer, template: Template, limits: Limits) -> None:
        """Everything a segment depends on besides its content."""
        self.tokenizer, self.template, self.limits = tokenizer, template, limits
        self.header = lru_cache(maxsize=256)(self._header)

    def label(self, *, is_query: bool) -> str:
        """What opens a side."""
        return self.template.query_label if is_query else self.template.document_label

    def _header(self, instruction: str, first_is_query: bool) -> Segment:
        """The segment every pair of one task starts with; ends where the first label begins.

        It is tokenised together with that label: a template may put the label right behind a full
        stop, and the two then share a token.
        """
        draft = Draft(self.tokenizer)
        draft.add_control("<|im_start|>")
        draft.add_text(f"system\n{self.template.system}")
        draft.add_control("<|im_end|>")
        draft.add_text("\n")
        draft.add_control("<|im_start|>")
        label = self.label(is_query=first_is_query)
        draft.add_ids(self.tokenizer.encode_after(self._opening(instruction), label)[0])
        header = draft.finish((), ())
        room = self.limits.max_tokens - self.limits.max_suffix_tokens - len(header)
        if room < MIN_ROOM:
            raise TooLongError(
                f"the instruction makes a header of {len(header)} tokens, which leaves {room} of "
                f"limits.max_tokens = {self.limits.max_tokens} for a document (limits."
                f"max_suffix_tokens = {self.limits.max_suffix_tokens} are the query's); shorten it"
            )
        return header

    def first(self, side: Side, instruction: str, *, is_query: bool) -> Segment:
        """The segment that is reused. Its text is cut to leave room for the second segment.

        Raises TooLongError if its visual tokens alone leave no room.
        """
        room = self.limits.max_tokens - self.limits.max_suffix_tokens
        room -= len(self.header(instruction, is_query))
        left = self._opening(instruction)
        end = self.template.first_end
        return self._segment(side, is_query, left, end, room, hard=True)

    def second(self, side: Side, *, is_query: bool) -> Segment:
        """The other side and the answer cue.

        All but its visual tokens is cut to ``limits.max_suffix_tokens``.
        """
        room = self.limits.max_suffix_tokens + sum(map(len, side.kept))
        return self._segment(side, is_query, "", None, room, hard=False)

    def check_pair(self, header: int, first: int, second: int) -> None:
        """Raise TooLongError if segments of those lengths, in tokens, make too long a pair."""
        total = header + first + second
        if total > self.limits.max_tokens:
            raise TooLongError(
                f"the pair has {total} tokens ({first} + {second} and the header), more than "
                f"limits.max_tokens = {self.limits.max_tokens}; use fewer or smaller images"
            )

    def _opening(self, instruction: str) -> str:
        template = self.template
        return f"user\n{template.instruct_label}{instruction}{template.header_end}"

    def _segment(
        self, side: Side, is_query: bool, left: str, end: str | None, room: int, *, hard: bool
    ) -> Segment:
        # No token has more characters than the longest, so the rest would be cut anyway.
        text = "".join(side.texts)[: max(room, 0) * self.tokenizer.longest + 1]
        if not text.strip() and not side.visuals:
            text = self.template.empty
        segment = self._write(side, is_query, left, text, end)
        excess = len(segment) - room
        if excess > 0 and text:
            _LOG.warning("a text is cut: its segment would have %d tokens over its bound", excess)
        while excess > 0 and text:
            text = self.tokenizer.cut_text(text, len(self.tokenizer.encode(text)) - excess)
            segment = self._write(side, is_query, left, text, end)
            excess = len(segment) - room
        if hard and excess > 0:
            raise TooLongError(
                f"{sum(map(len, side.kept))} visual tokens make a segment of {len(segment)}, more "
                f"than the {room} the limits leave; use fewer or smaller images"
            )
        return segment

    def _write(self, side: Side, is_query: bool, left: str, text: str, end: str | None) -> Segment:
        draft = Draft(self.tokenizer, left=left)
        draft.add_text(self.label(is_query=is_query))
        for visual, kept in zip(side.visuals, side.kept, strict=True):
            draft.add_visual(visual, kept)
        draft.add_text(text)
        if end is not None:
            draft.add_text(end)
        else:
            draft.add_control("<|im_end|>")
            draft.add_text("\n")
            draft.add_control("<|im_start|>")
            draft.add_text("assistant\n")
        return draft.finish(side.visuals, side.kept)
