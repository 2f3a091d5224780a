"""Reduction of consecutive rows of a matrix, as a sparse product with another addition.

[tokens, columns] -> [segments, columns]: a CSR matrix has a row a segment and an entry a token, and
``torch.sparse.mm`` reduces with "amax" or "sum". Tokens that are masked, belong to nobody, or to
several segments, are a matter of the column indices, and scales are the entries. On CPUs it is the
fastest of what torch has, over twelve times ``segment_reduce`` (figures in DECISIONS.md).
"""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor


class Pooling:
    """Segments of a matrix's rows: ``bounds`` [n + 1] into ``rows``, the rows of each in turn.

    ``bounds``, ``rows``: int64 on the CPU. ``weights``: what the rows are multiplied by, in the
    matrix's dtype; ``height``: the matrix's rows.
    """

    def __init__(self, bounds: Tensor, rows: Tensor, weights: Tensor, height: int) -> None:
        """Keep the segments; nothing is copied."""
        _say_no_beta_warning()
        self._empty = bounds[1:] == bounds[:-1]
        self._some_empty = bool(self._empty.any())
        self._matrix = _csr(bounds, rows, weights, height)

    def amax(self, values: Tensor) -> Tensor:
        """Largest of each segment, [segments, columns]; -inf for an empty one."""
        out: Tensor = torch.sparse.mm(self._matrix, values, "amax")
        return out.masked_fill_(self._empty[:, None], float("-inf")) if self._some_empty else out

    def sum(self, values: Tensor) -> Tensor:
        """Sum of each segment, [segments, columns]; 0 for an empty one."""
        out: Tensor = torch.sparse.mm(self._matrix, values, "sum")
        return out


def kept(bounds: Tensor, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``bounds`` and ``rows`` without the rows where ``mask`` is False."""
    keep = mask[rows]
    before = torch.zeros(len(rows) + 1, dtype=torch.int64)
    torch.cumsum(keep, 0, out=before[1:])
    return before[bounds], rows[keep]


def _csr(bounds: Tensor, rows: Tensor, weights: Tensor, height: int) -> Tensor:
    shape = (len(bounds) - 1, height)
    return torch.sparse_csr_tensor(bounds, rows, weights, shape, check_invariants=False)


@functools.cache
def _say_no_beta_warning() -> None:
    """Torch warns once a process that CSR is in beta, and of nothing a user could do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        _csr(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), 1)
