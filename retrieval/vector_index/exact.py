"""The nearest documents by pooled vector, exactly: every one is looked at.

Products in float32 choose the candidates, a few more than asked for, by twice what such a product
can be wrong at most; products in float64 then rank them. So the order depends neither on how the
documents lie in blocks and segments, nor on the machine's matrix product; equal ones are in the
order they were appended in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .snapshot import Snapshot

BLOCK_BYTES = 32 * 2**20
"""Of pooled vectors, and of products, at once."""

ROUNDING = 2.0**-24
"""Of one float32 operation; a product of d dimensions is wrong by d times that, times the norms."""

QUERIES = 256
"""At once."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """Of one query, the best first."""

    positions: NDArray[np.int64]
    """See ``Snapshot.bases``."""
    scores: NDArray[np.float32]


def nearest(snapshot: Snapshot, queries: Tensor, top_k: int, since: int = 0) -> list[Nearest]:
    """For each of ``queries`` [n, pooled_dim] float32; among documents numbered from ``since``.

    Raises VectorIndexError.
    """
    found = list[Nearest]()
    for start in range(0, len(queries), QUERIES):
        some = queries[start : start + QUERIES]
        candidates = _Candidates(snapshot, some, top_k)
        for at, part in enumerate(snapshot.parts):
            first = int(np.searchsorted(part.segment.numbers, since)) if since else 0
            candidates.look_at(at, first)
        found += [
            ranked(snapshot, query, positions, top_k)
            for query, positions in zip(some, candidates.positions(), strict=True)
        ]
    return found


def ranked(snapshot: Snapshot, query: Tensor, positions: NDArray[np.int64], top_k: int) -> Nearest:
    """The best of the documents at ``positions``, by products in float64."""
    places = snapshot.at(positions)
    scores = np.empty(len(positions), np.float32)
    wide = query.numpy().astype(np.float64)
    for at, which, rows in places.by_part():
        segment = snapshot.parts[at].segment
        segment.check_rows("pooled", rows)
        step = max(1, BLOCK_BYTES // (8 * segment.settings.pooled_dim))
        everything = segment.mapped_pooled
        for first in range(0, len(rows), step):
            own = everything[torch.from_numpy(rows[first : first + step])].numpy()
            # Row by row, whatever else is in the block: a matrix product would not promise that.
            scores[which[first : first + step]] = (own.astype(np.float64) * wide).sum(axis=1)
    order = np.lexsort((snapshot.numbers(places), -scores))[:top_k]
    return Nearest(positions[order], scores[order])


class _Candidates:
    """The best so far of some queries, and what may be as good."""

    def __init__(self, snapshot: Snapshot, queries: Tensor, top_k: int) -> None:
        self.snapshot, self.queries, self.top_k = snapshot, queries, top_k
        self.norms = queries.double().norm(dim=1).float()
        self.largest = max((part.segment.layout.norm for part in snapshot.parts), default=0.0)
        self.margins = self.norms * (4 * queries.shape[1] * ROUNDING * self.largest)
        self.floors = torch.full((len(queries),), -torch.inf)
        self.kept: list[list[NDArray[np.int64]]] = [[] for _ in queries]
        self.scores: list[list[NDArray[np.float32]]] = [[] for _ in queries]

    def look_at(self, at: int, first: int) -> None:
        part, base = self.snapshot.parts[at], int(self.snapshot.bases[at])
        segment = part.segment
        step = max(1, BLOCK_BYTES // (4 * max(self.queries.shape[1], len(self.queries))))
        for start in range(first, segment.documents, step):
            stop = min(start + step, segment.documents)
            scores = self.queries @ segment.pooled(start, stop).T  # [queries, stop - start]
            if part.alive is not None:
                scores[:, torch.from_numpy(~part.alive[start:stop])] = -torch.inf
            self._offer(scores, base + start)

    def _offer(self, scores: Tensor, position: int) -> None:
        if scores.shape[1] >= self.top_k:
            last = scores.topk(self.top_k, sorted=False).values.amin(dim=1)
            self.floors = torch.maximum(self.floors, last)
        bars = torch.clamp(self.floors - self.margins, min=torch.finfo(torch.float32).min)
        which, rows = (scores >= bars[:, None]).nonzero(as_tuple=True)
        ends = np.searchsorted(which.numpy(), np.arange(len(scores) + 1))
        values, positions = scores[which, rows].numpy(), rows.numpy() + position
        for at in np.flatnonzero(np.diff(ends)).tolist():
            own = slice(ends[at], ends[at + 1])
            self.kept[at].append(positions[own])
            self.scores[at].append(values[own])
            self._prune(at)

    def _prune(self, at: int) -> None:
        if sum(map(len, self.scores[at])) <= 2 * self.top_k:
            return
        scores, kept = np.concatenate(self.scores[at]), np.concatenate(self.kept[at])
        last = float(np.partition(scores, len(scores) - self.top_k)[len(scores) - self.top_k])
        self.floors[at] = max(float(self.floors[at]), last)
        good = scores >= float(self.floors[at] - self.margins[at])
        self.kept[at], self.scores[at] = [kept[good]], [scores[good]]

    def positions(self) -> Sequence[NDArray[np.int64]]:
        return [np.concatenate(kept or [np.empty(0, np.int64)]) for kept in self.kept]
