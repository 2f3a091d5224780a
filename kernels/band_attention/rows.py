"""What backends that go row by row need: a row's keys in order, and what it may not see."""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call, Extent


def keys_of(call: Call, row: int, dtype: torch.dtype) -> Extent:
    """K and V that ``row`` sees, in ``dtype``, head-major: [kv_heads, tokens, head_dim]."""
    own = slice(call.cu_k[row], call.cu_k[row + 1])
    seen = (call.header, call.prefixes[row], Extent(call.k[own], call.v[own]))
    parts = [plain(part, dtype) for part in seen if part is not None]
    return Extent(
        torch.cat([part.k.transpose(0, 1) for part in parts], dim=1),
        torch.cat([part.v.transpose(0, 1) for part in parts], dim=1),
    )


def plain(extent: Extent, dtype: torch.dtype) -> Extent:
    """The values themselves in ``dtype``, rounded once; ``extent`` if that is what it holds."""
    k, v, k_scale, v_scale = extent
    return Extent(_scaled(k, k_scale, dtype), _scaled(v, v_scale, dtype))


def _scaled(numbers: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    if scale is None:
        return numbers.to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    return (numbers.to(wide) * scale.to(wide)).to(dtype)


def causal_mask(queries: int, keys: int, like: Tensor) -> Tensor:
    """[queries, keys] additive mask, aligned at the end: 0 where visible, -inf where not."""
    blocked = torch.full((queries, keys), float("-inf"), dtype=like.dtype, device=like.device)
    return blocked.triu_(keys - queries + 1)


def empty_lse(call: Call) -> Tensor | None:
    """[total_q, heads] float32 of -inf, to be filled where there are rows; None if not wanted."""
    if not call.lse:
        return None
    return call.q.new_full(call.q.shape[:2], float("-inf"), dtype=torch.float32)
