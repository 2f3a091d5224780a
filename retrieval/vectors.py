"""Vectors of several queries or documents: the record that encoders make and indexes keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""What token vectors may be, besides int8 with scales."""


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """Token vectors of n queries or documents behind one another, and one pooled vector each.

    Item i owns rows ``[cu_seqlens[i], cu_seqlens[i + 1])``; it may have none. Raises ValueError for
    parts that contradict each other.
    """

    vectors: Tensor
    """[total, dim], float32, bfloat16 or float16 of unit length, or int8 with ``scales``; on the
    CPU."""
    cu_seqlens: NDArray[np.int64]
    """[n + 1], from 0 to total, never falling."""
    scales: Tensor | None = None
    """[total] float32: what int8 rows are multiplied by. None for other dtypes."""
    pooled: Tensor | None = None
    """[n, pooled_dim] float32 of unit length; None where the encoder has none."""

    def __post_init__(self) -> None:
        """Hold the shapes above."""
        ends = self.cu_seqlens
        if self.vectors.ndim != 2 or ends.ndim != 1 or not len(ends):
            raise ValueError(f"vectors {tuple(self.vectors.shape)}, cu_seqlens {ends.shape}")
        if ends[0] != 0 or ends[-1] != len(self.vectors) or (np.diff(ends) < 0).any():
            raise ValueError(f"cu_seqlens do not run from 0 to {len(self.vectors)} without falling")
        if (self.vectors.dtype is torch.int8) is (self.scales is None):
            raise ValueError(f"{self.vectors.dtype} vectors: int8 has scales, nothing else does")
        if self.vectors.dtype not in (*FLOATS, torch.int8):
            raise ValueError(f"vectors are {self.vectors.dtype}; use float32, bfloat16 or int8")
        if self.scales is not None and self.scales.shape != (len(self.vectors),):
            raise ValueError(f"{tuple(self.scales.shape)} scales for {len(self.vectors)} vectors")
        if self.pooled is not None and len(self.pooled) != len(self):
            raise ValueError(f"{len(self.pooled)} pooled vectors for {len(self)} items")

    @classmethod
    def of(cls, items: Sequence[Tensor], pooled: Tensor | None = None) -> TokenVectors:
        """From one tensor [tokens, dim] an item; there has to be at least one item."""
        ends = np.cumsum([0, *(len(item) for item in items)], dtype=np.int64)
        return cls(torch.cat(list(items)), ends, None, pooled)

    def __len__(self) -> int:
        """Items."""
        return len(self.cu_seqlens) - 1

    @property
    def dim(self) -> int:
        """Of a token vector."""
        return self.vectors.shape[1]

    @property
    def starts(self) -> Tensor:
        """[n] int64: each item's first row."""
        return torch.from_numpy(self.cu_seqlens[:-1])

    @property
    def lengths(self) -> Tensor:
        """[n] int64: each item's rows."""
        return torch.from_numpy(np.diff(self.cu_seqlens))

    def item(self, at: int) -> Tensor:
        """Rows of item ``at``, [tokens, dim], as kept."""
        return self.vectors[int(self.cu_seqlens[at]) : int(self.cu_seqlens[at + 1])]
