"""A segment while it is written: token ids and M-RoPE positions, text and visuals in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .pixels import Visual
from .tokenizer import TextTokenizer

Ints: TypeAlias = NDArray[np.int64]


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
class Draft:
    """A segment while it is written: ids and positions grow, text waits until a token ends it."""

    tokenizer: TextTokenizer
    left: str = ""
    text: str = ""
    at: int = 0
    ids: list[Ints] = field(default_factory=list)
    positions: list[Ints] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)

    def add_text(self, text: str) -> None:
        """Text; tokenised together with its neighbours once something else follows."""
        self.text += text

    def add_control(self, name: str) -> None:
        """One added token of the vocabulary, by its name."""
        self.add_ids([self.tokenizer.added[name]])

    def add_ids(self, ids: Sequence[int]) -> None:
        """Tokens as they are."""
        self.flush()
        self._append(np.array(ids, np.int64), self._line(len(ids)), len(ids))

    def add_visual(self, visual: Visual, kept: Ints) -> None:
        """An image is one frame; a video is its frames with their times, as published."""
        frames, height, width = visual.grid
        grid = (height // 2, width // 2)
        size = grid[0] * grid[1]
        pad = "<|image_pad|>" if visual.kind == "image" else "<|video_pad|>"
        for frame in range(frames):
            if visual.kind == "video":
                self.add_text(f"<{visual.timestamps[frame]:.1f} seconds>")
            self.add_control("<|vision_start|>")
            inside = kept[(kept >= frame * size) & (kept < (frame + 1) * size)] - frame * size
            self.add_pads(pad, grid, inside)
            self.add_control("<|vision_end|>")

    def add_pads(self, name: str, grid: tuple[int, int], kept: Ints) -> None:
        """The visual tokens of one frame: ``grid`` merged rows and columns, of which ``kept``."""
        self.flush()
        places = np.stack([np.zeros_like(kept), kept // grid[1], kept % grid[1]]) + self.at
        start = sum(map(len, self.ids))
        self.rows.append(np.arange(start, start + len(kept)))
        self._append(np.full(len(kept), self.tokenizer.added[name]), places, max(grid))

    def flush(self) -> None:
        """Tokenise the text that waits."""
        if self.text:
            ids = self.tokenizer.encode_after(self.left, self.text)[1]
            self._append(np.array(ids, np.int64), self._line(len(ids)), len(ids))
        self.text = self.left = ""

    def finish(self, visuals: Sequence[Visual], kept: Sequence[Ints]) -> Segment:
        """The segment; ``visuals`` and ``kept`` are those that were added, in order."""
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
