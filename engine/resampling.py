"""Importances from one grid of visual tokens to another, where two models resize differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def resampled(worth: NDArray[Any], grid: tuple[int, int, int]) -> NDArray[np.float64]:
    """``worth`` [frames, rows, columns] on another grid of the same picture or video.

    A target cell gets the mean of the source over the part of the picture it covers, along each
    axis: what is twice as wide there is the mean of two, what is half as wide a copy.
    """
    out = np.asarray(worth, np.float64)
    for axis, size in enumerate(grid):
        if out.shape[axis] != size:
            weights = _overlaps(out.shape[axis], size)
            out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
    return out


def _overlaps(source: int, target: int) -> NDArray[np.float64]:
    """[target, source]: which share of a target cell each source cell covers; rows sum to 1."""
    edges = np.arange(target + 1)[:, None] * source / target
    cells = np.arange(source)
    low, high = np.maximum(edges[:-1], cells), np.minimum(edges[1:], cells + 1)
    shares: NDArray[np.float64] = np.clip(high - low, 0.0, None) * target / source
    return shares
