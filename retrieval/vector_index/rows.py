"""Documents as a selection in the mapped vectors of a segment: what MaxSim is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.retrieval.vectors import TokenVectors

from .segment import Segment
from .snapshot import Places, Snapshot

POOLED_BYTES = 64 * 2**20
"""Of pooled vectors that are copied at once."""


class RowScorer(Protocol):
    """An encoder, as far as an index needs it."""

    def score_rows(
        self,
        queries: TokenVectors,
        pool: Tensor,
        scales: Tensor | None,
        starts: Tensor,
        lengths: Tensor,
        pooled: Tensor | None,
    ) -> NDArray[np.float32]:
        """[n_queries, n] float32 of the documents at ``pool[starts[i]:starts[i] + lengths[i]]``."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Some documents of one segment. The tensors lie over the mapped file: do not write to them."""

    places: NDArray[np.intp]
    """[n]: which of those asked for these are."""
    pool: Tensor
    """[rows, dim] float32, bfloat16 or int8: of the whole segment."""
    scales: Tensor | None
    """[rows] float32: what int8 rows are multiplied by."""
    starts: Tensor
    """[n] int64: each document's first row."""
    lengths: Tensor
    """[n] int64: each document's rows."""
    pooled: Tensor | None
    """[n, pooled_dim] float32; None where the index has none."""


def selections(snapshot: Snapshot, places: Places) -> Iterator[Rows]:
    """Documents that were found, in a few selections. Raises VectorIndexError."""
    width = 4 * snapshot.manifest.settings.pooled_dim
    for at, which, rows in places.by_part():
        step = max(1, POOLED_BYTES // width) if width else len(rows)
        for first in range(0, len(rows), step):
            some = slice(first, first + step)
            yield _selection(snapshot.parts[at].segment, which[some], rows[some])


def _selection(segment: Segment, places: NDArray[np.intp], rows: NDArray[np.int64]) -> Rows:
    for part in ("tokens", "scales"):
        segment.check_rows(part, rows)
    ends = segment.ends("tokens")
    starts, lengths = ends[rows], ends[rows + 1] - ends[rows]
    return Rows(
        places,
        segment.pool,
        segment.scales,
        torch.from_numpy(starts),
        torch.from_numpy(lengths),
        _pooled(segment, rows),
    )


def _pooled(segment: Segment, rows: NDArray[np.int64]) -> Tensor | None:
    if not segment.settings.pooled_dim:
        return None
    segment.check_rows("pooled", rows)
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first == len(rows) and bool((np.diff(rows) == 1).all()):
        return segment.mapped_pooled[first:last]
    return segment.mapped_pooled[torch.from_numpy(rows)]
