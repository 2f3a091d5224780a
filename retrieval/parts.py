"""Some of the items of TokenVectors: one query of several, the documents that are to be kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .vectors import TokenVectors


def part_of(vectors: TokenVectors, first: int, last: int) -> TokenVectors:
    """Items first to last (excluded), not copied."""
    ends = vectors.cu_seqlens[first : last + 1]
    rows = slice(int(ends[0]), int(ends[-1]))
    return TokenVectors(
        vectors.vectors[rows],
        ends - ends[0],
        None if vectors.scales is None else vectors.scales[rows],
        None if vectors.pooled is None else vectors.pooled[first:last],
    )


def chosen(vectors: TokenVectors, places: Sequence[int]) -> TokenVectors:
    """Those items, in that order; the same record where that is all of them in order."""
    if list(places) == list(range(len(vectors))):
        return vectors
    spans = [(int(vectors.cu_seqlens[at]), int(vectors.cu_seqlens[at + 1])) for at in places]
    ends = np.cumsum([0, *(last - first for first, last in spans)], dtype=np.int64)
    rows = torch.cat([torch.arange(0), *(torch.arange(*span) for span in spans)])
    return TokenVectors(
        vectors.vectors[rows],
        ends,
        None if vectors.scales is None else vectors.scales[rows],
        None if vectors.pooled is None else vectors.pooled[list(places)],
    )
