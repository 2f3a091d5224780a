"""The query side of the blocked backend: so many tokens at a time, and their sum by query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .call import Call
from .pooling import Pooling, kept


@dataclass(frozen=True, eq=False)
class Chunk:
    """Query tokens that are multiplied at a time."""

    tokens: slice
    """Of the call's query tokens."""
    queries: slice
    """Those with a row here; the first and the last may go on in another chunk."""
    pooling: Pooling
    """Of this chunk's tokens into its queries; the weights are the tokens' scales."""

    def sum(self, best: Tensor) -> Tensor:
        """float32 [queries here, documents] of ``best`` [documents, tokens].

        The sparse product adds one after the other, in whose order float32 loses more than torch's
        own sums do; there is little to add, so it is added in float64.
        """
        turned = torch.empty(best.shape[::-1], dtype=torch.float64).copy_(best.T)
        return self.pooling.sum(turned).float()


def chunks(call: Call, most: int) -> Iterator[Chunk]:
    """Every query token that has a query, once, at most ``most`` at a time."""
    side = call.queries
    bounds = torch.tensor(call.cu_seqlens_q)
    weights = torch.ones(1).expand(len(side.vectors)) if side.scales is None else side.scales
    for start in range(0, call.cu_seqlens_q[-1], most):
        stop = min(start + most, call.cu_seqlens_q[-1])
        first = int(torch.searchsorted(bounds, start, right=True)) - 1
        last = int(torch.searchsorted(bounds, stop))
        ends = bounds[first : last + 1].clamp(start, stop)
        ends, rows = ends - start, torch.arange(stop - start)
        if side.mask is not None:
            ends, rows = kept(ends, rows, side.mask[start:stop])
        pooling = Pooling(ends, rows, weights[start:stop][rows].double(), stop - start)
        yield Chunk(slice(start, stop), slice(first, last), pooling)


def tokens_a_query(call: Call) -> Tensor:
    """[queries] float32: tokens that exist."""
    bounds = torch.tensor(call.cu_seqlens_q)
    mask = call.queries.mask
    if mask is not None:
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), mask.cumsum(0)])[bounds]
    return bounds.diff().float()
