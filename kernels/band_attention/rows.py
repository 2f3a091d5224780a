"""What every backend needs of one row: its keys in order, and what its queries may not see."""

from __future__ import annotations

import torch
from torch import Tensor

from .api import Extent


def gather_keys(header: Extent | None, prefix: Extent | None, own: Extent) -> Extent:
    """K and V a row sees, head-major: [kv_heads, tokens, head_dim], contiguous."""
    parts = [part for part in (header, prefix, own) if part is not None]
    return Extent(
        torch.cat([part.k.transpose(0, 1) for part in parts], dim=1),
        torch.cat([part.v.transpose(0, 1) for part in parts], dim=1),
    )


def causal_mask(queries: int, keys: int, like: Tensor) -> Tensor:
    """[queries, keys] additive mask, aligned at the end: 0 where visible, -inf where not."""
    blocked = torch.full((queries, keys), float("-inf"), dtype=like.dtype, device=like.device)
    return blocked.triu_(keys - queries + 1)
