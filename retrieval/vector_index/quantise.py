"""Token vectors in the dtype of an index."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127
"""Symmetric: int8 runs from -127 to 127."""


def scales_of(vectors: Tensor) -> Tensor:
    """[n] float32: each row's largest absolute value / 127.

    0 for a row of zeros, and for one so small that 1 / scale would be infinite.
    """
    scales = vectors.float().abs().amax(dim=1) / LEVELS
    return torch.where(torch.isfinite(1 / scales), scales, 0)


def quantise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """int8 rows and their float32 scales, ``vectors[i] ~ rows[i] * scales[i]``; [n, dim], [n].

    Symmetric, one scale a row: see ``scales_of``. An element is wrong by half a scale at most.
    """
    scales = scales_of(vectors)
    inverse = torch.where(scales > 0, 1 / scales, 0)
    rows = (vectors.float() * inverse[:, None]).round_().clamp_(-LEVELS, LEVELS)
    return rows.to(torch.int8), scales


def restore(rows: Tensor, scales: Tensor) -> Tensor:
    """float32 [n, dim] of int8 rows and their scales."""
    return rows.float() * scales[:, None]


def converted(vectors: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[n, dim] in ``dtype``, float32 or bfloat16; ``scales`` those of int8 vectors."""
    return (restore(vectors, scales) if scales is not None else vectors).to(dtype)
