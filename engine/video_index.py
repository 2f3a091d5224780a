"""Which frame has which number and time, from a video's packets alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "VideoIndex"]

MISSING = -(2**63)
"""Stands for a timestamp that a packet does not have (FFmpeg's own value)."""


@dataclass(frozen=True)
class VideoIndex:
    """What the packets say about the frames, without decoding."""

    count: int
    seconds: float
    """From the first frame to the last; 0 where timestamps are missing."""
    fps: float
    """Frames a second, on average."""
    pts: NDArray[np.int64]
    """Timestamps, ascending; empty if some are missing or repeated and so cannot number frames."""
    keys: NDArray[np.int64]
    """Numbers of the keyframes, ascending."""
    key_dts: NDArray[np.int64]
    """Where to seek for each of them."""

    def number(self, pts: int | None) -> int | None:
        """The frame shown at a timestamp; None where there is none."""
        at = self.count if pts is None else int(np.searchsorted(self.pts, pts))
        return at if at < len(self.pts) and self.pts[at] == pts else None

    def keyframe(self, number: int) -> tuple[int, int]:
        """The last keyframe up to a frame, and where to seek for it; (0, 0) if there is none."""
        near = int(np.searchsorted(self.keys, number, side="right")) - 1
        return (int(self.keys[near]), int(self.key_dts[near])) if near >= 0 else (0, 0)

    @classmethod
    def of(cls, table: NDArray[np.int64], rate: float, tick: float) -> VideoIndex:
        """From a row each of timestamps to show, to decode, and whether it is a keyframe.

        ``table``: int64 [3, packets > 0]; ``rate``: frames a second as the file has it, or 0;
        ``tick``: seconds a unit of its timestamps.
        """
        pts, dts, keys = table[:, np.argsort(table[0], kind="stable")]
        complete = pts[0] != MISSING
        seconds = (float(pts[-1]) - float(pts[0])) * tick if complete else 0.0
        fps = rate or ((len(pts) - 1) / seconds if seconds else 1.0)
        usable = complete and bool((np.diff(pts) > 0).all())
        numbers = np.flatnonzero((keys > 0) & (dts != MISSING))
        return cls(len(pts), seconds, fps, pts if usable else pts[:0], numbers, dts[numbers])
