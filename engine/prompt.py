"""From the two sides of a pair to header | first segment | second segment, as token ids.

Method, section 1. A segment's tokens and positions depend on its own side, the template and the
instruction, never on the other side: that is what makes it reusable.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from minireranker.configs import Limits, Template
from minireranker.errors import TooLongError

from .pixels import Visual
from .tokenizer import TextTokenizer

Ints: TypeAlias = NDArray[np.int64]

MIN_ROOM = 8
"""Tokens an instruction must leave for a first segment."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Segment:
    """Tokens of one segment, pruned; positions are relative to the segment's start."""

    input_ids: Ints
    """[tokens]; visual tokens are image or video pads."""
    positions: Ints
    """[3, tokens]: time, height, width (M-RoPE)."""
    span: int
    """How far the positions of whatever follows are moved: that of the unpruned segment."""
    visuals: tuple[Visual, ...] = ()
    kept: tuple[Ints, ...] = ()
    """For each visual, the merged tokens kept, ascending."""
    visual_rows: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """[visual tokens] their places in ``input_ids``, in the order of ``visuals`` and ``kept``."""

    def __len__(self) -> int:
        """Tokens."""
        return len(self.input_ids)

    def digest(self) -> bytes:
        """SHA-256 of everything above: pixels with their shape, ids, positions, what is kept."""
        state = hashlib.sha256(f"{self.span}:{len(self)}:{len(self.visuals)};".encode())
        for part in (self.input_ids, self.positions, self.visual_rows):
            state.update(part.tobytes())
        for visual, kept in zip(self.visuals, self.kept, strict=True):
            state.update(visual.digest())
            state.update(hashlib.sha256(kept.tobytes()).digest())
        return state.digest()


@dataclass
class _Draft:
    """A segment while it is written: ids and positions grow, text waits until a token ends it."""

    tokenizer: TextTokenizer
    left: str = ""
    text: str = ""
    at: int = 0
    ids: list[Ints] = field(default_factory=list)
    positions: list[Ints] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)

    def add_text(self, text: str) -> None:
        self.text += text

    def add_control(self, name: str) -> None:
        self.flush()
        self._append(np.array([self.tokenizer.control[name]]), self._line(1), 1)

    def add_pads(self, name: str, grid: tuple[int, int], kept: Ints) -> None:
        """The visual tokens of one frame: ``grid`` merged rows and columns, of which ``kept``."""
        self.flush()
        places = np.stack([np.zeros_like(kept), kept // grid[1], kept % grid[1]]) + self.at
        start = sum(map(len, self.ids))
        self.rows.append(np.arange(start, start + len(kept)))
        self._append(np.full(len(kept), self.tokenizer.control[name]), places, max(grid))

    def flush(self) -> None:
        if self.text:
            ids = self.tokenizer.encode_after(self.left, self.text)[1]
            self._append(np.array(ids, np.int64), self._line(len(ids)), len(ids))
        self.text = self.left = ""

    def finish(self, visuals: Sequence[Visual], kept: Sequence[Ints]) -> Segment:
        self.flush()
        rows = np.concatenate(self.rows) if self.rows else np.empty(0, np.int64)
        ids, positions = np.concatenate(self.ids), np.concatenate(self.positions, axis=1)
        return Segment(ids, positions, self.at, tuple(visuals), tuple(kept), rows)

    def _line(self, count: int) -> Ints:
        return np.broadcast_to(np.arange(self.at, self.at + count), (3, count))

    def _append(self, ids: Ints, positions: Ints, advance: int) -> None:
        self.ids.append(ids)
        self.positions.append(positions)
        self.at += advance


@dataclass(frozen=True)
class Side:
    """One side's content, read: pixels on their grid, and which visual tokens are kept."""

    texts: tuple[str, ...]
    visuals: tuple[Visual, ...] = ()
    kept: tuple[Ints, ...] = ()


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
        draft = _Draft(self.tokenizer)
        draft.add_control("<|im_start|>")
        draft.add_text(f"system\n{self.template.system}")
        draft.add_control("<|im_end|>")
        draft.add_text("\n")
        draft.add_control("<|im_start|>")
        draft.flush()
        label = self.label(is_query=first_is_query)
        ids = self.tokenizer.encode_after(self._opening(instruction), label)[0]
        draft._append(np.array(ids, np.int64), draft._line(len(ids)), len(ids))
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
        draft = _Draft(self.tokenizer, left=left)
        draft.add_text(self.label(is_query=is_query))
        for visual, kept in zip(side.visuals, side.kept, strict=True):
            _write_visual(draft, visual, kept)
        draft.add_text(text)
        if end is not None:
            draft.add_text(end)
        else:
            draft.add_control("<|im_end|>")
            draft.add_text("\n")
            draft.add_control("<|im_start|>")
            draft.add_text("assistant\n")
        return draft.finish(side.visuals, side.kept)


def _write_visual(draft: _Draft, visual: Visual, kept: Ints) -> None:
    """An image is one frame; a video is its frames with their times, as published."""
    frames, height, width = visual.grid
    grid = (height // 2, width // 2)
    size = grid[0] * grid[1]
    pad = "<|image_pad|>" if visual.kind == "image" else "<|video_pad|>"
    for frame in range(frames):
        if visual.kind == "video":
            draft.add_text(f"<{visual.timestamps[frame]:.1f} seconds>")
        draft.add_control("<|vision_start|>")
        inside = kept[(kept >= frame * size) & (kept < (frame + 1) * size)] - frame * size
        draft.add_pads(pad, grid, inside)
        draft.add_control("<|vision_end|>")
